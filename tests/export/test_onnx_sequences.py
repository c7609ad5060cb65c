"""Attention, recurrent layers and layers around others, as ONNX writes them."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers, ops

from tests.export.single_layers import SEQUENCE, Case, In, check, together

OPEN = (In((None, 4)),)
PAIR = (In((6, 4)), In((5, 4)))
MASKED = (In((6, 4)), In((6,), values=[True, True, False], dtype="bool"))
IDS = (In((6,), "int32", 0, 4),)
HEADS = (In((6, 4, 3)), In((5, 2, 3)))
FILMS = (In((3, 5, 4, 2)),)
OPEN_FILMS = (In((None, None, 4, 2)),)


def _layer(name: str, *args: Any, **options: Any) -> Any:
    return lambda *xs: getattr(layers, name)(*args, **options)(*xs)


def _mask(name: str, *args: Any, **options: Any) -> Any:
    return lambda x, mask: getattr(layers, name)(*args, **options)(x, mask=mask)


def _embedded(layer: Any) -> Any:
    """A layer behind an Embedding, whose mask reaches it by itself."""
    return lambda ids: layer(layers.Embedding(4, 4, mask_zero=True)(ids))


def _cells() -> list[Any]:
    return [layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(4)]


def _network() -> keras.Model:
    return keras.Sequential([layers.Conv2D(3, 2), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)])


def _branches() -> keras.Model:
    x = keras.Input((5, 4, 2))
    return keras.Model(x, layers.Add()([layers.Conv2D(2, 3, padding="same")(x), ops.tanh(x)]))


CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
HARD = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
ZEROS = {"return_sequences": True, "zero_output_for_mask": True}
RECURRENT = ("SimpleRNN", "GRU", "LSTM")
OPTIONS: dict[str, dict[str, Any]] = {
    "last": {},
    "whole": {"return_sequences": True},
    "states": {"return_state": True},
    "back": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "back, last": {"go_backwards": True},
    "without bias": {"use_bias": False},
    "unrolled": {"unroll": True},
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu", "return_sequences": True},
}

MERGES = ("concat", "sum", "mul", "ave", None)


def _kinds(**options: Any) -> dict[str, Any]:
    """Every recurrent layer with the same options."""
    before = _layer("GRU", 3, reset_after=False, **options)
    return {**{kind: _layer(kind, 3, **options) for kind in RECURRENT}, "GRU before": before}


def _both_ways(merge: str | None = "concat", **options: Any) -> dict[str, Any]:
    def make(kind: str) -> Any:
        return lambda x: layers.Bidirectional(getattr(layers, kind)(3, **options), merge_mode=merge)(x)

    return {kind: make(kind) for kind in RECURRENT}


CASES = [
    *[
        Case(
            f"recurrent, {name}",
            together(_kinds(**options)),
            SEQUENCE,
            rtol=2e-5,
            reference=not options.get("go_backwards") and name != "relu",  # which knows neither
        )
        for name, options in OPTIONS.items()
    ],
    Case("recurrent, of open length", together(_kinds(return_sequences=True)), OPEN),
    Case(
        "recurrent, hard",
        together({kind: _layer(kind, 3, **HARD) for kind in ("GRU", "LSTM")}),
        SEQUENCE,
        reference=False,
    ),
    *[
        Case(
            f"recurrent, masked, {name}",
            together({kind: _mask(kind, 3, **options) for kind in RECURRENT}),
            MASKED,
            reference=False,
        )
        for name, options in {**OPTIONS, "zeros": ZEROS}.items()
        if name in ("last", "whole", "back", "gelu", "states", "zeros")
    ],
    Case(
        "recurrent, behind an Embedding",
        together({kind: _embedded(getattr(layers, kind)(3)) for kind in RECURRENT}),
        IDS,
        reference=False,
    ),
    Case(
        "LSTM behind Masking", lambda x: layers.LSTM(3)(layers.Masking()(ops.round(x))), (In((6, 1)),), reference=False
    ),
    Case(
        "LSTM with states",
        lambda x, h, c: layers.LSTM(3, return_sequences=True)(x, initial_state=[h, c]),
        (In((6, 4)), In((3,)), In((3,))),
    ),
    Case("GRU with a state", lambda x, h: layers.GRU(3, return_state=True)(x, initial_state=h), (In((6, 4)), In((3,)))),
    Case(
        "LSTM with states and a mask",
        lambda x, m, h, c: layers.LSTM(3, return_state=True)(x, mask=m, initial_state=[h, c]),
        (*MASKED, In((3,)), In((3,))),
        reference=False,
    ),
    Case(
        "Bidirectional",
        together(
            {
                f"{kind} {merge}": make
                for merge in MERGES
                for kind, make in _both_ways(merge, return_sequences=True).items()
            }
        ),
        SEQUENCE,
        reference=False,
    ),
    Case("Bidirectional, last", together(_both_ways(return_state=True)), SEQUENCE, reference=False),
    Case(
        "Bidirectional masked",
        lambda x, mask: [
            layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x, mask=mask),
            layers.Bidirectional(layers.GRU(3))(x, mask=mask),
        ],
        MASKED,
        reference=False,
    ),
    Case(
        "Bidirectional with states",
        lambda x, h, c: layers.Bidirectional(layers.LSTM(3, return_state=True))(x, initial_state=[h, c, c, h]),
        (In((6, 4)), In((3,)), In((3,))),
        reference=False,
    ),
    Case(
        "Bidirectional of its own",
        lambda x: layers.Bidirectional(
            layers.LSTM(3), backward_layer=layers.LSTM(3, go_backwards=True, activation="relu")
        )(x),
        SEQUENCE,
        reference=False,
    ),
    Case(
        "RNN of a cell",
        lambda x: [layers.RNN(cell(3), return_sequences=True)(x) for cell in CELLS],
        SEQUENCE,
    ),
    Case(
        "RNN of several cells",
        lambda x: [layers.RNN(_cells())(x), layers.RNN(layers.StackedRNNCells(_cells()), return_sequences=True)(x)],
        SEQUENCE,
    ),
    Case(
        "RNN of several cells, masked",
        lambda x, mask: layers.RNN(_cells(), return_sequences=True)(x, mask=mask),
        MASKED,
        reference=False,
    ),
    Case(
        "cells",
        lambda x, h, c: [
            *layers.LSTMCell(3)(x, [h, c])[1],
            layers.GRUCell(3)(x, [h])[0],
            layers.GRUCell(3, reset_after=False)(x, [h])[0],
            layers.SimpleRNNCell(3)(x, [h])[0],
        ],
        (In((4,)), In((3,)), In((3,))),
    ),
    Case(
        "StackedRNNCells",
        lambda x, h: layers.StackedRNNCells([layers.GRUCell(3), layers.SimpleRNNCell(3)])(x, [[h], [h]])[0],
        (In((4,)), In((3,))),
    ),
    *[
        Case(f"ConvLSTM2D {name}", lambda x, options=options: layers.ConvLSTM2D(3, 2, **options)(x), FILMS, rtol=2e-5)
        for name, options in {
            "last": {},
            "whole": {"return_sequences": True, "padding": "same"},
            "back": {"go_backwards": True, "return_sequences": True, "return_state": True},
            "strides": {"strides": 2, "recurrent_activation": "hard_sigmoid"},
            "wide": {"dilation_rate": 2},
        }.items()
    ],
    Case("ConvLSTM of other ranks", lambda x: layers.ConvLSTM1D(3, 2, padding="same")(x), (In((3, 5, 2)),)),
    Case("ConvLSTM3D", lambda x: layers.ConvLSTM3D(2, 2)(x), (In((2, 3, 3, 3, 2)),)),
    Case(
        "ConvLSTM2D masked",
        lambda x, mask: layers.ConvLSTM2D(3, 2, return_sequences=True)(x, mask=mask),
        (*FILMS, In((3,), values=[True, False], dtype="bool")),
    ),
    Case(
        "TimeDistributed",
        lambda x: [
            layers.TimeDistributed(layers.Dense(3, activation="relu"))(x),
            layers.TimeDistributed(layers.LayerNormalization())(x),
        ],
        SEQUENCE,
    ),
    Case(
        "TimeDistributed of images",
        lambda x: [
            layers.TimeDistributed(layers.Conv2D(3, 2))(x),
            layers.TimeDistributed(layers.Flatten())(x),
            layers.TimeDistributed(layers.MaxPooling2D())(x),
        ],
        FILMS,
    ),
    Case("TimeDistributed of open length", lambda x: layers.TimeDistributed(layers.Dense(3))(x), OPEN),
    Case("TimeDistributed of open images", lambda x: layers.TimeDistributed(layers.Conv2D(3, 2))(x), OPEN_FILMS),
    Case("TimeDistributed, masked", lambda x, mask: layers.TimeDistributed(layers.Dense(3))(x, mask=mask), MASKED),
    Case(
        "TimeDistributed of models",
        lambda x: [layers.TimeDistributed(_network())(x), layers.TimeDistributed(_branches())(x)],
        FILMS,
    ),
    Case(
        "SpectralNormalization",
        lambda x: [
            layers.SpectralNormalization(layers.Dense(3))(x),
            layers.SpectralNormalization(layers.Conv1D(3, 2))(x),
        ],
        SEQUENCE,
    ),
    # Attention
    *[
        Case(
            f"MultiHeadAttention {name}",
            lambda x, y, options=options, more=more: layers.MultiHeadAttention(2, 3, **options)(x, y, **more),
            PAIR,
        )
        for name, options, more in (
            ("plain", {}, {}),
            ("causal", {}, {"use_causal_mask": True}),
            ("with dropout", {"dropout": 0.1, "value_dim": 5}, {"use_causal_mask": True}),
            ("without bias", {"use_bias": False, "output_shape": 7}, {}),
            ("of a window", {"sliding_window": 2} if True else {}, {}),
        )
    ],
    Case(
        "MultiHeadAttention with scores",
        lambda x: list(layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)),
        SEQUENCE,
    ),
    Case(
        "MultiHeadAttention with scores",
        lambda x: list(layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)),
        SEQUENCE,
    ),
    Case(
        "MultiHeadAttention of open length", lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True), OPEN
    ),
    Case(
        "MultiHeadAttention with masks",
        lambda x, mask: [
            layers.MultiHeadAttention(2, 3)(x, x, attention_mask=mask),
            layers.MultiHeadAttention(2, 3)(x, x, attention_mask=mask, use_causal_mask=True),
        ],
        (In((6, 4)), In((6, 6), values=[True, True, False], dtype="bool")),
    ),
    Case(
        "MultiHeadAttention with a mask of the value",
        lambda x, mask: layers.MultiHeadAttention(2, 3)(x, x, value_mask=mask),
        MASKED,
    ),
    Case(
        "MultiHeadAttention over images",
        lambda x: [layers.MultiHeadAttention(2, 3)(x, x), layers.MultiHeadAttention(2, 3, attention_axes=(2,))(x, x)],
        (In((4, 5, 3)),),
        rtol=2e-5,
    ),
    *[
        Case(
            f"GroupQueryAttention {name}",
            lambda x, y, more=more: layers.GroupQueryAttention(3, 4, 2)(x, y, **more),
            PAIR,
        )
        for name, more in (
            ("plain", {}),
            ("scores", {"return_attention_scores": True}),
            ("causal", {"use_causal_mask": True}),
        )
    ],
    Case(
        "GroupQueryAttention with masks",
        lambda x, m: layers.GroupQueryAttention(3, 4, 2)(x, x, query_mask=m, value_mask=m, use_causal_mask=True),
        MASKED,
    ),
    Case(
        "Attention",
        lambda x, y: [
            layers.Attention()([x, y]),
            layers.Attention(use_scale=True, score_mode="concat")([x, y]),
            layers.Attention(use_scale=True)([x, y, y]),
        ],
        PAIR,
    ),
    Case(
        "Attention with all",
        lambda x, m: [
            *layers.Attention()([x, x], mask=[m, m], return_attention_scores=True),
            layers.Attention()([x, x], mask=[None, m], use_causal_mask=True),
        ],
        MASKED,
    ),
    Case(
        "AdditiveAttention",
        lambda x, y: [
            layers.AdditiveAttention()([x, y]),
            layers.AdditiveAttention(use_scale=False)([x, y], use_causal_mask=True),
        ],
        PAIR,
    ),
    Case(
        "dot_product_attention",
        lambda x, y: [
            ops.dot_product_attention(x, x, x),
            ops.dot_product_attention(x, x, x, is_causal=True, scale=0.3),
            ops.dot_product_attention(x, y, y),
        ],
        HEADS,
    ),
    Case(
        "dot_product_attention with a mask",
        lambda x, mask: ops.dot_product_attention(x, x, x, bias=ops.cast(mask, "float32"), mask=mask),
        (In((6, 4, 3)), In((4, 6, 6), values=[True, True, False], dtype="bool")),
    ),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sequences(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16"])
def test_half_precision(dtype: str) -> None:
    def make(x: Any) -> Any:
        y = layers.Dense(4, activation="gelu", dtype=dtype)(x)
        y = layers.LayerNormalization(dtype=dtype)(y)
        y = layers.MultiHeadAttention(2, 3, dtype=dtype)(y, y, use_causal_mask=True)
        y = layers.GroupNormalization(2, dtype=dtype)(layers.Conv1D(4, 3, dtype=dtype)(y))
        return [layers.GRU(3, dtype=dtype)(y), layers.EinsumDense("abc,cd->abd", (None, 5), dtype=dtype)(y)]

    check(Case("half", make, SEQUENCE, rtol=1e-2, reference=False))
