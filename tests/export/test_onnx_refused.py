"""What is refused, not written wrongly; and weights that are written once, however often they are used."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.exporting.graph_writing import CannotWrite
from tests.export.single_layers import SEQUENCE, Case, In, model_of, written

MASKED = (In((6, 4)), In((6,), values=[True, True, False], dtype="bool"))
IDS = (In((6,), "int32", 0, 4),)


def _nested() -> keras.Model:
    inner = keras.Input((6, 4))
    return keras.Model(inner, layers.LSTM(3)(inner))


def _attending(x: Any) -> Any:
    return layers.MultiHeadAttention(2, 3)(x, x)


REFUSED = [
    ("training", Case("training", lambda x: layers.Dropout(0.5)(x, training=True), SEQUENCE), "training"),
    (
        "a mask that reaches the inside",
        Case(
            "mask", lambda x, m: layers.TimeDistributed(layers.LSTM(2))(x, mask=m), (In((3, 4, 2)), In((3, 4), "bool"))
        ),
        "mask",
    ),
    (
        "a mask beside the graph",
        Case("mask", lambda ids: layers.LSTM(2)(layers.ReversibleEmbedding(4, 3, mask_zero=True)(ids)), IDS),
        "mask",
    ),
    (
        "a mask that Keras does not write down",
        Case("mask", lambda ids: _attending(layers.Embedding(4, 4, mask_zero=True)(ids)), IDS),
        "mask",
    ),
    (
        "a mask that enters a nested model",
        Case("nested", lambda ids: _nested()(layers.Embedding(4, 4, mask_zero=True)(ids)), IDS),
        "mask",
    ),
    (
        "a query_mask that Keras does not look at",
        Case("query_mask", lambda x, m: layers.MultiHeadAttention(2, 3)(x, x, query_mask=m), MASKED),
        "query_mask",
    ),
    (
        "a sum that TensorFlow takes for that of a bias",
        Case("bias", lambda x: x + np.arange(4, dtype="float32").reshape(4, 1), (In((5, 4, 4)),)),
        "another axis",
    ),
]


@pytest.mark.parametrize(("case", "why"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_cannot_be_written_is_refused(case: Case, why: str) -> None:
    with pytest.raises(CannotWrite, match=why):
        written(model_of(case))


SHARED: dict[str, Any] = {
    "LSTM": lambda: layers.LSTM(40),
    "LSTM, step by step": lambda: layers.LSTM(40, activation="gelu"),
    "GRU, step by step": lambda: layers.GRU(40, activation="gelu", reset_after=False),
    "EinsumDense": lambda: layers.EinsumDense("abc,cde->abde", (None, 40, 40)),
    "MultiHeadAttention": lambda: _attends_to_itself(layers.MultiHeadAttention(4, 40)),
    "ConvLSTM1D": lambda: layers.ConvLSTM1D(20, 3),
    "Dense": lambda: layers.Dense(2000),
    "Conv1D": lambda: layers.Conv1D(500, 3),
}


def _attends_to_itself(layer: Any) -> Any:
    def call(x: Any) -> Any:
        return layer(x, x)

    call.count_params = layer.count_params  # type: ignore[attr-defined]
    return call


@pytest.mark.parametrize("kind", SHARED)
def test_a_kernel_that_is_used_again_is_written_once(kind: str) -> None:
    layer = SHARED[kind]()
    shape = (6, 10, 4) if kind.startswith("ConvLSTM") else (6, 4)
    one, two = keras.Input(shape), keras.Input(shape)
    proto = written(keras.Model([one, two], [layer(one), layer(two)]))
    held = sum(np.prod(each.dims) for each in proto.graph.initializer)
    assert held < 1.1 * layer.count_params() + 1000  # biases that ONNX has and Keras lacks, small constants


@pytest.mark.parametrize("unroll", [False, True])
def test_masks_of_images_under_jax(unroll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' loop under JAX spreads a mask of samples over places; unrolled, it masks samples."""
    film, mask = keras.Input((3, 5, 6, 2)), keras.Input((3,), dtype="bool")
    model = keras.Model([film, mask], layers.ConvLSTM2D(2, 3, unroll=unroll)(film, mask=mask))
    written(model)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    if unroll:
        written(model)
    else:
        with pytest.raises(CannotWrite, match="unroll=True"):
            written(model)
