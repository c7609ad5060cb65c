"""What TFLite has for ONNX's operators that move, pick, sort and sum elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation

_FAR = 2**31 - 1


def _shape(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
    sizes = call.sizes(x)
    if None not in sizes:
        return [call.integers(*(size or 0 for size in sizes))]
    return [call.native("SHAPE", x, sizes=(len(sizes),), dtype="int64", outType="int64")]


def _size(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
    sizes = call.sizes(x)
    if None not in sizes:
        return [call.constant(np.prod([size or 0 for size in sizes], dtype=np.int64), "int64")]
    return [call.reduce("ReduceProd", _shape(call, x, outputs=1)[0], [0], keepdims=False)]


def _gather(call: TfliteCall, x: str, at: str, *, outputs: int, axis: int = 0) -> list[str]:
    own, places = call.sizes(x), call.sizes(at)
    axis %= len(own)
    if call.is_constant(at):
        array, size = call.value(at), own[axis]
        if np.any(array < 0):
            if size is None and array.size == 1:
                return [_from_the_end(call, x, axis, int(array.item()), places)]
            if size is None:
                raise CannotTell("it picks from the end of an axis whose size is unknown")
            array = np.where(array < 0, array + size, array)
        if call.is_constant(x):
            return [call.constant(np.take(call.value(x), array, axis), call.type_of(x))]
        at = call.constant(array, "int32")
    elif call.type_of(at) not in ("int32", "int64"):
        at = call.cast(at, "int32")
    return [call.native("GATHER", x, at, sizes=(*own[:axis], *places, *own[axis + 1 :]), axis=axis, batchDims=0)]


def _from_the_end(call: TfliteCall, x: str, axis: int, place: int, sizes: Sizes) -> str:
    """One position of an axis of unknown size, counted from its end."""
    bounds = (call.integers(number) for number in (place, place + 1 or _FAR, axis))
    (made,) = _slice(call, x, *bounds, outputs=1)
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
    """Along one axis, with a position for every element: all axes' positions side by side."""
    own, places = call.sizes(x), call.sizes(at)
    rank, axis = len(own), axis % len(own)
    if None in places or own[axis] is None:
        raise CannotTell("how many it picks is unknown")
    wanted = [size or 0 for size in places]
    at = call.cast(at, "int32")
    size = call.constant(own[axis] or 0, "int32")
    at = call.op("Where", call.op("Less", at, call.constant(0, "int32")), call.op("Add", at, size), at)
    grid = np.indices(wanted, np.int32)
    columns = [
        call.unsqueeze(at, [rank]) if place == axis else call.constant(grid[place][..., None], "int32")
        for place in range(rank)
    ]
    index = call.op("Concat", *columns, axis=rank)
    return [call.native("GATHER_ND", x, index, sizes=places)]


def _concat(call: TfliteCall, *names: str, outputs: int, axis: int) -> list[str]:
    several = [call.sizes(name) for name in names]
    axis %= len(several[0])
    if all(call.is_constant(name) for name in names):
        return [call.constant(np.concatenate([call.value(name) for name in names], axis), call.type_of(names[0]))]
    along = [sizes[axis] for sizes in several]
    total = None if None in along else sum(size or 0 for size in along)
    known = tuple(next((size for size in sizes if size is not None), None) for sizes in zip(*several, strict=True))
    return [call.native("CONCATENATION", *names, sizes=(*known[:axis], total, *known[axis + 1 :]), axis=axis)]


def _split(call: TfliteCall, x: str, lengths: str | None = None, *, outputs: int, axis: int = 0, **_: Any) -> list[str]:
    own = call.sizes(x)
    axis %= len(own)
    if lengths is None:
        if own[axis] is None or (own[axis] or 0) % outputs:
            raise CannotTell("it splits an axis whose size is unknown")
        pieces = [(own[axis] or 0) // outputs] * outputs
    else:
        pieces = [int(size) for size in call.value(lengths, "the sizes")]
    results: list[tuple[Sizes, str]] = [((*own[:axis], size, *own[axis + 1 :]), call.type_of(x)) for size in pieces]
    place = call.constant(axis, "int32")
    if len(set(pieces)) == 1:
        return call.natives("SPLIT", [place, x], results, numSplits=len(pieces))
    return call.natives("SPLIT_V", [x, call.index(*pieces), place], results, numSplits=len(pieces))


def _slice(
    call: TfliteCall, x: str, starts: str, ends: str, axes: str | None = None, steps: str | None = None, *, outputs: int
) -> list[str]:
    own = call.sizes(x)
    rank = len(own)
    if not (call.is_constant(starts) and call.is_constant(ends)):
        if rank > 5 or (axes is not None and list(call.value(axes)) != list(range(rank))):
            raise CannotTell("where it starts along some axes is computed")
        far = call.constant(_FAR, "int64")
        ends = call.op("Min", ends, far) if call.type_of(ends) == "int64" else ends
        return [
            _strided(call, x, call.cast(starts, "int32"), call.cast(ends, "int32"), [1] * rank, 0, 0, (None,) * rank)
        ]
    begin, end, stride, sizes = [0] * rank, [0] * rank, [1] * rank, list(own)
    begin_mask = end_mask = 2**rank - 1
    places = range(rank) if axes is None else [int(axis) % rank for axis in call.value(axes)]
    by = [1] * len(places) if steps is None else [int(step) for step in call.value(steps)]
    for axis, start, stop, step in zip(places, call.value(starts), call.value(ends), by, strict=True):
        size, first, last = own[axis], int(start), int(stop)
        stride[axis] = step
        if size is not None:
            if last < -size:
                last = -size - 1
            low, high, _ = slice(first, last, step).indices(size)
            if last == -size - 1 and step < 0:
                high = -1
            sizes[axis] = len(range(low, high, step))
            begin[axis], begin_mask = low, begin_mask & ~(1 << axis)
            if high >= 0:
                end[axis], end_mask = high, end_mask & ~(1 << axis)
            continue
        whole = first == 0 and last >= _FAR and step == 1
        sizes[axis] = None
        if abs(first) < _FAR and not whole:
            begin[axis], begin_mask = first, begin_mask & ~(1 << axis)
        if abs(last) < _FAR:
            end[axis], end_mask = last, end_mask & ~(1 << axis)
    open_ends = all(own[axis] is not None or (not begin[axis] and end_mask >> axis & 1) for axis in range(rank))
    if sizes == list(own) and set(stride) == {1} and open_ends:
        return [x]
    begins, endings = call.index(*begin), call.index(*end)
    return [_strided(call, x, begins, endings, stride, begin_mask, end_mask, tuple(sizes))]


def _strided(
    call: TfliteCall, x: str, begin: str, end: str, stride: Sequence[int], begins: int, ends: int, sizes: Sizes
) -> str:
    if len(stride) > 5:
        raise CannotTell("TFLite slices tensors of at most five axes")
    return call.native("STRIDED_SLICE", x, begin, end, call.index(*stride), sizes=sizes, beginMask=begins, endMask=ends)


def _expand(call: TfliteCall, x: str, target: str, *, outputs: int) -> list[str]:
    own = call.sizes(x)
    if call.is_constant(target):
        wanted = [int(size) for size in call.value(target)]
        lacking = [1] * (len(wanted) - len(own))
        wanted = [1] * (len(own) - len(wanted)) + wanted
        meets = zip((*lacking, *own), wanted, strict=True)
        sizes: Sizes = tuple(size if one == 1 or one is None else one for one, size in meets)
        if call.is_constant(x):
            return [call.constant(np.broadcast_to(call.value(x), [size or 0 for size in sizes]), call.type_of(x))]
        if sizes == own:
            return [x]
        target = call.index(*(size or 0 for size in sizes))
    else:
        count = call.sizes(target)[0]
        if count is None or count < len(own):
            raise CannotTell("how many axes its result has is unknown")
        sizes = (None,) * count
        target = call.cast(target, "int32")
    return [call.native("BROADCAST_TO", x, target, sizes=sizes)]


def _tile(call: TfliteCall, x: str, times: str, *, outputs: int) -> list[str]:
    counts = [int(count) for count in call.value(times, "how often it repeats")]
    sizes = tuple(None if size is None else size * count for size, count in zip(call.sizes(x), counts, strict=True))
    return [call.native("TILE", x, call.index(*counts), sizes=sizes)]


def padded(call: TfliteCall, x: str, sides: Sequence[tuple[int, int]], filling: float = 0) -> str:
    """A tensor with numbers around it."""
    if not any(map(any, sides)):
        return x
    own = call.sizes(x)
    amounts = call.constant(np.asarray(sides, np.int32).reshape(-1, 2), "int32", "sides")
    sizes = tuple(None if size is None else size + sum(pair) for size, pair in zip(own, sides, strict=True))
    if not filling:
        return call.native("PAD", x, amounts, sizes=sizes)
    return call.native("PADV2", x, amounts, call.constant(filling, call.type_of(x)), sizes=sizes)


def _pad(
    call: TfliteCall, x: str, amounts: str, filling: str | None = None, *, outputs: int, mode: str = "constant"
) -> list[str]:
    own = call.sizes(x)
    given = [int(amount) for amount in call.value(amounts, "what is put around")]
    sides = list(zip(given[: len(own)], given[len(own) :], strict=True))
    for axis, (front, behind) in enumerate(sides):
        if min(front, behind) < 0:
            bounds = [max(-front, 0), min(behind, 0) or _FAR, axis]
            x = _slice(call, x, *(call.integers(bound) for bound in bounds), outputs=1)[0]
    sides = [(max(front, 0), max(behind, 0)) for front, behind in sides]
    if mode == "constant":
        return [padded(call, x, sides, 0 if filling is None else call.value(filling, "the filling").item())]
    own = call.sizes(x)
    if mode == "reflect":
        sizes = tuple(None if size is None else size + sum(pair) for size, pair in zip(own, sides, strict=True))
        table = call.constant(np.asarray(sides, np.int32), "int32", "sides")
        return [call.native("MIRROR_PAD", x, table, sizes=sizes, mode=0)]
    for axis, pair in enumerate(sides):
        if any(pair):
            size = own[axis]
            if size is None:
                raise CannotTell("it repeats the border of an axis whose size is unknown")
            x = call.op("Gather", x, call.constant(np.pad(np.arange(size), pair, mode="edge"), "int64"), axis=axis)
    return [x]


def _reduce(kind: str) -> Translation:
    def add(
        call: TfliteCall, x: str, axes: str | None = None, *, outputs: int, keepdims: int = 1, **_: Any
    ) -> list[str]:
        own = call.sizes(x)
        gone = (
            range(len(own)) if axes is None else sorted(int(axis) % len(own) for axis in call.value(axes, "the axes"))
        )
        sizes = tuple(1 if axis in gone else size for axis, size in enumerate(own) if keepdims or axis not in gone)
        if not len(gone):
            return [x]
        return [call.native(kind, x, call.index(*gone), sizes=sizes, keepDims=bool(keepdims))]

    return add


def _arg(kind: str) -> Translation:
    def add(call: TfliteCall, x: str, *, outputs: int, axis: int = 0, keepdims: int = 1) -> list[str]:
        own = call.sizes(x)
        axis %= len(own)
        x = call.cast(x, "int32") if call.type_of(x) not in ("float32", "int32") else x
        sizes = (*own[:axis], *own[axis + 1 :])
        place = call.constant(axis, "int32")
        made = call.native(kind, x, place, sizes=sizes, dtype="int64", outputType="int64")
        return [call.unsqueeze(made, [axis]) if keepdims else made]

    return add


def _top_k(
    call: TfliteCall, x: str, count: str, *, outputs: int, axis: int = -1, largest: int = 1, **_: Any
) -> list[str]:
    rank, k = len(call.sizes(x)), int(call.value(count, "how many").reshape(-1)[0])
    axis %= rank
    order = [*(place for place in range(rank) if place != axis), axis]
    back = [order.index(place) for place in range(rank)]
    turned = call.transpose(x if largest else call.op("Neg", x), order)
    sizes = (*call.sizes(turned)[:-1], k)
    results = [(sizes, call.type_of(x)), (sizes, "int32")]
    values, places = call.natives("TOPK_V2", [turned, call.constant(k, "int32")], results)
    values = values if largest else call.op("Neg", values)
    return [call.transpose(values, back), call.cast(call.transpose(places, back), "int64")]


def _cumulated(call: TfliteCall, x: str, axis: str, *, outputs: int, exclusive: int = 0, reverse: int = 0) -> list[str]:
    place = call.constant(int(call.value(axis).item()) % len(call.sizes(x)), "int32")
    sizes = call.sizes(x)
    return [call.native("CUMSUM", x, place, sizes=sizes, exclusive=bool(exclusive), reverse=bool(reverse))]


def _range(call: TfliteCall, start: str, end: str, step: str, *, outputs: int) -> list[str]:
    return [call.native("RANGE", start, end, step, sizes=(None,))]


def _triangle(call: TfliteCall, x: str, k: str | None = None, *, outputs: int, upper: int = 1) -> list[str]:
    own = call.sizes(x)
    rows, columns = own[-2:]
    if rows is None or columns is None:
        raise CannotTell("the size of its triangle is unknown")
    make = np.triu if upper else np.tril
    kept = make(np.ones((rows, columns), bool), 0 if k is None else int(call.value(k).item()))
    return [call.op("Where", call.constant(kept, "bool"), x, call.constant(0, call.type_of(x)))]


def _scatter(call: TfliteCall, x: str, at: str, new: str, *, outputs: int, reduction: str = "none") -> list[str]:
    """What is new stands at its places among zeros, and is added or chosen there."""
    own = call.sizes(x)
    if None in own or reduction not in ("none", "add"):
        raise CannotTell("TFLite only adds up what it scatters, in a tensor of known sizes")
    shape = call.index(*(size or 0 for size in own))
    there = call.native("SCATTER_ND", call.cast(at, "int32"), new, shape, sizes=own, dtype=call.type_of(x))
    if reduction == "add":
        return [call.op("Add", x, there)]
    places = call.value(at, "the places")
    mask = np.zeros([size or 0 for size in own], np.int64)
    np.add.at(mask, tuple(np.moveaxis(places, -1, 0)), 1)
    if mask.max(initial=0) > 1:
        raise CannotTell("it writes to one place more than once")
    return [call.op("Where", call.constant(mask > 0, "bool"), there, x)]


def _blocks(kind: str) -> Translation:
    def add(call: TfliteCall, x: str, *, outputs: int, blocksize: int, mode: str = "DCR") -> list[str]:
        if mode != "DCR":
            raise CannotTell("TFLite has its channels in another order")
        last = call.transpose(x, (0, 2, 3, 1))
        n, h, w, c = call.sizes(last)
        b = blocksize
        grows = kind == "DEPTH_TO_SPACE"
        sizes = [n, *(None if s is None else s * b if grows else s // b for s in (h, w))]
        channels = None if c is None else c // (b * b) if grows else c * b * b
        made = call.native(kind, last, sizes=(*sizes, channels), blockSize=b)
        return [call.transpose(made, (0, 3, 1, 2))]

    return add


MOVING: Mapping[str, Translation] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "ReduceMean": _reduce("MEAN"),
    "ReduceSum": _reduce("SUM"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "ReduceProd": _reduce("REDUCE_PROD"),
    "ArgMax": _arg("ARG_MAX"),
    "ArgMin": _arg("ARG_MIN"),
    "TopK": _top_k,
    "CumSum": _cumulated,
    "Range": _range,
    "Trilu": _triangle,
    "ScatterND": _scatter,
    "DepthToSpace": _blocks("DEPTH_TO_SPACE"),
    "SpaceToDepth": _blocks("SPACE_TO_DEPTH"),
}
"""TFLite's operators for ONNX's, by the latter's names."""
