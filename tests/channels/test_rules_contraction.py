"""Contractions: a cut equals the masked twin, and a smaller model built by hand."""

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
from kerasurgeon.rules.reasons import Reason
from tests.channels.building import Case, array, assert_units_go, dense, free
from tests.channels.oracle import assert_cut_is_exact

pytestmark = pytest.mark.usefixtures("fresh_names")


def sequence(tail: Callable[[Any, Any], Any], *, steps: int = 5, one: int = 8, two: int = 8) -> keras.Model:
    """Two dense layers over a sequence, something of both, and a dense head."""
    inputs = keras.Input((steps, 3))
    made = tail(dense(one, "one", activation="tanh")(inputs), dense(two, "two", activation="tanh")(inputs))
    return keras.Model(inputs, dense(2, "head")(made))


def both(made: Any, name: str = "both") -> Any:
    """A dense layer over the last two axes, which shrink each by itself."""
    return layers.EinsumDense("...ij,ijo->...o", 3, bias_axes="o", name=name)(made)


def image(tail: Callable[[Any, Any], Any]) -> keras.Model:
    inputs = keras.Input((3,))
    heads = [layers.Reshape((4, 6))(dense(24, name)(inputs)) for name in ("one", "two")]
    return keras.Model(inputs, dense(2, "head")(layers.Flatten()(tail(*heads))))


CASES: dict[str, Case] = {
    "matmul of two tensors": (lambda: sequence(lambda a, b: ops.matmul(a, ops.swapaxes(b, 1, 2))), {"one": 8}),
    "matmul keeps rows and columns": (
        lambda: sequence(lambda a, b: both(ops.matmul(ops.swapaxes(a, 1, 2), b)), two=6),
        {"one": 8, "two": 6},
    ),
    "matmul by a constant": (lambda: sequence(lambda a, b: ops.matmul(a + b, array(8, 6))), {"one": 8, "matmul": 6}),
    "matmul of a constant": (
        lambda: sequence(lambda a, b: ops.swapaxes(ops.matmul(array(7, 8), ops.swapaxes(a * b, 1, 2)), 1, 2)),
        {"one": 8, "matmul": 7},
    ),
    "matmul by a vector": (lambda: sequence(lambda a, b: dense(3)(ops.matmul(a + b, array(8)))), {"one": 8}),
    "matmul with a batch of kernels": (
        lambda: image(lambda a, b: both(ops.matmul(ops.expand_dims(a, 2), array(4, 6, 5)))),
        {"one": 4, "matmul": 5},
    ),
    "dot": (lambda: sequence(lambda a, b: ops.dot(a + b, array(8, 4))), {"one": 8, "dot": 4}),
    "inner": (lambda: sequence(lambda a, b: ops.inner(a + b, array(4, 8))), {"one": 8, "inner": 4}),
    "tensordot over numbers": (
        lambda: sequence(lambda a, b: ops.tensordot(a + b, array(8, 4), axes=1)),
        {"one": 8, "tensordot": 4},
    ),
    "tensordot over lists": (
        lambda: image(lambda a, b: dense(3)(ops.tensordot(a * b, array(6, 4, 5), axes=[[1, 2], [1, 0]]))),
        {"one": 6, "tensordot": 5},
    ),
    "einsum by a constant": (
        lambda: sequence(lambda a, b: ops.einsum("btd,de->bte", a + b, array(8, 5))),
        {"one": 8, "einsum": 5},
    ),
    "einsum of two tensors": (lambda: sequence(lambda a, b: ops.einsum("...td,...sd->...ts", a, b)), {"one": 8}),
    "einsum of three operands": (
        lambda: sequence(lambda a, b: ops.einsum("btd,bsd,de->bte", a, b, array(8, 5))),
        {"one": 8, "einsum": 5},
    ),
    "einsum sums one operand alone": (
        lambda: sequence(lambda a, b: ops.einsum("btd,bse->btd", a, b)),
        {"one": 8, "two": 8},
    ),
    "einsum of one operand": (lambda: image(lambda a, b: dense(3)(ops.einsum("bhw->bh", a - b))), {"one": 4}),
    "heads: whole heads go": (
        lambda: image(lambda a, b: ops.einsum("bhw,bhw->bh", a, b)),
        {"one": 4},
    ),
    "heads: widths are summed over both": (lambda: image(lambda a, b: ops.einsum("bhw,bgw->bhg", a, b)), {"one": 4}),
    "einsum contracts heads and widths": (
        lambda: image(lambda a, b: dense(3)(ops.einsum("bhw,hwo->bo", a + b, array(4, 6, 5)))),
        {"one": 6, "einsum": 5},
    ),
    "a constant along a kept letter": (
        lambda: sequence(lambda a, b: ops.einsum("btd,d->btd", a + b, array(8))),
        {"one": 8},
    ),
    "a constant that broadcasts": (
        lambda: sequence(lambda a, b: ops.matmul(a, array(1, 8, 4))),
        {"one": 8, "matmul": 4},
    ),
    "the layer Dot": (lambda: sequence(lambda a, b: layers.Dot(2)([a, b])), {"one": 8}),
    "the layer Dot over steps": (
        lambda: sequence(lambda a, b: both(layers.Dot(1)([a, b])), two=6),
        {"one": 8, "two": 6},
    ),
    "the layer Dot, normalised": (
        lambda: sequence(lambda a, b: layers.Dot((2, -1), normalize=True)([a, b])),
        {"one": 8},
    ),
    "a tensor with itself": (lambda: sequence(lambda a, b: layers.Dot(2, normalize=True)([a + b, a + b])), {"one": 8}),
    "the layer Dot of vectors": (
        lambda: sequence(lambda a, b: layers.Dot(1)([layers.GlobalMaxPooling1D()(a), layers.GlobalMaxPooling1D()(b)])),
        {"one": 8},
    ),
    "EinsumDense": (
        lambda: sequence(lambda a, b: einsum_dense("...d,de->...e", 6, "e", activation="relu")(a + b)),
        {"one": 8, "einsum_dense": 6},
    ),
    "EinsumDense into heads": (
        lambda: sequence(
            lambda a, b: both(einsum_dense("btd,dhw->bthw", (5, 3, 4), "hw")(a + b)),
        ),
        {"one": 8, "einsum_dense#h": 3, "einsum_dense#w": 4},
    ),
    "EinsumDense out of heads": (
        lambda: image(lambda a, b: dense(3)(einsum_dense("bhw,hwo->bo", 5, "o")(a + b))),
        {"one": 6, "einsum_dense": 5},
    ),
    "EinsumDense with a kernel per head": (
        lambda: image(lambda a, b: both(einsum_dense("bhw,hwo->bho", (4, 5), "ho")(a + b))),
        {"one": 4, "einsum_dense": 5},
    ),
    "EinsumDense with the ellipsis on the right": (
        lambda: sequence(
            lambda a, b: ops.swapaxes(einsum_dense("bd...,de->be...", 6, None)(ops.swapaxes(a + b, 1, 2)), 1, 2)
        ),
        {"one": 8, "einsum_dense": 6},
    ),
    "EinsumDense sums steps": (
        lambda: sequence(lambda a, b: dense(3)(einsum_dense("btd,de->be", 6, "e")(a + b))),
        {"one": 8, "einsum_dense": 6},
    ),
    "Embedding": (lambda: embedded(layers.Embedding(9, 8, name="table")), {"table": 8}),
    "ReversibleEmbedding forwards": (lambda: embedded(layers.ReversibleEmbedding(9, 8, name="table")), {"table": 8}),
    "ReversibleEmbedding": (lambda: reversible(True), {"table": 8}),
    "ReversibleEmbedding, not tied": (lambda: reversible(False), {"table": 8}),
}


def einsum_dense(equation: str, shape: Any, bias: str | None, **options: Any) -> Any:
    return layers.EinsumDense(
        equation, shape, bias_axes=bias, bias_initializer="random_normal", name="einsum_dense", **options
    )


def embedded(table: Any) -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    return keras.Model(inputs, dense(2)(layers.Conv1D(4, 3, bias_initializer="random_normal")(table(inputs))))


def reversible(tied: bool) -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(9, 8, tie_weights=tied, name="table")
    made = table(inputs)
    return keras.Model(inputs, table(made + dense(8, activation="tanh")(made), reverse=True))


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", CASES)
def test_cut_is_exact_and_units_go(name: str) -> None:
    assert_units_go(CASES[name])


def test_einsum_dense_equals_one_built_by_hand() -> None:
    model = sequence(lambda a, b: both(einsum_dense("btd,dhw->bthw", (None, 3, 4), "hw")(a + b)))
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    for source, position in (("one", 3), ("einsum_dense#h", 1), ("einsum_dense#w", 0), ("einsum_dense#w", 2)):
        gone[channels.unit[channels.sources[source].ids[position]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)

    inputs = keras.Input((5, 3))
    made = dense(7, "one", activation="tanh")(inputs) + dense(7, "two", activation="tanh")(inputs)
    made = both(einsum_dense("btd,dhw->bthw", (None, 2, 2), "hw")(made))
    by_hand = keras.Model(inputs, dense(2, "head")(made))
    features, heads, widths = np.delete(np.arange(8), 3), np.array([0, 2]), np.array([1, 3])
    for name in ("one", "two"):
        by_hand.get_layer(name).set_weights([w[..., features] for w in model.get_layer(name).get_weights()])
    kernel, bias = model.get_layer("einsum_dense").get_weights()
    by_hand.get_layer("einsum_dense").set_weights(
        [kernel[np.ix_(features, heads, widths)], bias[np.ix_(heads, widths)]]
    )
    kernel, bias = model.get_layer("both").get_weights()
    by_hand.get_layer("both").set_weights([kernel[np.ix_(heads, widths)], bias])
    by_hand.get_layer("head").set_weights(model.get_layer("head").get_weights())
    data = array(2, 5, 3)
    np.testing.assert_allclose(emit(small)(data), by_hand(data), rtol=1e-5, atol=1e-6)


def test_softmax_over_units_is_not_exact() -> None:
    channels = analyse(lift(sequence(lambda a, b: dense(8, "middle", activation="softmax")(a + b))))
    units = channels.unit[channels.sources["middle"].ids]
    assert {channels.inexact[unit][0] for unit in units} == {Reason.NORMALISED}
    inner = analyse(lift(sequence(lambda a, b: layers.Activation("softmax")(a + b))))
    assert {inner.inexact[unit][0] for unit in inner.unit[inner.sources["one"].ids]} == {Reason.NORMALISED}


def centred(x: Any) -> Any:
    return x - ops.mean(x, axis=-1, keepdims=True)


keras.saving.register_keras_serializable("tests")(centred)


@pytest.mark.parametrize("activation", [centred, "glu"])
def test_an_activation_that_may_mix_is_a_barrier(activation: Any) -> None:
    channels = analyse(lift(sequence(lambda a, b: dense(8, "middle", activation=activation)(a + b))))
    assert "activation" in channels.barriers["middle"]
    assert "middle" not in channels.sources


def test_a_bias_that_keras_may_add_along_another_axis_is_a_barrier() -> None:
    channels = analyse(lift(sequence(lambda a, b: both(einsum_dense("btd,dhw->bthw", (5, 3, 4), "h")(a + b)))))
    assert "along another axis" in channels.barriers["einsum_dense"]


@pytest.mark.parametrize(("width", "expected"), [(9, 6), (7, 0)])
def test_a_bias_that_is_not_last_keeps_its_channels_where_widths_could_agree(width: int, expected: int) -> None:
    inputs = keras.Input((2, 4, width))
    layer = layers.Conv2D(6, 2, data_format="channels_first", bias_initializer="random_normal", name="conv")
    model = keras.Model(inputs, layers.Conv2D(2, 1, data_format="channels_first")(layer(inputs)))
    assert free(analyse(lift(model)), "conv") == expected
    assert (assert_cut_is_exact(model) > 0) == bool(expected)


def test_an_operand_that_cannot_shrink_freezes_the_other() -> None:
    inputs = keras.Input((5, 8))
    channels = analyse(lift(keras.Model(inputs, dense(2)(ops.einsum("btd,bsd->bts", dense(8, "one")(inputs), inputs)))))
    assert free(channels, "one") == 0
