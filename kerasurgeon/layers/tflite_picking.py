"""What TFLite has for ONNX's operators that pick, sort and overwrite elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasurgeon.layers.tflite_moving import FAR, known_sizes
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation


def _gather(call: TfliteCall, x: str, at: str, *, outputs: int, axis: int = 0) -> list[str]:
    own, places = call.sizes(x), call.sizes(at)
    axis %= len(own)
    if call.is_constant(at):
        array, size = call.value(at), own[axis]
        if np.any(array < 0):
            if size is None and array.size == 1:
                return [_from_the_end(call, x, axis, int(array.item()), places)]
            if size is None:
                long = call.op("Mul", call.cast(call.size_at(x, axis), "int32"), call.constant(array < 0, "int32"))
                place = call.op("Add", call.constant(array, "int32"), long)
                return _gather(call, x, place, outputs=1, axis=axis)
            array = np.where(array < 0, array + size, array)
        if call.is_constant(x):
            return [call.constant(np.take(call.value(x), array, axis), call.type_of(x))]
        at = call.constant(array, "int32")
    elif call.type_of(at) not in ("int32", "int64"):
        at = call.cast(at, "int32")
    return [call.native("GATHER", x, at, sizes=(*own[:axis], *places, *own[axis + 1 :]), axis=axis, batchDims=0)]


def _from_the_end(call: TfliteCall, x: str, axis: int, place: int, sizes: Sizes) -> str:
    """One position of an axis of unknown size, counted from its end."""
    bounds = (call.integers(number) for number in (place, place + 1 or FAR, axis))
    made = call.op("Slice", x, *bounds)
    own = call.sizes(made)
    call.parts.shapes[made] = (*own[:axis], 1, *own[axis + 1 :])
    return made if sizes else call.squeeze(made, [axis])


def _gather_nd(call: TfliteCall, x: str, at: str, *, outputs: int, batch_dims: int = 0) -> list[str]:
    if batch_dims:
        raise CannotTell("it picks from every sample by itself")
    own, places = call.sizes(x), call.sizes(at)
    depth = places[-1]
    if depth is None:
        raise CannotTell("how many axes it picks from is unknown")
    return [call.native("GATHER_ND", x, call.cast(at, "int32"), sizes=(*places[:-1], *own[depth:]))]


def _gather_elements(call: TfliteCall, x: str, at: str, *, outputs: int, axis: int = 0) -> list[str]:
    """Along one axis, with a position for every element: rows of that axis, from each of which it picks by itself."""
    own, places = call.sizes(x), call.sizes(at)
    rank, axis = len(own), axis % len(own)
    if any(one != two and None not in (one, two) for one, two in zip(_but(own, axis), _but(places, axis), strict=True)):
        raise CannotTell("it picks from some rows only")
    at, size = call.cast(at, "int32"), own[axis]
    if call.is_constant(at) and size is not None:
        at = call.constant(np.where(call.value(at) < 0, call.value(at) + size, call.value(at)), "int32")
    else:
        long = call.constant(size, "int32") if size is not None else call.cast(call.size_at(x, axis), "int32")
        at = call.op("Where", call.op("Less", at, call.constant(0, "int32")), call.op("Add", at, long), at)
    order = [*(place for place in range(rank) if place != axis), axis]
    turned, chosen = call.transpose(x, order), call.transpose(at, order)
    rows = [call.reshape(name, [-1, known_sizes(call, name)[-1]]) for name in (turned, chosen)]
    count, sizes = (call.sizes(rows[0])[0], call.sizes(rows[1])[1]), known_sizes(call, chosen)
    made = call.native(
        "GATHER", *rows, sizes=(count[0], sizes[-1] if isinstance(sizes[-1], int) else None), axis=1, batchDims=1
    )
    made = call.reshape(
        made, [-1 if isinstance(size, str) and place == 0 else size for place, size in enumerate(sizes)]
    )
    return [call.transpose(made, [order.index(place) for place in range(rank)])]


def _but(sizes: Sizes, axis: int) -> Sizes:
    return (*sizes[:axis], *sizes[axis + 1 :])


def _arg(kind: str) -> Translation:
    def add(call: TfliteCall, x: str, *, outputs: int, axis: int = 0, keepdims: int = 1) -> list[str]:
        own = call.sizes(x)
        axis %= len(own)
        if call.type_of(x) == "int64":  # there is no kernel
            most = kind == "ARG_MAX"
            found = _top_k(call, x, call.integers(1), outputs=2, axis=axis, largest=int(most))[1]
            return [found if keepdims else call.squeeze(found, [axis])]
        x = call.cast(x, "int32") if call.type_of(x) not in ("float32", "int32") else x
        sizes = (*own[:axis], *own[axis + 1 :])
        place = call.constant(axis, "int32")
        made = call.native(kind, x, place, sizes=sizes, dtype="int64", outputType="int64")
        return [call.unsqueeze(made, [axis]) if keepdims else made]

    return add


def _top_k(
    call: TfliteCall, x: str, count: str, *, outputs: int, axis: int = -1, largest: int = 1, **_: Any
) -> list[str]:
    rank = len(call.sizes(x))
    axis %= rank
    if call.is_constant(count):
        k: int | None = int(call.value(count).reshape(-1)[0])
        number = call.constant(k, "int32")
    else:
        k, number = None, call.squeeze(call.cast(count, "int32"), [0])
    order = [*(place for place in range(rank) if place != axis), axis]
    back = [order.index(place) for place in range(rank)]
    turned = call.transpose(x if largest else call.op("Neg", x), order)
    sizes = (*call.sizes(turned)[:-1], k)
    results = [(sizes, call.type_of(x)), (sizes, "int32")]
    values, places = call.natives("TOPK_V2", [turned, number], results)
    values = values if largest else call.op("Neg", values)
    return [call.transpose(values, back), call.cast(call.transpose(places, back), "int64")]


def _scatter(call: TfliteCall, x: str, at: str, new: str, *, outputs: int, reduction: str = "none") -> list[str]:
    """What is new stands at its places among zeros, and is added or chosen there."""
    own = call.sizes(x)
    shape = call.cast(call.op("Shape", x), "int32")
    if reduction == "add":
        return [call.op("Add", x, _placed(call, at, new, shape, own))]
    places = call.value(at, "the places")
    depth, count = places.shape[-1], int(np.prod(places.shape[:-1]))
    several, times = np.unique(places.reshape(count, depth), axis=0, return_inverse=True)
    turns = np.zeros(count, np.int64)  # which of those that write to its place each is
    for place in range(len(several)):
        turns[times == place] = np.arange((times == place).sum())
    if reduction == "none" and turns.any():
        raise CannotTell("it writes to one place more than once")
    flat = call.reshape(new, [count, *known_sizes(call, new)[places.ndim - 1 :]])
    front = call.op("Slice", shape, call.integers(0), call.integers(depth), call.integers(0))
    for turn in range(int(turns.max(initial=-1)) + 1):
        chosen = np.flatnonzero(turns == turn)
        here = call.constant(places.reshape(count, depth)[chosen], "int32")
        values = call.op("Gather", flat, call.constant(chosen, "int32"), axis=0)
        there = _placed(call, here, values, shape, own)
        mask = _placed(call, here, call.constant(np.ones(len(chosen)), "int32"), front, own[:depth])
        mask = call.unsqueeze(call.op("Greater", mask, call.constant(0, "int32")), range(depth, len(own)))
        if reduction != "none":
            there = call.op({"mul": "Mul", "max": "Max", "min": "Min"}[reduction], x, there)
        x = call.op("Where", mask, there, x)
    return [x]


def _placed(call: TfliteCall, at: str, new: str, shape: str, sizes: Sizes) -> str:
    return call.native("SCATTER_ND", call.cast(at, "int32"), new, shape, sizes=sizes, dtype=call.type_of(new))


PICKING: Mapping[str, Translation] = {
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "ArgMax": _arg("ARG_MAX"),
    "ArgMin": _arg("ARG_MIN"),
    "TopK": _top_k,
    "ScatterND": _scatter,
}
"""TFLite's operators for ONNX's, by the latter's names."""
