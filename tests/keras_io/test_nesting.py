"""Nested models: put together again where they still are models, flattened where a rewrite opened them."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.ir import Graph, Value, verify_structure
from kerasurgeon.keras_io import check_types, emit, infer, lift
from kerasurgeon.rewrite.calls import call
from tests.keras_io.facts import SAME, bitwise_equal, named_layers, predict, values
from tests.keras_io.stepping import training_step
from tests.zoo import ZOO, build, sample_inputs

NESTED = [name for name in SAME if "nested" in ZOO[name].tags]


def flattened(graph: Graph) -> Graph:
    flat = graph.copy()
    flat.flatten()
    assert not flat.scopes
    return flat


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", NESTED)
def test_flattening_changes_nothing_but_the_nesting(name: str) -> None:
    model = build(name)
    flat = flattened(lift(model))
    verify_structure(flat)
    check_types(flat, everything=True)
    emitted = emit(flat)
    inputs = sample_inputs(model)
    assert bitwise_equal(predict(model, inputs), predict(emitted, inputs))
    names = [layer.name for layer in emitted.layers]
    assert len(set(names)) == len(names)
    if name != "nested_unused_output":  # once flat, a branch that leads nowhere is no part of a Keras model
        assert trained(emitted) == trained(model)
    loss, _ = training_step(model, inputs)
    assert training_step(emitted, inputs)[0] == pytest.approx(loss, rel=1e-5)


def backbone() -> Any:
    inputs = keras.Input((6,), name="inner_in")
    x = layers.Dense(6, name="first")(inputs)
    x = layers.Dropout(0.5, seed=1, name="drop")(x)
    return keras.Model(inputs, layers.Dense(4, name="second")(x), name="backbone")


def around(*, twice: bool = False, **options: Any) -> Any:
    inputs, inner = keras.Input((6,), name="features"), backbone()
    x = inner(inputs, **options)
    if twice:
        x = layers.Concatenate(name="both")([x, inner(layers.ReLU(name="relu")(inputs), **options)])
    return keras.Model(inputs, layers.Dense(3, name="first")(x), name="outer")


def trained(model: Any) -> list[tuple[int, ...]]:
    return sorted(tuple(weight.shape) for weight in model.trainable_weights)


def paths(model: Any) -> list[str]:
    return [path for path, _ in named_layers(model)]


def test_a_scope_that_is_read_from_outside_is_flattened() -> None:
    model = around()
    graph = lift(model)
    graph.set_signature(outputs=[graph.outputs, Value("backbone/first")])
    emitted = emit(graph)
    # The outer `first` keeps its name or the inner one does: names are unique and both layers are there.
    assert len(paths(emitted)) == len(set(paths(emitted))) == 5
    assert not [layer for layer in emitted.layers if isinstance(layer, keras.Model)]
    x = sample_inputs(model)
    hidden = keras.Model(model.get_layer("backbone").inputs[0], model.get_layer("backbone").get_layer("first").output)
    assert bitwise_equal(predict(emitted, x), [*predict(model, x), *predict(hidden, x)])
    assert set(graph.scopes) == {"backbone"}, "emitting does not change the graph"


def test_a_change_inside_keeps_the_nested_model() -> None:
    graph = lift(around())
    relu = call(graph, layers.ReLU(name="act"), Value("backbone/first"), like="backbone/first")
    graph.replace_uses(Value("backbone/first"), relu, keep=[relu.node])
    infer(graph)
    assert paths(emit(graph)) == ["features", "backbone", "backbone/inner_in", "backbone/first", "backbone/act",
                                  "backbone/drop", "backbone/second", "first"]  # fmt: skip


def test_one_of_two_calls_changed_makes_a_second_model() -> None:
    model = around(twice=True)
    graph = lift(model)
    assert set(graph.scopes) == {"backbone", "backbone:1"}
    act = call(graph, layers.Activation("tanh", name="act"), Value("backbone:1/first"), like="backbone:1/first")
    graph.replace_uses(Value("backbone:1/first"), act, keep=[act.node])
    infer(graph)
    emitted = emit(graph)
    inner = [layer for layer in emitted.layers if isinstance(layer, keras.Model)]
    assert len(inner) == 2
    assert inner[0].get_layer("first") is inner[1].get_layer("first"), "what is shared stays shared"
    assert len(emitted.weights) == len(model.weights)
    x = sample_inputs(model)
    first, second, last = (model.get_layer("backbone").get_layer(n) for n in ("first", "second", "drop"))
    assert last.rate == 0.5
    head = model.get_layer("first")
    want = head(np.concatenate([second(first(x)), second(np.tanh(first(np.maximum(x, 0))))], axis=-1))
    np.testing.assert_allclose(predict(emitted, x)[0], want, rtol=1e-5, atol=1e-6)


def test_unchanged_calls_share_one_model() -> None:
    model = around(twice=True)
    emitted = emit(lift(model))
    inner = [layer for layer in emitted.layers if isinstance(layer, keras.Model)]
    assert len(inner) == 1
    assert len(inner[0]._inbound_nodes) == 2


def test_flattened_calls_of_one_model_share_its_layers() -> None:
    model = around(twice=True)
    emitted = emit(flattened(lift(model)))
    assert len(emitted.weights) == len(model.weights)
    assert bitwise_equal(predict(model, sample_inputs(model)), predict(emitted, sample_inputs(model)))


def test_training_passes_down_on_flattening() -> None:
    flat = flattened(lift(around(training=True)))
    assert flat["backbone/drop"].kwargs["training"] is True
    model, emitted = around(training=True), emit(flat)
    x = sample_inputs(model)
    assert not np.array_equal(emitted(x), emitted(x)), "dropout stays on for good"
    assert bitwise_equal(predict(emitted, x), predict(emitted, x))


@pytest.mark.parametrize("thawed", [False, True])
def test_frozen_flags_stay_on_flattening(thawed: bool) -> None:
    model = around()
    inner = model.get_layer("backbone")
    inner.trainable = False
    inner.get_layer("second").trainable = thawed
    emitted = emit(flattened(lift(model)))
    assert trained(emitted) == trained(model)
    assert len(emitted.trainable_weights) == (4 if thawed else 2)


def test_shapes_may_change_at_a_border() -> None:
    graph = lift(around())
    wide = call(graph, layers.Dense(9, name="widen"), Value("features"))
    kernel = np.random.default_rng(0).normal(size=(9, 6)).astype("float32")
    graph.set_weight("backbone/first", "kernel", kernel)
    graph.replace_uses(Value("features"), wide, keep=["widen"])
    infer(graph)
    emitted = emit(graph)
    inner = emitted.get_layer("backbone")
    assert inner.inputs[0].shape == (None, 9)
    x = sample_inputs(emitted)
    want = emitted.get_layer("first")(inner(emitted.get_layer("widen")(x)))
    assert bitwise_equal(predict(emitted, x), [np.asarray(want)])


def test_a_model_in_a_model_is_flattened_from_outside_in() -> None:
    model = build("doubly_nested")
    graph = lift(model)
    outer = min(graph.scopes, key=len)
    graph.drop_scope(outer)
    emitted = emit(graph)
    assert bitwise_equal(predict(model, sample_inputs(model)), predict(emitted, sample_inputs(model)))
    assert len([layer for layer in emitted.layers if isinstance(layer, keras.Model)]) == 1


def test_a_sequential_that_is_no_chain_any_more_becomes_functional() -> None:
    model = build("sequential_with_input")
    graph = lift(model)
    first, last = [node.name for node in graph.nodes() if node.inputs]
    graph.set_signature(outputs=[Value(first), Value(last)])
    emitted = emit(graph)
    assert not isinstance(emitted, keras.Sequential)
    assert emitted.name == model.name
    assert bitwise_equal(predict(emitted, sample_inputs(model))[1:], predict(model, sample_inputs(model)))
    assert len(values(emitted.weights)) == len(model.weights)


def test_a_scaled_operand_does_not_hide_a_nested_model() -> None:
    """Keras calls the product of a tensor and a number sparse, which no model's input is."""
    inputs = keras.Input((6,), name="features")
    model = keras.Model(inputs, backbone()(inputs * 2.0))
    graph = lift(model)
    assert set(graph.scopes) == {"backbone"}
    assert not any(spec.sparse for node in graph for spec in node.outputs)
    assert bitwise_equal(predict(emit(graph), sample_inputs(model)), predict(model, sample_inputs(model)))


def test_a_mask_given_to_a_nested_model_is_not_lost_on_flattening() -> None:
    """A mask that the tensor does not carry itself would not reach inlined layers: such a model stays whole."""
    inner_in = keras.Input((6, 4))
    inner = keras.Model(inner_in, layers.LSTM(3)(layers.Dropout(0.1)(inner_in)), name="inner")
    steps, mask = keras.Input((6, 4), name="steps"), keras.Input((6,), dtype="bool", name="mask")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Layer 'inner'")
        model = keras.Model([steps, mask], inner(steps, mask=mask))
        graph = lift(model)
        emitted = emit(flattened(graph))
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(2, 6, 4)).astype("float32"), np.array([[True] * 3 + [False] * 3, [True] * 6])]
    assert not graph.scopes
    assert bitwise_equal(predict(emitted, x), predict(model, x))
    assert not np.array_equal(predict(model, x)[0], predict(model, [x[0], np.ones((2, 6), bool)])[0])


@pytest.mark.parametrize("name", ["mask_into_nested", "mask_through_sequential"])
def test_a_model_given_its_tensors_own_mask_is_inlined_each_time(name: str) -> None:
    graph = lift(build(name))
    assert graph.scopes
    assert set(lift(emit(graph)).scopes) == set(graph.scopes)
