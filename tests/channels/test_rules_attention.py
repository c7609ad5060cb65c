"""Attention: a cut equals the masked twin, and a smaller model built by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.keras_io import emit, lift
from tests.channels.building import Case, array, assert_units_go, dense, free
from tests.channels.test_rules_contraction import sequence

pytestmark = pytest.mark.usefixtures("fresh_names")

HEADS = {"mha#heads": 4, "mha#key_dim": 5, "mha#value_dim": 3}
SHARED = {"gqa#heads": 3, "gqa#key_value_heads": 3, "gqa#head_dim": 4}


def mha(**options: Any) -> Any:
    options = {"num_heads": 4, "key_dim": 5, "value_dim": 3, "bias_initializer": "random_normal", **options}
    return layers.MultiHeadAttention(name="mha", **options)


def gqa(**options: Any) -> Any:
    return layers.GroupQueryAttention(4, 6, 3, bias_initializer="random_normal", name="gqa", **options)


def scores(layer: Any) -> Callable[[Any, Any], Any]:
    def tail(one: Any, two: Any) -> Any:
        made, weights = layer(one, two, return_attention_scores=True)
        mixed = layers.Conv2D(3, 1, data_format="channels_last")(ops.transpose(weights, (0, 2, 3, 1)))
        return ops.concatenate([made, layers.Reshape((5, 15))(mixed)], axis=-1)

    return tail


def heads_of(made: Any, name: str) -> Any:
    return layers.EinsumDense("btd,dhw->bthw", (5, 4, 6), bias_axes="hw", bias_initializer="random_normal", name=name)(
        made
    )


def out_of_heads(made: Any) -> Any:
    return layers.EinsumDense("bthw,hwo->bto", (5, 3), bias_axes="o")(made)


def reshaped(made: Any, name: str) -> Any:
    return layers.Reshape((5, 4, 6))(dense(24, name)(made))


def attended(one: Any, two: Any, into: Any, **options: Any) -> Any:
    three = [into(operand, name) for operand, name in ((one, "query"), (two, "key"), (two, "value"))]
    return out_of_heads(ops.dot_product_attention(*three, **options))


def written_out(one: Any, two: Any) -> Any:
    """Attention as transformers write it with ops."""
    query, key, value = (reshaped(operand, name) for operand, name in ((one, "query"), (two, "key"), (two, "value")))
    weights = ops.softmax(ops.einsum("bthw,bshw->bhts", query, key) / 2.0, axis=-1)
    return dense(3)(layers.Reshape((5, 24))(ops.einsum("bhts,bshw->bthw", weights, value)))


def causal(one: Any, two: Any) -> Any:
    return mha()(one, two, use_causal_mask=True)


CASES: dict[str, Case] = {
    "MultiHeadAttention": (lambda: sequence(mha()), {"one": 8, "two": 8, "mha": 8, **HEADS}),
    "with itself": (lambda: sequence(lambda a, b: a + mha()(a, a) + b), {"one": 8, "mha": 8, **HEADS}),
    "with a key": (lambda: sequence(lambda a, b: mha()(a, b, key=b + 1.0)), {"two": 8, "mha": 8, **HEADS}),
    "without biases": (lambda: sequence(mha(use_bias=False)), {"mha": 8, **HEADS}),
    "value_dim not given": (lambda: sequence(mha(value_dim=None)), {"mha": 8, **HEADS, "mha#value_dim": 5}),
    "output_shape": (lambda: sequence(mha(output_shape=6)), {"mha": 6, **HEADS}),
    "output_shape of two axes": (
        lambda: sequence(lambda a, b: out_of_heads(mha(output_shape=(3, 4))(a, b))),
        {"mha#output0": 3, "mha#output1": 4, **HEADS},
    ),
    "a gate": (lambda: sequence(mha(use_gate=True)), {"one": 8, "mha": 8, **HEADS}),
    "causal": (lambda: sequence(causal), {"mha": 8, **HEADS}),
    "dropout": (lambda: sequence(mha(dropout=0.5, seed=1)), {"mha": 8, **HEADS}),
    "a sliding window": (lambda: sequence(mha(sliding_window=2)), {"mha": 8, **HEADS}),
    "scores are an output": (lambda: sequence(scores(mha())), {"mha": 8, **HEADS}),
    "a mask": (
        lambda: sequence(lambda a, b: mha()(a, b, attention_mask=array(1, 5, 5) > 0)),
        {"mha": 8, **HEADS},
    ),
    "a mask per head": (
        lambda: sequence(lambda a, b: mha()(a, b, attention_mask=array(1, 4, 5, 5) > -1)),
        {"mha": 8, **HEADS},
    ),
    "over two axes": (lambda: image(mha(attention_axes=(1, 2))), {"conv": 8, "mha": 8, **HEADS}),
    "over one of two axes": (lambda: image(mha(attention_axes=(2,))), {"conv": 8, "mha": 8, **HEADS}),
    "queries from an input": (lambda: from_input(mha()), {"two": 8, "mha": 3, **HEADS}),
    "GroupQueryAttention": (lambda: sequence(gqa()), {"one": 8, "two": 8, "gqa": 8, **SHARED}),
    "GroupQueryAttention with a gate": (lambda: sequence(gqa(use_gate=True)), {"gqa": 8, **SHARED}),
    "GroupQueryAttention with itself": (lambda: sequence(lambda a, b: a + gqa()(a, a)), {"one": 8, "gqa": 8, **SHARED}),
    "GroupQueryAttention's scores": (lambda: sequence(scores(gqa())), {"gqa": 8, **SHARED}),
    "Attention": (lambda: sequence(lambda a, b: layers.Attention()([a, b])), {"one": 8, "two": 8}),
    "Attention with a key": (
        lambda: sequence(lambda a, b: layers.Attention()([a, dense(6, "value")(b), b])),
        {"one": 8, "value": 6},
    ),
    "Attention with a scale": (lambda: sequence(lambda a, b: layers.Attention(use_scale=True)([a, b])), {"one": 8}),
    "Attention, concat": (
        lambda: sequence(lambda a, b: layers.Attention(use_scale=True, score_mode="concat")([a, b])),
        {"one": 8},
    ),
    "Attention with itself": (lambda: sequence(lambda a, b: layers.Attention()([a, a])), {"one": 8}),
    "Attention's scores": (
        lambda: sequence(
            lambda a, b: ops.concatenate(layers.Attention()([a, b], return_attention_scores=True), axis=-1)
        ),
        {"one": 8},
    ),
    "AdditiveAttention": (lambda: sequence(lambda a, b: layers.AdditiveAttention()([a, b])), {"one": 8}),
    "AdditiveAttention without a scale": (
        lambda: sequence(lambda a, b: layers.AdditiveAttention(use_scale=False)([a, dense(6, "value")(b), b])),
        {"one": 8, "value": 6},
    ),
    "dot_product_attention, widths": (
        lambda: sequence(lambda a, b: attended(a, b, heads_of)),
        {"one": 8, "query#h": 4, "query#w": 6},
    ),
    "dot_product_attention, whole heads": (
        lambda: sequence(lambda a, b: attended(a, b, reshaped)),
        {"one": 8, "query": 4, "value": 4},
    ),
    "dot_product_attention with a scale": (
        lambda: sequence(lambda a, b: attended(a, b, heads_of, scale=0.3, is_causal=True)),
        {"query#h": 4, "query#w": 6},
    ),
    "dot_product_attention with a bias": (
        lambda: sequence(lambda a, b: attended(a, b, heads_of, bias=array(1, 4, 5, 5))),
        {"query#h": 4, "query#w": 6},
    ),
    "written out": (lambda: sequence(written_out), {"query": 4, "key": 4, "value": 4}),
}


# Not as many rows as heads: Keras adds biases of (heads, 1) along the rows then, where a width is cut down to one.
def image(layer: Any) -> keras.Model:
    inputs = keras.Input((6, 7, 2))
    made = layers.Conv2D(8, 1, bias_initializer="random_normal", name="conv", activation="tanh")(inputs)
    return keras.Model(inputs, dense(2)(layer(made, made)))


def from_input(layer: Any) -> keras.Model:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, dense(2)(layer(inputs, dense(8, "two")(inputs))))


@pytest.mark.spread(8)
@pytest.mark.parametrize("name", CASES)
def test_cut_is_exact_and_units_go(name: str) -> None:
    assert_units_go(CASES[name])


@pytest.mark.parametrize("gate", [False, True])
def test_multi_head_attention_equals_one_built_by_hand(gate: bool) -> None:
    model = sequence(mha(use_gate=gate))
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    for source, places in (("mha#heads", [1]), ("mha#key_dim", [0, 3]), ("mha#value_dim", [2]), ("mha", [0, 5])):
        gone[channels.unit[channels.sources[source].ids[places]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)

    heads, keys, values, made = np.array([0, 2, 3]), np.array([1, 2, 4]), np.array([0, 1]), np.array([1, 2, 3, 4, 6, 7])
    by_hand = sequence(mha(num_heads=3, key_dim=3, value_dim=2, output_shape=6, use_gate=gate))
    for layer in model.layers:
        if layer.name in ("one", "two"):
            by_hand.get_layer(layer.name).set_weights(layer.get_weights())
    kernel, bias = model.get_layer("head").get_weights()
    by_hand.get_layer("head").set_weights([kernel[made], bias])
    for variable in by_hand.get_layer("mha").weights:
        part, kind = variable.path.split("/")[-2:]
        (old,) = (w.numpy() for w in model.get_layer("mha").weights if w.path.endswith(f"{part}/{kind}"))
        if part == "attention_output":
            new = old[np.ix_(heads, values, made)] if kind == "kernel" else old[made]
        else:
            width = keys if part in ("query", "key") else values
            new = old[..., heads, :][..., width]
        # Keras divides scores by the square root of the key width, which was 5 and is now 3.
        variable.assign(new * np.sqrt(3 / 5) if part == "query" else new)
    data = array(2, 5, 3)
    np.testing.assert_allclose(emit(small)(data), by_hand(data), rtol=1e-5, atol=1e-6)


def test_a_cut_of_query_and_output_alike_leaves_the_output_shape_open() -> None:
    model = sequence(lambda a, b: a + mha()(a, b))
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["mha"].ids[0]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)
    assert small.layers["mha"].config["output_shape"] is None
    assert small.layers["mha"].weights["attention_output/bias"].shape == (7,)


def test_group_query_heads_go_with_those_that_they_share() -> None:
    channels = analyse(lift(sequence(gqa())))
    heads, shared = (channels.unit[channels.sources[f"gqa#{part}"].ids] for part in ("heads", "key_value_heads"))
    assert heads.tolist() == np.repeat(shared, 2).tolist()


def test_a_mask_from_a_tensor_per_head_keeps_the_heads() -> None:
    inputs, mask = keras.Input((5, 3)), keras.Input((4, 5, 5), dtype="bool")
    model = keras.Model([inputs, mask], dense(2)(mha()(dense(8)(inputs), inputs, attention_mask=mask)))
    channels = analyse(lift(model))
    assert free(channels, "mha#heads") == 0
    assert free(channels, "mha#key_dim") == 5


def test_steps_are_weighed_against_one_another_and_stay() -> None:
    turned = sequence(lambda a, b: layers.Attention()([layers.Permute((2, 1))(a), layers.Permute((2, 1))(b)]))
    assert free(analyse(lift(turned)), "one") == 0
