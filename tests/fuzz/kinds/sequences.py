"""Recurrent layers, attention, embeddings and masks."""

from __future__ import annotations

from typing import Any

from tests.fuzz.description import Made, Step, Weight
from tests.fuzz.drawing import Draw, Live
from tests.fuzz.kinds.convolving import data_format
from tests.fuzz.kinds.registry import made, ops

STATES = {"SimpleRNN": 1, "GRU": 1, "LSTM": 2}


def recurrent_options(draw: Draw, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"units": draw.whole(2, 4), "use_bias": draw.chance(0.8)}
    if kind == "GRU":
        options["reset_after"] = draw.chance(0.7)
    if draw.chance(0.2):
        options["activation"] = draw.pick("sigmoid", "relu", "softsign")
    return options


def over_time(draw: Draw) -> dict[str, Any]:
    """What makes a recurrence: sequences or last steps, states, backwards."""
    names = ("return_sequences", "return_state", "go_backwards", "unroll")
    return {name: True for name, share in zip(names, (0.5, 0.3, 0.2, 0.1), strict=True) if draw.chance(share)}


def masked(draw: Draw, x: Live) -> Live:
    """With a mask, every third time."""
    return draw.layer("Masking", x, mask_value=0.0) if draw.chance(0.3) else x


@made("SimpleRNN GRU LSTM", 3)
def recurrence(draw: Draw, kind: str, x: Live) -> None:
    x = masked(draw, x)
    options = recurrent_options(draw, kind)
    call: dict[str, Any] = {}
    if draw.chance(0.25):
        states = [draw.layer("Dense", draw.some(2), units=options["units"]) for _ in range(STATES[kind])]
        call["initial_state"] = states
    draw.layer(kind, x, call=call, **options, **over_time(draw))


@made("SimpleRNNCell GRUCell LSTMCell", 2)
def cell(draw: Draw, kind: str, x: Live) -> None:
    """By itself, or in ``RNN``."""
    options = recurrent_options(draw, kind.removesuffix("Cell"))
    if draw.chance(0.5):
        draw.layer("RNN", masked(draw, draw.some(3)), cell=Made(kind, options), **over_time(draw))
        return
    states = [draw.layer("Dense", x, units=options["units"]) for _ in range(STATES[kind.removesuffix("Cell")])]
    draw.layer(kind, x, states, **options)


@made("RNN StackedRNNCells", 3)
def stacked(draw: Draw, kind: str, x: Live) -> None:
    kinds = [draw.pick("SimpleRNN", "GRU", "LSTM") for _ in range(2)]
    cells = [Made(f"{each}Cell", recurrent_options(draw, each)) for each in kinds]
    cell = Made("StackedRNNCells", {"cells": cells}) if kind != "RNN" or draw.chance(0.4) else cells[0]
    draw.layer("RNN", masked(draw, x), cell=cell, **over_time(draw))


@made("ConvLSTM1D ConvLSTM2D ConvLSTM3D")
def convolutional(draw: Draw, kind: str, x: Live) -> None:
    rank = int(kind[8])
    sizes = (3, *[3] * rank)
    shape = (sizes[0], 2, *sizes[1:]) if draw.first else (*sizes, 2)
    frames = draw.made_of(x, shape) if draw.inside or draw.chance(0.6) else draw.input(shape)
    names = ("return_sequences", "return_state", "go_backwards")
    options: dict[str, Any] = {name: True for name in names if draw.chance(0.3)}
    draw.layer(kind, frames, filters=2, kernel_size=draw.pick(1, 2), padding="same", **options, **data_format(draw))


@made("Bidirectional", 3)
def bidirectional(draw: Draw, kind: str, x: Live) -> None:
    inner = draw.pick("SimpleRNN", "GRU", "LSTM")
    options = {**recurrent_options(draw, inner), **over_time(draw)}
    options.pop("go_backwards", None)
    merge = draw.pick("concat", "sum", "mul", "ave", None)
    draw.layer(kind, masked(draw, x), layer=Made(inner, options), merge_mode=merge)


@made("MultiHeadAttention", 3, 4)
def heads(draw: Draw, kind: str, x: Live) -> None:
    x = masked(draw, x) if x.rank == 3 else x
    options: dict[str, Any] = {"num_heads": draw.whole(1, 3), "key_dim": draw.whole(2, 3), "use_bias": draw.chance(0.7)}
    if draw.chance(0.3):
        options["value_dim"] = draw.whole(1, 4)
    if draw.chance(0.3):
        options["output_shape"] = draw.whole(2, 5)
    if x.rank == 4 and draw.chance(0.5):
        options["attention_axes"] = (draw.pick(1, 2),)
    if draw.chance(0.2):
        options["use_gate"] = True
    others = [x] if draw.chance(0.5) else [draw.some(3, lambda y: y.shape != x.shape)] if x.rank == 3 else [x]
    if draw.chance(0.3):
        others.append(draw.like(others[0]))
    call = {name: True for name in ("use_causal_mask", "return_attention_scores") if draw.chance(0.25)}
    draw.layer(kind, x, *others, call=call, **options)


@made("GroupQueryAttention", 3)
def grouped_heads(draw: Draw, kind: str, x: Live) -> None:
    shared = draw.whole(1, 2)
    several = shared * draw.whole(1, 2)
    options: dict[str, Any] = {"head_dim": 3, "num_query_heads": several, "num_key_value_heads": shared}
    draw.layer(kind, x, draw.pick(x, draw.like(x)), **options, use_bias=draw.chance(0.7))


@made("Attention AdditiveAttention", 3)
def attention(draw: Draw, kind: str, x: Live) -> None:
    options: dict[str, Any] = {"use_scale": draw.chance(0.5)}
    if kind == "Attention":
        options["score_mode"] = draw.pick("dot", "concat")
    operands = [x, draw.like(x)]
    if draw.chance(0.4):
        operands.append(draw.like(operands[1]))
    draw.layer(kind, operands, call={"use_causal_mask": True} if draw.chance(0.2) else {}, **options)


@ops("dot_product_attention", 3)
def attention_op(draw: Draw, name: str, x: Live) -> None:
    heads, width = draw.whole(1, 2), draw.whole(2, 3)
    query, key, value = (draw.layer("Dense", x, units=heads * width) for _ in range(3))
    split = [draw.layer("Reshape", each, target_shape=(x.shape[0], heads, width)) for each in (query, key, value)]
    options = {"is_causal": True} if draw.chance(0.3) else {}
    mixed = draw.op(name, *split, **({"scale": 0.5} if draw.chance(0.5) else {}), **options)
    draw.layer("Reshape", mixed, target_shape=(x.shape[0], heads * width))


@made("Embedding", 2)
def embedding(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, draw.tokens(), input_dim=5, output_dim=draw.whole(2, 5), mask_zero=draw.chance(0.5))


@made("ReversibleEmbedding", 3)
def reversible(draw: Draw, kind: str, x: Live) -> None:
    """Tied: the same layer embeds and projects back; or a variable is an operand."""
    width = draw.whole(2, 4)
    rows = draw.layer(kind, draw.tokens(), input_dim=5, output_dim=width, tie_weights=draw.chance(0.7))
    hidden = draw.layer("Dense", rows, units=width, activation="tanh")
    draw.add(Step(kind, (hidden,), {"reverse": True}, shares=rows.ref.step))


@made("Masking", 3)
def masking(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, mask_value=0.0)


@made("tied", 3)
def tied_operand(draw: Draw, kind: str, x: Live) -> None:
    """A variable of one layer is an operand of an op."""
    if draw.chance(0.5):
        rows = draw.layer("Embedding", draw.tokens(), input_dim=5, output_dim=x.shape[-1])
        draw.op("einsum", "btd,vd->btv", x, Weight(rows.ref.step, "embeddings"))
        return
    y = draw.layer("Dense", x, units=draw.whole(2, 4), activation="tanh")
    back = draw.op("einsum", "btu,cu->btc", y, Weight(y.ref.step, "kernel"))
    draw.layer("Add", [back, x])
