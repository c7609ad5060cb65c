"""Surgery by hand. Keras is the oracle: the layers of the original, called by themselves on the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.utils import naming

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir import Graph, Value, verify_structure
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.rewrite.surgery import (
    as_value,
    delete,
    extract,
    insert_after,
    insert_before,
    rename,
    replace_layer,
    replace_region,
)
from tests.ir.making import picture
from tests.keras_io.facts import predict
from tests.zoo import build, randomise, sample_inputs

Array = np.ndarray[Any, Any]


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def network() -> Any:
    naming.reset_uids()
    return _network()


def _network() -> Any:
    """x -> first -> act -> second -> add(act, second) -> split into two -> logits; ``shared`` is called twice."""
    x = inputs = keras.Input((4,), name="x")
    x = layers.Dense(6, name="first")(x)
    act = layers.ReLU(name="act")(x)
    x = layers.Dense(6, name="second")(act)
    x = layers.Add(name="add")([act, x])
    shared = layers.Dense(6, name="shared")
    x = shared(shared(x))
    half, rest = ops.split(x, 2, axis=-1)
    model = keras.Model(inputs, [layers.Dense(3, name="logits")(half), layers.Softmax(name="probabilities")(rest)])
    randomise(model)
    return model


@pytest.fixture
def model() -> Any:
    return network()


@pytest.fixture
def graph(model: Any) -> Graph:
    return lift(model)


def layer(model: Any, name: str) -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = model.get_layer(name)
    return found


def finished(graph: Graph, path: Path | None = None) -> Any:
    """The graph as a model; it holds together and, given a path, saves and loads."""
    verify_structure(graph)
    check_types(graph, everything=True)
    model = emit(graph)
    if path is not None:
        model.save(path / "m.keras")
        loaded = keras.saving.load_model(path / "m.keras")
        x = sample_inputs(model)
        for one, other in zip(predict(model, x), predict(loaded, x), strict=True):
            np.testing.assert_array_equal(one, other)
    return model


def tail(model: Any, act: Any, second: Any | None = None) -> list[Array]:
    """What the network computes from ``act`` on, by Keras alone."""
    shared = layer(model, "shared")
    x = shared(shared(act + (layer(model, "second")(act) if second is None else second)))
    return [np.asarray(layer(model, "logits")(x[:, :3])), np.asarray(ops.softmax(x[:, 3:]))]


def same(model: Any, x: Array, wanted: list[Array]) -> None:
    for one, other in zip(predict(model, x), wanted, strict=True):
        close(one, other)


X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


# Insert


def test_insert_after(model: Any, graph: Graph, tmp_path: Path) -> None:
    value = insert_after(graph, "act", layers.Activation("tanh"), name="squash")
    assert value == Value("squash")
    assert [use.node for use in graph.uses(value)] == ["second", "add"]
    act = np.tanh(np.maximum(layer(model, "first")(X), 0))
    same(finished(graph, tmp_path), X, tail(model, act))


def test_insert_after_an_output_moves_the_output(model: Any, graph: Graph) -> None:
    insert_after(graph, "logits", layers.Softmax(name="soft"))
    emitted = finished(graph)
    assert emitted.output_names == ["soft", "probabilities"]
    close(predict(emitted, X)[0], ops.softmax(predict(model, X)[0]))


def test_insert_after_a_function_of_several_ops(model: Any, graph: Graph) -> None:
    insert_after(graph, "act", lambda t: ops.clip(t, 0.0, 0.5) + 0.25 * t)
    act = np.maximum(layer(model, "first")(X), 0)
    same(finished(graph), X, tail(model, np.clip(act, 0, 0.5) + 0.25 * act))


def test_insert_after_a_model_brings_its_weights(model: Any, graph: Graph) -> None:
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="first"), layers.BatchNormalization(name="bn")])
    randomise(inner, seed=1)
    insert_after(graph, "act", inner)
    emitted = finished(graph)
    assert {"first", "first_1", "bn"} <= {each.name for each in emitted.layers}
    same(emitted, X, tail(model, inner(np.maximum(layer(model, "first")(X), 0), training=False)))


def test_insert_before_changes_one_user_only(model: Any, graph: Graph) -> None:
    insert_before(graph, "add", layers.Rescaling(2.0, name="twice"), operand=1)
    act = np.maximum(layer(model, "first")(X), 0)
    same(finished(graph), X, tail(model, act, 2 * np.asarray(layer(model, "second")(act))))


def test_insert_before_one_call_of_a_shared_layer(model: Any, graph: Graph) -> None:
    insert_before(graph, "shared:1", layers.ReLU(name="between"))
    act = np.maximum(layer(model, "first")(X), 0)
    shared = layer(model, "shared")
    x = shared(np.maximum(shared(act + layer(model, "second")(act)), 0))
    same(finished(graph), X, [np.asarray(layer(model, "logits")(x[:, :3])), np.asarray(ops.softmax(x[:, 3:]))])


def test_insert_that_changes_a_shape_goes_on_until_something_refuses(model: Any, graph: Graph) -> None:
    before = picture(graph)
    with pytest.raises(VerificationError, match="'second'") as caught:
        insert_after(graph, "act", layers.Dense(5, name="narrow"))
    assert "kernel" in str(caught.value)
    assert picture(graph) == before


def test_insert_at_an_input_and_in_a_nested_model() -> None:
    model = build("nested_functional")
    graph = lift(model)
    insert_after(graph, "image", layers.Rescaling(2.0, name="double"))
    insert_after(graph, "backbone/bn", layers.Rescaling(3.0, name="triple"))
    emitted = finished(graph)
    assert emitted.get_layer("backbone").get_layer("triple").scale == 3.0
    body = model.get_layer("backbone")
    x = sample_inputs(model)
    inner = np.maximum(3 * np.asarray(body.get_layer("bn")(body.get_layer("conv")(2 * x))), 0)
    wanted = model.get_layer("logits")(inner.mean(axis=(1, 2)))
    close(predict(emitted, x)[0], wanted)


# Replace


def test_replace_layer_takes_the_name_and_carries_the_weights(model: Any, graph: Graph, tmp_path: Path) -> None:
    assert replace_layer(graph, "second", layers.Dense(6, activation="tanh")) == Value("second")
    emitted = finished(graph, tmp_path)
    np.testing.assert_array_equal(emitted.get_layer("second").kernel, model.get_layer("second").kernel)
    act = np.maximum(layer(model, "first")(X), 0)
    same(emitted, X, tail(model, act, np.tanh(layer(model, "second")(act))))
    assert [each.name for each in emitted.layers] == [each.name for each in model.layers]


def test_replace_layer_without_carrying(model: Any, graph: Graph) -> None:
    replace_layer(graph, "second", layers.Dense(6, kernel_initializer="ones"), carry_weights=False)
    np.testing.assert_array_equal(emit(graph).get_layer("second").kernel, np.ones((6, 6)))


def test_replace_layer_whose_weights_do_not_fit_is_initialised(graph: Graph) -> None:
    replace_layer(graph, "second", layers.Dense(6, use_bias=False, kernel_initializer="ones"))
    new = finished(graph).get_layer("second")
    np.testing.assert_array_equal(new.kernel, np.ones((6, 6)))
    assert not new.use_bias


def test_replace_layer_by_a_built_layer_takes_its_own_weights(graph: Graph) -> None:
    new = layers.Dense(6)
    new.build((None, 6))
    replace_layer(graph, "second", new)
    emitted = finished(graph)
    np.testing.assert_array_equal(emitted.get_layer("second").kernel, new.kernel)
    assert emitted.get_layer("second") is not new


def test_replace_one_call_of_a_shared_layer(model: Any, graph: Graph) -> None:
    replace_layer(graph, "shared:1", layers.ReLU(name="instead"))
    assert [node.name for node in graph.calls("shared")] == ["shared"]
    act = np.maximum(layer(model, "first")(X), 0)
    x = np.maximum(layer(model, "shared")(act + layer(model, "second")(act)), 0)
    emitted = finished(graph)
    same(emitted, X, [np.asarray(layer(model, "logits")(x[:, :3])), np.asarray(ops.softmax(x[:, 3:]))])
    assert {"shared", "instead"} <= {each.name for each in emitted.layers}


def test_replace_layer_by_a_function_and_by_a_model(model: Any, graph: Graph) -> None:
    replace_layer(graph, "act", ops.relu6)
    inner_in = keras.Input((6,))
    replace_layer(
        graph, "second", keras.Model(inner_in, layers.Dense(6, name="inner", kernel_initializer="ones")(inner_in))
    )
    emitted = finished(graph)
    assert "second" in {each.name for each in emitted.layers}
    act = np.clip(layer(model, "first")(X), 0, 6)
    same(emitted, X, tail(model, act, act.sum(axis=-1, keepdims=True).repeat(6, axis=-1)))


def test_replacing_an_output_keeps_the_outputs_name(graph: Graph) -> None:
    replace_layer(graph, "logits", layers.Dense(7))
    emitted = finished(graph)
    assert emitted.output_names == ["logits", "probabilities"]
    assert emitted.outputs[0].shape == (None, 7)


def test_replacing_a_node_of_several_outputs(model: Any, graph: Graph) -> None:
    replace_layer(graph, "split", lambda t: [t[:, :3] * 2.0, t[:, 3:]])
    x = predict(model, X)
    emitted = finished(graph)
    bias = np.asarray(model.get_layer("logits").bias)
    same(emitted, X, [2 * (x[0] - bias) + bias, x[1]])


# Delete, rename


def test_delete(model: Any, graph: Graph) -> None:
    assert delete(graph, "act") == Value("first")
    same(finished(graph), X, tail(model, np.asarray(layer(model, "first")(X))))


def test_delete_an_output_and_a_shared_call(model: Any, graph: Graph) -> None:
    delete(graph, "probabilities")
    delete(graph, "shared:1")
    act = np.maximum(layer(model, "first")(X), 0)
    x = np.asarray(layer(model, "shared")(act + layer(model, "second")(act)))
    same(finished(graph), X, [np.asarray(layer(model, "logits")(x[:, :3])), x[:, 3:]])


def test_rename(model: Any, graph: Graph) -> None:
    rename(graph, "logits", "classes")
    rename(graph, "x", "pixels")
    emitted = finished(graph)
    assert emitted.output_names == ["classes", "probabilities"]
    assert [tensor.name for tensor in emitted.inputs] == ["pixels"]
    assert "classes/kernel" in [weight.path for weight in emitted.weights]
    same(emitted, X, predict(model, X))


# Extract


def test_extract_between_tensors(model: Any, graph: Graph, tmp_path: Path) -> None:
    before = picture(graph)
    part = extract(graph, "act", "add")
    assert picture(graph) == before
    emitted = finished(part, tmp_path)
    assert [each.name for each in emitted.layers] == ["act", "second", "add"]
    act = np.maximum(layer(model, "first")(X), 0)
    same(emitted, act, [act + np.asarray(layer(model, "second")(act))])


def test_extract_several_and_from_the_inputs(model: Any, graph: Graph) -> None:
    part = extract(graph, ["act", "second"], ["logits", "split#1"])
    emitted = finished(part)
    act = np.maximum(layer(model, "first")(X), 0)
    second = np.asarray(layer(model, "second")(act))
    shared = layer(model, "shared")
    x = np.asarray(shared(shared(act + second)))
    got = predict(emitted, [act, second])
    close(got[0], layer(model, "logits")(x[:, :3]))
    close(got[1], x[:, 3:])
    same(finished(extract(graph, "x", "logits")), X, predict(model, X)[:1])


def test_extract_behind_a_call_of_a_layer_that_is_called_again(model: Any, graph: Graph) -> None:
    emitted = finished(extract(graph, "shared", "logits"))
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    same(emitted, x, [np.asarray(layer(model, "logits")(np.asarray(layer(model, "shared")(x))[:, :3]))])


def test_extract_of_a_tied_weight_whose_owner_stays_outside() -> None:
    model = build("tied_embedding")
    emitted = finished(extract(lift(model), "dense", "einsum"))
    assert not emitted.weights, "the embedding stays outside; its values are a constant here"
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    wanted = np.einsum("bse,ve->bsv", x, model.get_layer("embedding").embeddings)
    close(predict(emitted, x)[0], wanted)
    whole = finished(extract(lift(model), "tokens", "einsum"))
    assert len(whole.weights) == len(model.weights)


def test_extract_from_a_frozen_backbone_keeps_inference_mode() -> None:
    graph = lift(build("frozen_backbone"))
    part = extract(graph, "image", "backbone/bn")
    assert part["backbone/bn"].kwargs["training"] is False
    assert not finished(part).trainable_weights


# Regions


@pytest.mark.parametrize("form", ["layer", "model", "function", "graph"])
def test_replace_region(model: Any, graph: Graph, form: str) -> None:
    inputs = keras.Input((6,), name="entry")
    stand_in = keras.Model(inputs, layers.Rescaling(3.0, name="thrice")(inputs))
    sources: dict[str, Any] = {
        "layer": layers.Rescaling(3.0),
        "model": stand_in,
        "function": lambda t: t * 3.0,
        "graph": lift(stand_in),
    }
    (value,) = replace_region(graph, "act", "add", sources[form])
    assert value == Value("add"), "the name of what it replaces is free"
    assert "second" not in graph
    emitted = finished(graph)
    same(emitted, X, tail(model, 3 * np.maximum(layer(model, "first")(X), 0), 0.0))


def test_replace_region_with_two_entries_and_exits(model: Any, graph: Graph) -> None:
    replace_region(graph, ["act", "second"], ["split", "split#1"], lambda a, b: [(a * b)[:, :3], (a - b)[:, 3:]])
    act = np.maximum(layer(model, "first")(X), 0)
    second = np.asarray(layer(model, "second")(act))
    wanted = [np.asarray(layer(model, "logits")((act * second)[:, :3])), np.asarray(ops.softmax((act - second)[:, 3:]))]
    same(finished(graph), X, wanted)


def test_tensors_by_name(graph: Graph) -> None:
    assert as_value(graph, "split#1") == Value("split", 1)
    assert as_value(graph, "split") == Value("split")
    assert as_value(graph, Value("split", 1)) == Value("split", 1)
    with pytest.raises(GraphError):
        as_value(graph, Value("nope"))


def test_surgery_never_touches_the_model(model: Any, graph: Graph) -> None:
    before = predict(model, X)
    insert_after(graph, "act", layers.ReLU())
    replace_layer(graph, "second", layers.Dense(6, activation="tanh"))
    delete(graph, "probabilities")
    emit(graph)
    for one, other in zip(before, predict(model, X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [each.name for each in model.layers] == [each.name for each in network().layers]
