"""Constants, optional parts, what patterns refuse to be on the safe side, and the reasons they give."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils import naming

from kerasurgeon.errors import OptionError
from kerasurgeon.ir import Node, Value
from kerasurgeon.rewrite.matches import NearMiss
from kerasurgeon.rewrite.matching import find, match_at, near_misses
from kerasurgeon.rewrite.patterns import anything, constant, layers, one_of, ops, optional
from tests.rewrite.pattern_cases import CONV_BN, conv_bn, graph_of, image, only, why_not


@pytest.fixture(autouse=True)
def _numbering_of_names_starts_anew() -> None:
    naming.reset_uids()


# ---- constants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [3.0, 3, np.float32(3), np.array(3.0), np.full((1, 1), 3.0, "float32")])
def test_constants_of_any_kind(given: Any) -> None:
    x = keras.Input((4,))
    graph = graph_of(x, keras.ops.add(x, given))
    array = only(graph, ops.add(anything(), constant(3.0).bind("c"))).array("c")
    assert array == 3.0
    assert find(graph, ops.add(anything(), constant()))
    assert find(graph, ops.add(anything(), 3))
    assert "not array 2.5" in why_not(graph, ops.add(anything(), 2.5)).reason


def test_constants_that_are_backend_tensors_or_arrays() -> None:
    x = keras.Input((2,))
    graph = graph_of(x, x * keras.ops.convert_to_tensor([1.0, 2.0]))
    match = only(graph, ops.multiply(anything(), constant([1.0, 2.0 + 1e-8]).bind("c")))
    np.testing.assert_array_equal(match.array("c"), [1.0, 2.0])
    assert find(graph, ops.multiply(anything(), constant([1.0, 2.1], tolerance=0.1)))
    assert not find(graph, ops.multiply(anything(), constant([1.0, 2.1])))
    assert not find(graph, ops.multiply(anything(), constant(1.0)))


def test_a_tensor_is_no_constant_and_a_constant_no_tensor() -> None:
    x = image()
    assert why_not(graph_of(x, x + x), ops.add(anything(), constant())).reason.endswith("not a constant")
    assert why_not(graph_of(x, x + 1.0), ops.add(layers.ReLU(), anything())).matched == 1
    reason = why_not(graph_of(x, 1.0 - x), ops.subtract(layers.ReLU(), ...)).reason
    assert reason == "operand 'x1' of 'subtract' is 1.0, not the result of ReLU"


def test_weights_as_operands_count_as_constants_when_asked() -> None:
    ids = keras.Input((3,), dtype="int32")
    table = keras.layers.Embedding(5, 4, name="table")
    hidden = keras.layers.Dense(4, name="hidden")(table(ids))
    graph = graph_of(ids, keras.ops.einsum("btc,vc->btv", hidden, table.embeddings))
    assert "not a constant" in why_not(graph, ops.einsum(layers.Dense(), constant())).reason
    match = only(graph, ops.einsum(layers.Dense(), constant(weights=True).bind("w")))
    assert match.array("w").shape == (5, 4)
    tied = why_not(graph, layers.Embedding(anything()))
    assert tied.reason == "the weights of layer 'table' are used elsewhere, too"
    assert find(graph, layers.Embedding(anything()).shared_ok())


# ---- optional parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [True, False])
def test_an_optional_part_may_be_there_or_not(padded: bool) -> None:
    pattern = layers.Conv2D(optional(layers.ZeroPadding2D(anything("x"))).bind("pad")).bind("conv")
    x = image()
    y = keras.layers.ZeroPadding2D(name="pad")(x) if padded else x
    graph = graph_of(x, keras.layers.Conv2D(4, 3, name="conv")(y))
    match = only(graph, pattern)
    assert match["pad"] == (graph["pad"] if padded else None)
    assert match.value("x") == Value("image")
    assert len(match.nodes) == 1 + padded


def test_what_stands_in_the_place_of_an_optional_part() -> None:
    x = image()
    graph = graph_of(x, keras.layers.ReLU()(keras.layers.Conv2D(3, 1)(x)))
    assert only(graph, layers.ReLU(optional(layers.BatchNormalization(layers.Conv2D())).bind("bn")))["bn"] is None
    assert only(graph, layers.ReLU(optional(layers.BatchNormalization())))
    assert only(graph, layers.ReLU(optional(ops.add(anything("x"), constant()))))
    with pytest.raises(OptionError, match="otherwise="):
        optional(layers.Add(anything(), anything()))
    chosen = optional(layers.Add(anything(), anything()), otherwise=layers.Conv2D().bind("conv"))
    assert only(graph, layers.ReLU(chosen)).node("conv").name == "conv2d"


# ---- the safe defaults -------------------------------------------------------------------------------------


def test_results_used_elsewhere_are_refused() -> None:
    x = image()
    y = keras.layers.Conv2D(4, 3, name="conv")(x)
    side = keras.layers.ReLU(name="side")(y)
    graph = graph_of(x, [keras.layers.BatchNormalization(name="bn")(y), side])
    miss = why_not(graph, CONV_BN)
    assert miss == NearMiss("conv is also used by 'side'", "conv", 2, "bn", miss.pattern_origin)
    assert str(miss) == "no match at 'bn': conv is also used by 'side'"
    assert only(graph, layers.BatchNormalization(layers.Conv2D().many_uses_ok()))


def test_results_that_the_model_returns_are_refused() -> None:
    x = image()
    y = keras.layers.Conv2D(4, 3, name="conv")(x)
    graph = graph_of(x, [keras.layers.BatchNormalization(name="bn")(y), y])
    assert why_not(graph, CONV_BN).reason == "conv is also an output of the model"
    assert only(graph, layers.BatchNormalization(layers.Conv2D().many_uses_ok()))


def test_a_second_use_by_the_same_node_is_a_use_elsewhere() -> None:
    x = keras.Input((4, 6))
    y = keras.layers.Dense(6, name="dense")(x)
    graph = graph_of(x, keras.layers.MultiHeadAttention(2, 3, name="mha")(y, y))
    open_ended = layers.MultiHeadAttention(layers.Dense(), ...)
    assert why_not(graph, open_ended).reason == "dense is also used by 'mha'"
    dense = layers.Dense()
    assert only(graph, layers.MultiHeadAttention(dense, dense))


def test_shared_layers_are_refused() -> None:
    x = image()
    shared = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    norm = keras.layers.BatchNormalization(name="bn")(shared(shared(x)))
    graph = graph_of(x, norm)
    assert why_not(graph, CONV_BN).reason == "layer 'conv' is shared: it is called 2 times"
    assert only(graph, layers.BatchNormalization(layers.Conv2D().shared_ok()))
    assert [miss.matched for miss in near_misses(graph, layers.Conv2D())] == [1, 1]
    assert len(find(graph, layers.Conv2D().shared_ok())) == 2


def test_an_alternative_is_tried_when_the_first_is_used_elsewhere() -> None:
    x = image()
    y = keras.layers.Conv2D(4, 3, name="conv")(x)
    graph = graph_of(x, [keras.layers.ReLU(name="relu")(y), y])
    match = only(graph, layers.ReLU(one_of(layers.Conv2D().bind("conv"), anything("x"))))
    assert match["conv"] is None
    assert match.value("x") == Value("conv")


def test_outputs_other_than_the_first_must_be_asked_for() -> None:
    x = keras.Input((4, 6))
    _, state = keras.layers.GRU(3, return_state=True, name="gru")(x)
    graph = graph_of(x, keras.layers.Dense(2, name="dense")(state))
    assert (
        why_not(graph, layers.Dense(layers.GRU())).reason == "operand 'inputs' of 'dense' is output 1 of 'gru', not 0"
    )
    assert only(graph, layers.Dense(layers.GRU().at_output(1)))
    assert only(graph, layers.Dense(layers.GRU().at_output(None)))


# ---- tests by the author of a pattern ----------------------------------------------------------------------


def test_where_accepts_refuses_and_gives_reasons() -> None:
    def small(node: Node, layer: Any) -> bool | str:
        return layer.config["kernel_size"] == (1, 1) or f"kernel {layer.config['kernel_size']} is no point"

    graph = conv_bn()
    assert find(graph, layers.Conv2D(where=lambda _, layer: layer.config["filters"] == 4))
    miss = why_not(graph, layers.BatchNormalization(layers.Conv2D(where=small)))
    assert miss.reason == "'conv': kernel (3, 3) is no point"
    assert (miss.node, miss.matched) == ("conv", 2)
    silent = why_not(graph, layers.Conv2D(where=lambda *_: False))
    assert "'conv' is refused by the test of Conv2D()" in silent.reason
    assert "test_patterns_refusals.py:" in silent.reason
    wide = anything(where=lambda spec: spec.shape[-1] == 8 or "not 8 channels wide")
    assert why_not(graph, layers.BatchNormalization(wide)).reason == "tensor conv: not 8 channels wide"
    assert find(graph, layers.BatchNormalization(anything(where=lambda spec: spec.shape[-1] == 4)))


# ---- near misses -------------------------------------------------------------------------------------------


def test_a_near_miss_tells_the_furthest_of_several_tries() -> None:
    x = image()
    y = keras.layers.ReLU(name="r")(keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(3, name="d")(x)))
    graph = graph_of(x, keras.layers.Add(name="add")([y, x]))
    pattern = layers.Add(layers.ReLU(layers.BatchNormalization(layers.Conv2D())), anything())
    miss = why_not(graph, pattern)
    assert miss.reason == "'d' is Dense, not Conv2D"
    assert (miss.node, miss.matched, miss.root) == ("d", 3, "add")
    assert miss.pattern_origin.startswith(__file__)


def test_a_wrong_kind_at_the_root_is_a_miss_but_no_near_one() -> None:
    graph = conv_bn()
    miss = match_at(graph, CONV_BN, "conv")
    assert isinstance(miss, NearMiss)
    assert miss.reason == "'conv' is Conv2D, not BatchNormalization"
    assert miss.matched == 0
    assert near_misses(graph, CONV_BN) == []
