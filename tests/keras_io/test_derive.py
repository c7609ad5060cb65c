"""Shapes and dtypes derived by Keras, and what is said where the graph disagrees."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.errors import EmitError, VerificationError
from kerasurgeon.ir import Graph, TensorSpec, Value
from kerasurgeon.keras_io import check_types, derive_specs, emit, infer, lift
from tests.ir.making import picture
from tests.keras_io.facts import predict
from tests.zoo import build, sample_inputs


def network() -> Any:
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, layers.Dense(5, name="logits")(ops.relu(x)))


@pytest.fixture
def graph() -> Graph:
    return lift(network())


def narrowed(graph: Graph, filters: int = 2) -> None:
    """Cut the conv to fewer filters, and leave the rest to others."""
    conv = graph.layers["conv"]
    kernel, bias = conv.weights["kernel"].array, conv.weights["bias"].array
    conv = conv.with_config(filters=filters).with_weights(kernel=kernel[..., :filters], bias=bias[:filters])
    graph.update_layer("conv", conv)


def test_a_fresh_graph_has_nothing_to_check(graph: Graph) -> None:
    assert check_types(graph) == 0
    assert check_types(graph, everything=True) == len(graph)
    assert infer(graph) == ()


def test_only_what_changed_is_checked(graph: Graph) -> None:
    graph.update_layer("norm", graph.layers["norm"].with_config(epsilon=0.5))
    assert check_types(graph) == 1
    assert check_types(graph) == 0


def test_a_wrong_kernel_is_named_with_its_neighbours(graph: Graph) -> None:
    graph.set_weight("conv", "kernel", np.zeros((3, 3, 3, 6), "float32"))
    with pytest.raises(VerificationError) as caught:
        check_types(graph)
    text = str(caught.value)
    assert "Weight 'kernel' of layer 'conv' (Conv2D) does not fit" in text
    assert "where: node 'conv'" in text
    assert "expected: shape (3, 3, 3, 4)" in text
    assert "got: shape (3, 3, 3, 6)" in text
    assert "> conv = Conv2D(image) {kernel 3x3x3x6, bias 4}" in text
    assert "  norm = BatchNormalization(conv)" in text
    with pytest.raises((VerificationError, EmitError), match="does not fit"):
        emit(graph)


def test_infer_goes_on_to_the_first_that_refuses(graph: Graph) -> None:
    narrowed(graph)
    with pytest.raises(VerificationError, match=r"layer 'norm'(.|\n)*expected: shape \(2,\)(.|\n)*got: shape \(4,\)"):
        infer(graph)


def test_infer_records_what_follows(graph: Graph) -> None:
    narrowed(graph)
    norm, logits = graph.layers["norm"], graph.layers["logits"]
    graph.update_layer("norm", norm.with_weights(**{key: w.array[:2] for key, w in norm.weights.items()}))
    graph.update_layer("logits", logits.with_weights(kernel=logits.weights["kernel"].array[: 6 * 6 * 2]))
    assert infer(graph) == ("conv", "norm", "flat", *(n.name for n in graph if graph.kind(n) == "ops.relu"))
    assert graph.spec(Value("flat")) == TensorSpec((None, 72), "float32")
    assert check_types(graph, everything=True) == len(graph)
    emitted = emit(graph)
    assert emitted.get_layer("conv").filters == 2
    assert predict(emitted, sample_inputs(emitted))[0].shape == (2, 5)


def test_missing_and_surplus_weights_are_refused(graph: Graph) -> None:
    graph.update_layer("conv", graph.layers["conv"].with_config(use_bias=False))
    with pytest.raises(VerificationError) as caught:
        check_types(graph)
    text = str(caught.value)
    assert "has other weights than its definition" in text
    assert "expected: kernel (3, 3, 3, 4)" in text
    assert "got: kernel (3, 3, 3, 4), bias (4,)" in text
    assert "use_bias" in text
    graph.update_layer("conv", graph.layers["conv"].with_weights(bias=None))
    assert check_types(graph) == 1


def test_a_call_that_keras_refuses(graph: Graph) -> None:
    graph.set_operands("norm", (Value("image"),))
    graph.set_operands("flat", ([Value("conv"), Value("norm")],))
    with pytest.raises(VerificationError, match=r"'norm'"):
        check_types(graph)
    graph.set_operands("norm", (Value("conv"),))
    with pytest.raises(
        VerificationError, match=r"Keras refuses the call of 'flat' \(Flatten\)(.|\n)*do not go together"
    ):
        check_types(graph)


def test_a_recorded_dtype_that_is_wrong(graph: Graph) -> None:
    graph.set_outputs("norm", [TensorSpec((None, 6, 6, 4), "float16")])
    with pytest.raises(VerificationError, match=r"float16 \(recorded\)(.|\n)*float32 \(derived by Keras\)"):
        check_types(graph)
    assert infer(graph) == ("norm",)
    assert check_types(graph) == 0


def test_derive_specs_takes_names_and_changes_nothing(graph: Graph) -> None:
    before = picture(graph)
    assert derive_specs(graph, "conv") == (TensorSpec((None, 6, 6, 4), "float32"),)
    assert derive_specs(graph, graph["image"]) == (TensorSpec((None, 8, 8, 3), "float32"),)
    assert picture(graph) == before


@pytest.mark.parametrize(
    ("name", "kind", "specs"),
    [
        ("lstm_states", "LSTM", 3),
        ("custom_dict_output", "custom:tests.zoo.custom.Statistics", 3),
    ],
)
def test_layers_of_several_outputs(name: str, kind: str, specs: int) -> None:
    graph = lift(build(name))
    node = next(node for node in graph if graph.kind(node) == kind)
    assert len(derive_specs(graph, node)) == len(node.outputs) == specs
