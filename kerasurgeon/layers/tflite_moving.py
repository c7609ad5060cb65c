"""What TFLite has for ONNX's operators that move, repeat and sum elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_parts import Size
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation

FAR = 2**31 - 1
"""An end that is further than any axis is long."""


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


def known_sizes(call: TfliteCall, name: str) -> list[Size]:
    """The sizes of a tensor, those that are open as tensors."""
    return [call.size_at(name, place) if size is None else size for place, size in enumerate(call.sizes(name))]


def positions_of(call: TfliteCall, x: str, axis: int) -> str:
    """The numbers of the positions along an axis, of int32, whether its size is known or not."""
    size = call.sizes(x)[axis]
    if size is not None:
        return call.constant(np.arange(size), "int32")
    end = call.squeeze(call.cast(call.size_at(x, axis), "int32"), [0])
    return call.op("Range", call.constant(0, "int32"), end, call.constant(1, "int32"))


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
    if call.type_of(x) == "bool":  # there is no kernel
        pieces = call.ops("Split", call.cast(x, "uint8"), lengths, outputs=outputs, axis=axis)
        return [call.cast(piece, "bool") for piece in pieces]
    own = call.sizes(x)
    axis %= len(own)
    if x in call.parts.turned:
        source, turn = call.parts.turned[x]
        return [
            call.transpose(piece, turn) for piece in _split(call, source, lengths, outputs=outputs, axis=turn[axis])
        ]
    if lengths is None:
        size = own[axis]
        if size is not None and size % outputs:
            raise CannotTell("it splits an axis into pieces of different sizes")
        numbers: list[int | None] = [None if size is None else size // outputs] * outputs
    else:
        numbers = [int(size) for size in call.value(lengths, "the sizes")]
    results: list[tuple[Sizes, str]] = [((*own[:axis], size, *own[axis + 1 :]), call.type_of(x)) for size in numbers]
    place = call.constant(axis, "int32")
    if len(set(numbers)) == 1:
        return call.natives("SPLIT", [place, x], results, numSplits=len(numbers))
    return call.natives(
        "SPLIT_V", [x, call.index(*(size or 0 for size in numbers)), place], results, numSplits=len(numbers)
    )


def _slice(
    call: TfliteCall, x: str, starts: str, ends: str, axes: str | None = None, steps: str | None = None, *, outputs: int
) -> list[str]:
    own = call.sizes(x)
    rank = len(own)
    if not (call.is_constant(starts) and call.is_constant(ends)):
        if rank > 5 or (axes is not None and list(call.value(axes)) != list(range(rank))):
            raise CannotTell("where it starts along some axes is computed")
        far = call.constant(FAR, "int64")
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
        whole = first == 0 and last >= FAR and step == 1
        sizes[axis] = None
        if abs(first) < FAR and not whole:
            begin[axis], begin_mask = first, begin_mask & ~(1 << axis)
        if abs(last) < FAR:
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
        sizes = (None,) * (count - len(own)) + tuple(None if size == 1 else size for size in own)
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
    if mode == "constant" and not call.is_constant(amounts):
        table = call.transpose(call.reshape(call.cast(amounts, "int32"), [2, len(own)]), (1, 0))
        value = call.constant(0, call.type_of(x)) if filling is None else filling
        return [call.native("PADV2", x, table, value, sizes=(None,) * len(own))]
    given = [int(amount) for amount in call.value(amounts, "what is put around")]
    sides = list(zip(given[: len(own)], given[len(own) :], strict=True))
    for axis, (front, behind) in enumerate(sides):
        if min(front, behind) < 0:
            bounds = [max(-front, 0), min(behind, 0) or FAR, axis]
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
        if all(own[axis] == 1 for axis in gone):
            return [x if keepdims else call.squeeze(x, gone)]
        return [call.native(kind, x, call.index(*gone), sizes=sizes, keepDims=bool(keepdims))]

    return add


def _cumulated(call: TfliteCall, x: str, axis: str, *, outputs: int, exclusive: int = 0, reverse: int = 0) -> list[str]:
    place = call.constant(int(call.value(axis).item()) % len(call.sizes(x)), "int32")
    sizes = call.sizes(x)
    return [call.native("CUMSUM", x, place, sizes=sizes, exclusive=bool(exclusive), reverse=bool(reverse))]


def _range(call: TfliteCall, start: str, end: str, step: str, *, outputs: int) -> list[str]:
    return [call.native("RANGE", start, end, step, sizes=(None,))]


def _triangle(call: TfliteCall, x: str, k: str | None = None, *, outputs: int, upper: int = 1) -> list[str]:
    rank, offset = len(call.sizes(x)), call.constant(0 if k is None else call.value(k).item(), "int32")
    row = call.unsqueeze(positions_of(call, x, rank - 2), [1])
    beside = call.op("Sub", call.unsqueeze(positions_of(call, x, rank - 1), [0]), row)
    kept = call.op("GreaterOrEqual" if upper else "LessOrEqual", beside, offset)
    return [call.op("Where", kept, x, call.constant(0, call.type_of(x)))]


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
    "CumSum": _cumulated,
    "Range": _range,
    "Trilu": _triangle,
    "DepthToSpace": _blocks("DEPTH_TO_SPACE"),
    "SpaceToDepth": _blocks("SPACE_TO_DEPTH"),
}
"""TFLite's operators for ONNX's, by the latter's names."""
