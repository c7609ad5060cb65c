"""New calls in a graph: one layer, all of a model or function, and a value in place of a node."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.errors import GraphError, LiftError, VerificationError
from kerasurgeon.ir import Graph, Value, verify_structure
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.calls import call, splice, substitute
from tests.ir.making import picture
from tests.keras_io.facts import predict
from tests.zoo import build, sample_inputs


@pytest.fixture
def graph() -> Graph:
    x = inputs = keras.Input((4,), name="x")
    x = layers.Dense(6, name="first", trainable=False)(x)
    x = layers.ReLU(name="act")(x)
    return lift(keras.Model(inputs, layers.Dense(3, name="logits")(x)))


def returned(graph: Graph, value: Value) -> Any:
    graph.set_signature(outputs=value)
    graph.remove_unused()
    verify_structure(graph)
    return emit(graph)


# call


def test_call_with_weights(graph: Graph) -> None:
    kernel = np.arange(12.0).reshape(6, 2)  # float64: cast to the layer's dtype
    value = call(graph, layers.Dense(2), Value("act"), weights={"kernel": kernel, "bias": [1, 2]}, name="new")
    assert value == Value("new")
    assert graph.spec(value).shape == (None, 2)
    assert "new" not in graph.unchecked
    new = returned(graph, value).get_layer("new")
    assert new.kernel.dtype == "float32"
    np.testing.assert_array_equal(new.kernel, kernel)
    np.testing.assert_array_equal(new.bias, [1, 2])
    assert all(weight.trainable for weight in new.weights)


def test_call_of_a_new_layer_initialises_it(graph: Graph) -> None:
    mine = layers.Dense(2, kernel_initializer="ones", name="ones")
    new = returned(graph, call(graph, mine, Value("act"))).get_layer("ones")
    np.testing.assert_array_equal(new.kernel, np.ones((6, 2)))
    assert not mine.built, "the user's layer is only read"


def test_call_of_a_built_layer_takes_its_weights(graph: Graph) -> None:
    mine = layers.BatchNormalization(name="norm")
    mine.build((None, 6))
    mine.moving_mean.assign(np.arange(6.0))
    nodes = len(mine._inbound_nodes)
    new = returned(graph, call(graph, mine, Value("act"))).get_layer("norm")
    np.testing.assert_array_equal(new.moving_mean, np.arange(6))
    assert [weight.trainable for weight in new.weights] == [weight.trainable for weight in mine.weights]
    assert len(mine._inbound_nodes) == nodes


def test_call_takes_operands_in_any_nesting(graph: Graph) -> None:
    total = call(graph, layers.Concatenate(axis=1), [Value("first"), Value("act")])
    assert graph.spec(total).shape == (None, 12)
    reshaped = call(graph, layers.Reshape((2, 6)), total)
    value = call(graph, layers.MultiHeadAttention(1, 2), reshaped, reshaped, return_attention_scores=True)
    assert [spec.shape for spec in graph[value.node].outputs] == [(None, 2, 6), (None, 1, 2, 2)]


def test_call_like_a_node_stands_in_its_place() -> None:
    graph = lift(build("nested_functional"))
    value = call(graph, layers.ReLU(name="conv"), Value("backbone/conv"), like="backbone/conv")
    node = graph[value.node]
    assert (node.name, node.scope, node.origin) == ("backbone/conv_1", "backbone", ("backbone/conv",))
    names = [each.name for each in graph.nodes()]
    assert names.index(node.name) == names.index("backbone/conv") + 1
    assert graph.layer_of(node).name == "conv_1"


REFUSED_CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "no layer": ("dense", (Value("act"),), {}, LiftError, "not a Keras layer"),
    "no tensor": (layers.ReLU(), (Value("nope"),), {}, GraphError, "no node 'nope'"),
    "wrong rank": (layers.Conv2D(2, 3), (Value("act"),), {}, VerificationError, r"operands: act \(\?, 6\)"),
    "wrong shape": (
        layers.Dense(2),
        (Value("act"),),
        {"weights": {"kernel": np.ones((5, 2)), "bias": np.ones(2)}},
        VerificationError,
        r"kernel.*\n.*\n.*expected: shape \(6, 2\)",
    ),
    "wrong keys": (
        layers.Dense(2),
        (Value("act"),),
        {"weights": {"kernle": np.ones((6, 2))}},
        VerificationError,
        "has other weights than its definition",
    ),
    "like no node": (layers.ReLU(), (Value("act"),), {"like": "nope"}, GraphError, "no node 'nope'"),
}


@pytest.mark.parametrize("case", REFUSED_CALLS)
def test_refused_calls_leave_the_graph(graph: Graph, case: str) -> None:
    layer, args, options, error, message = REFUSED_CALLS[case]
    before = picture(graph)
    with pytest.raises(error, match=message):
        call(graph, layer, *args, **options)
    assert picture(graph) == before


# splice


def test_splice_a_function(graph: Graph) -> None:
    value = splice(graph, lambda a, b: ops.concatenate([a, ops.relu(b)], axis=-1), Value("act"), Value("first"))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    hidden = returned(graph, value)
    act = np.maximum(np.asarray(hidden.get_layer("first")(x)), 0)
    np.testing.assert_array_equal(predict(hidden, x)[0], np.concatenate([act, act], axis=-1))


def test_splice_keeps_the_structure_of_the_outputs(graph: Graph) -> None:
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    model = keras.Model(inputs, {"sum": layers.Add(name="sum")([inputs["a"], inputs["b"]]), "same": inputs["a"]})
    outputs = splice(graph, model, Value("first"), Value("act"), prefix="in_")
    assert outputs == {"sum": Value("in_sum"), "same": Value("first")}
    assert graph["in_sum"].inputs == (Value("first"), Value("act"))


def test_splice_keeps_sharing_ties_and_training() -> None:
    graph = lift(build("tied_embedding"))
    model = build("tied_embedding")
    value = splice(graph, model, Value("tokens"))
    assert {node.layer for node in graph if node.name.startswith("embedding")} == {"embedding", "embedding_1"}
    assert graph.weight_users("embedding_1") == (value.node,)
    frozen = build("frozen_backbone")
    graph = lift(frozen)
    splice(graph, frozen, Value("image"))
    copies = [node for node in graph if graph.kind(node) == "BatchNormalization"]
    assert [node.kwargs.get("training") for node in copies if not node.scope] == [False]


def test_splice_twice_makes_two_copies(graph: Graph) -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(6, name="extra")(inputs))
    once = splice(graph, model, Value("act"))
    twice = splice(graph, model, once)
    assert (once, twice) == (Value("extra"), Value("extra_1"))
    emitted = returned(graph, twice)
    np.testing.assert_array_equal(emitted.get_layer("extra").kernel, emitted.get_layer("extra_1").kernel)


def test_refused_splices_leave_the_graph(graph: Graph) -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.ReLU()(inputs))
    before = picture(graph)
    with pytest.raises(GraphError, match=r"takes 1 inputs.\n  got: 2 operands"):
        splice(graph, model, Value("act"), Value("act"))
    with pytest.raises(GraphError, match=r"does not fit(.|\n)*expected: \(\?, 6\)(.|\n)*got: \(\?, 4\)"):
        splice(graph, model, Value("x"))
    with pytest.raises(GraphError, match="no node"):
        splice(graph, model, Value("nope"))
    assert picture(graph) == before


# substitute


def test_substitute_inside_leaves_names(graph: Graph) -> None:
    substitute(graph, "act", Value("first"))
    assert [node.name for node in graph.nodes()] == ["x", "first", "logits"]


def test_substitute_of_an_output_hands_its_name_on(graph: Graph) -> None:
    substitute(graph, "logits", Value("act"))
    assert [node.name for node in graph.nodes()] == ["x", "first", "logits"]
    assert graph.kind("logits") == "ReLU"
    assert emit(graph).output_names == ["logits"]


def test_substitute_by_an_input_or_a_shared_layer_keeps_their_names() -> None:
    inputs = keras.Input((4,), name="x")
    shared = layers.Dense(4, name="shared")
    graph = lift(keras.Model(inputs, layers.ReLU(name="last")(shared(shared(inputs)))))
    substitute(graph, "last", Value("shared:1"))
    assert [node.name for node in graph.nodes()] == ["x", "shared", "shared:1"]
    graph = lift(keras.Model(inputs, layers.ReLU(name="last")(inputs)))
    substitute(graph, "last", Value("x"))
    assert [node.name for node in graph.nodes()] == ["x"]


def test_substitute_of_a_shared_call_that_is_an_output() -> None:
    inputs = keras.Input((4,), name="x")
    shared = layers.Dense(4, name="shared")
    graph = lift(keras.Model(inputs, shared(layers.ReLU(name="act")(shared(inputs)))))
    substitute(graph, "shared:1", Value("act"))
    assert [node.name for node in graph.nodes()] == ["x", "shared", "act"], "the name is still in use"
    verify_structure(graph)


def test_substitute_inside_a_nested_model_whose_output_it_is() -> None:
    model = build("nested_functional")
    graph = lift(model)
    substitute(graph, "backbone/relu", Value("backbone/bn"))
    emitted = emit(graph)
    assert [layer.name for layer in emitted.layers] == [layer.name for layer in model.layers]
    assert [layer.name for layer in emitted.get_layer("backbone").layers] == ["input", "conv", "bn"]
    x = sample_inputs(model)
    body = model.get_layer("backbone")
    wanted = model.get_layer("logits")(ops.mean(body.get_layer("bn")(body.get_layer("conv")(x)), axis=(1, 2)))
    np.testing.assert_allclose(predict(emitted, x)[0], wanted, rtol=1e-5, atol=1e-6)


def test_refused_substitutions(graph: Graph) -> None:
    before = picture(graph)
    with pytest.raises(GraphError, match="computed from act"):
        substitute(graph, "act", Value("logits"))
    assert picture(graph) == before
    halves = splice(graph, lambda t: ops.split(t, 2, axis=-1), Value("act"))
    graph.set_signature(outputs=[Value("logits"), halves[1]])
    before = picture(graph)
    with pytest.raises(GraphError, match=r"other outputs of it are used.\n  got: outputs 1"):
        substitute(graph, halves[0].node, Value("act"))
    assert picture(graph) == before
