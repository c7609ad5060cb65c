"""Recurrent layers, attention, and models whose shape is what is special in them, for the sweep of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import layers

from tests.export.options import FILMS, FIRST_OPTION, IMAGES, MASK, OPEN, SEQUENCE, VECTOR, Options, called, cases_of
from tests.export.single_layers import Case, In

OPEN_MASK = In((None,), values=[True, True, False], dtype="bool")


def recurrences() -> Iterator[Case]:
    """Recurrent layers, with masks and states, and what is around them."""
    whole = {"return_sequences": True}
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        every: Sequence[Options] = (
            {},
            whole,
            {"return_state": True},
            {**whole, "return_state": True, "go_backwards": True},
            {"go_backwards": True},
            {"unroll": True},
            {"use_bias": False, **whole},
            {"activation": "relu"},
            {"activation": "gelu"},
            {"activation": "softsign", **whole},
            {"dropout": 0.2, "recurrent_dropout": 0.1},
        )
        yield from cases_of(kind, SEQUENCE, *({"units": 3, **options} for options in every), rtol=2e-5)
        yield from cases_of(kind, (In((1, 4)),), {"units": 3, **whole})
        yield from cases_of(kind, SEQUENCE, {"units": 3, "stateful": True}, fixed=True)
        yield from cases_of(kind, SEQUENCE, {"units": 3, "stateful": True, **whole, "go_backwards": True}, fixed=True)
        for options in ({}, {**whole, "go_backwards": True}, {"return_state": True}, {**whole, "activation": "selu"}):
            said = f"{kind}(mask, {options})"
            yield called(said, _masked(kind, {"units": 3, **options}), (*SEQUENCE, MASK), rtol=2e-5)
    yield from cases_of(
        "GRU", SEQUENCE, {"units": 3, "reset_after": False}, {"units": 3, "recurrent_activation": "hard_sigmoid"}
    )
    yield from cases_of(
        "LSTM", SEQUENCE, {"units": 3, "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False}
    )
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        for merge in ("concat", "sum", "mul", "ave", None):
            inner = getattr(layers, kind)(3, return_sequences=True)
            yield from cases_of("Bidirectional", SEQUENCE, {"layer": inner, "merge_mode": merge})
        yield from cases_of("Bidirectional", SEQUENCE, {"layer": getattr(layers, kind)(3, return_state=True)})
        cell = getattr(layers, f"{kind}Cell")
        yield from cases_of("RNN", SEQUENCE, {"cell": cell(3)}, {"cell": cell(3), **whole, "go_backwards": True})
        for options in ({**whole, "go_backwards": True}, {"return_state": True, "activation": "gelu"}):
            yield from cases_of(kind, OPEN[1], {"units": 3, **options}, rtol=2e-5)
        yield called(f"{kind}(mask)", _masked(kind, {"units": 3, **whole}), (*OPEN[1], OPEN_MASK), rtol=2e-5)
        both = layers.Bidirectional(getattr(layers, kind)(3, **whole))
        yield called(f"Bidirectional({kind})", both, OPEN[1], rtol=2e-5)
    yield from cases_of("RNN", OPEN[1], {"cell": [layers.LSTMCell(3), layers.GRUCell(2)], **whole}, rtol=2e-5)
    yield from cases_of("RNN", SEQUENCE, {"cell": [layers.LSTMCell(3), layers.GRUCell(2)], "return_state": True})
    yield from cases_of("RNN", SEQUENCE, {"cell": layers.GRUCell(3), "stateful": True}, fixed=True)
    for rank in (1, 2, 3):
        each: Options = {"filters": 2, "kernel_size": 2}
        yield from cases_of(
            f"ConvLSTM{rank}D",
            FILMS[rank],
            each,
            {**each, "padding": "same", "strides": 2, "return_sequences": True},
            {**each, "go_backwards": True, "return_state": True},
            {**each, "dilation_rate": 2, "use_bias": False},
            rtol=2e-5,
        )
        yield from cases_of(f"ConvLSTM{rank}D", (In((None, *FILMS[rank][0].shape[1:])),), {**each, **whole}, rtol=2e-5)
    yield from cases_of(
        "ConvLSTM2D", FILMS[2], {"filters": 2, "kernel_size": 2, "stateful": True}, fixed=True, rtol=2e-5
    )
    yield from cases_of(
        "ConvLSTM2D",
        (In((3, 2, 5, 6)),),
        {"filters": 2, "kernel_size": 2, **FIRST_OPTION, "return_sequences": True},
        rtol=2e-5,
    )
    for inner in (
        layers.Dense(3, activation="relu"),
        layers.Conv2D(3, 2),
        layers.Flatten(),
        layers.BatchNormalization(),
    ):
        yield from cases_of("TimeDistributed", FILMS[2], {"layer": inner})
    yield from cases_of(
        "TimeDistributed", (In((3, 5, 2)),), {"layer": layers.LSTM(3)}, {"layer": layers.GlobalMaxPooling1D()}
    )


def _masked(kind: str, options: Options) -> Any:
    return lambda x, mask: getattr(layers, kind)(**options)(x, mask=mask)


def attending() -> Iterator[Case]:
    """Layers of attention."""
    pair = (In((6, 4)), In((5, 4)))
    causal = {"use_causal_mask": True}
    every: dict[str, tuple[tuple[Options, Options], ...]] = {
        "MultiHeadAttention": (
            ({"num_heads": 2, "key_dim": 3}, {}),
            ({"num_heads": 2, "key_dim": 3, "value_dim": 5, "output_shape": 7}, causal),
            ({"num_heads": 2, "key_dim": 3, "use_bias": False, "use_gate": True}, {}),
            ({"num_heads": 1, "key_dim": 3, "sliding_window": 2}, {}),
            ({"num_heads": 2, "key_dim": 3, "flash_attention": False}, {}),
        ),
        "GroupQueryAttention": (
            ({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, {}),
            ({"head_dim": 3, "num_query_heads": 3, "num_key_value_heads": 1, "use_gate": True}, causal),
            ({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 4, "use_bias": False}, {}),
        ),
        "Attention": (({}, causal), ({"use_scale": True, "score_mode": "concat"}, {}), ({"dropout": 0.1}, {})),
        "AdditiveAttention": (({}, causal), ({"use_scale": False}, {})),
    }
    for kind, several in every.items():
        for options, more in several:
            said = ", ".join(f"{key}={value}" for key, value in {**options, **more}.items())
            yield called(f"{kind}({said})", _attention(kind, options, more), pair)
    yield called(
        "MultiHeadAttention(attention_axes=(1, 2))",
        lambda x: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x),
        (In((3, 4, 5)),),
        rtol=2e-5,
    )
    yield called(
        "MultiHeadAttention(scores)",
        lambda x: list(layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)),
        SEQUENCE,
    )
    yield called("MultiHeadAttention(free length)", lambda x: layers.MultiHeadAttention(2, 3)(x, x), OPEN[1])


def _attention(kind: str, options: Options, more: Options) -> Any:
    def make(x: Any, y: Any) -> Any:
        layer = getattr(layers, kind)(**options)
        return layer([x, y], **more) if kind in ("Attention", "AdditiveAttention") else layer(x, y, **more)

    return make


def models() -> Iterator[Case]:
    """Models whose shape is what is special in them."""
    ops = keras.ops
    yield called("an input that is given through", lambda x: [x, layers.Dense(3)(x)], VECTOR)
    yield called("nothing but an input", lambda x: [x], IMAGES)
    yield called("one tensor as two outputs", lambda x: [layers.Dense(3)(x)] * 2, VECTOR)
    yield called("an image as two outputs", lambda x: [layers.Conv2D(3, 2)(x)] * 2, IMAGES)
    yield called("twelve outputs", lambda x: [layers.Dense(k + 1)(x) for k in range(12)], VECTOR)
    yield called(
        "names of other letters",
        lambda x: layers.Dense(3, name="größe 1: 出力 (b)")(layers.Dense(2, name="a b")(x)),
        VECTOR,
    )
    yield called("one layer called twice", lambda x, y: _twice(x, y), (*VECTOR, *VECTOR))
    yield called("an input that nothing reads", lambda x, y: layers.Dense(2)(x), (*VECTOR, *VECTOR))
    yield called("a sum over all", lambda x: ops.sum(x), VECTOR)
    yield called("argmax", lambda x: ops.argmax(x, axis=-1), VECTOR)
    yield called("argmax over rows", lambda x: [ops.argmax(x, axis=1), ops.argmin(x, axis=2)], IMAGES)
    yield called("top_k", lambda x: list(ops.top_k(x, 3)), VECTOR)
    yield called("top_k of images", lambda x: list(ops.top_k(layers.Conv2D(5, 1)(x), 2)), IMAGES)
    yield called("a nested model", lambda x: _nested()(_nested()(x)), VECTOR)
    yield called(
        "uint8 images", lambda x: layers.Conv2D(3, 2)(layers.Rescaling(1 / 255)(x)), (In((6, 6, 3), "uint8", 0, 255),)
    )
    yield called("a truth", lambda x: x > 0, VECTOR)


def _twice(x: Any, y: Any) -> Any:
    layer = layers.Dense(3, activation="relu")
    return [layer(x), layer(y)]


def _nested() -> keras.Model:
    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(6, activation="tanh")(x))
