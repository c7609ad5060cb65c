"""What picks, looks up or overwrites elements, written to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_terms import Term, concat, give, term, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, Tensor, natural

_END = 2**63 - 1


def write_item(call: OnnxCall) -> None:
    """Write ``x[key]``, where the key holds numbers, slices, ``None`` and an ellipsis."""
    operand, key = call.input, call.operand(1, "key")
    entries = list(key) if isinstance(key, (tuple, list)) else [key]
    if sum(entry is Ellipsis for entry in entries) == 0:
        entries.append(Ellipsis)
    own = sum(entry is not None and entry is not Ellipsis for entry in entries)
    order = operand.order
    x = term(call, operand, order)
    ranges: list[tuple[int, int, int, int]] = []  # place, start, stop, step
    picks: list[tuple[int, int]] = []  # axis, position
    target: list[int | None] = []  # which axis each axis of the result was
    axis = 0
    for entry in entries:
        if entry is None:
            target.append(None)
        elif entry is Ellipsis:
            target += range(axis, axis + operand.rank - own)
            axis += operand.rank - own
        elif isinstance(entry, slice):
            bounds = (entry.start, entry.stop, entry.step)
            if any(bound is not None and not isinstance(bound, (int, np.integer)) for bound in bounds):
                raise CannotTell("its range is computed")
            if entry != slice(None):
                ranges.append((order.index(axis), *_bounds(entry, operand.shape[axis])))
            target.append(axis)
            axis += 1
        elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
            picks.append((axis, int(entry)))
            axis += 1
        else:
            raise CannotTell(f"its key holds {type(entry).__name__}, not only numbers and slices")
    if ranges:
        columns = [[part[place] for part in ranges] for place in (1, 2, 0, 3)]
        x = x.named(call.op("Slice", x.name, *(call.integers(*column) for column in columns)))
    lying = list(order)
    for own_axis, position in picks:
        x = x.gather(position, lying.index(own_axis))
        lying.remove(own_axis)
    places = {was: place for place, was in enumerate(target) if was is not None}
    new = [place for place, was in enumerate(target) if was is None]
    if lying == sorted(lying):
        return give(call, x.unsqueeze(*new))
    return give(call, x.unsqueeze(*range(len(new))), (*new, *(places[was] for was in lying)))


def _bounds(entry: slice, size: int | None) -> tuple[int, int, int]:
    step = 1 if entry.step is None else int(entry.step)
    if size is not None:
        start, stop, step = entry.indices(size)
        return start, (-_END if stop < 0 else stop), step
    start = (0 if step > 0 else _END) if entry.start is None else int(entry.start)
    return start, ((_END if step > 0 else -_END) if entry.stop is None else int(entry.stop)), step


def write_slice(call: OnnxCall) -> None:
    """Write ``ops.slice``: from some position on, as many along every axis."""
    operand, starts = call.input, call.operand(1, "start_indices")
    sizes = [int(size) for size in call.config["shape"]]
    given = call.as_tensor(starts, "int64") if not isinstance(starts, (list, tuple)) else _vector(call, starts)
    if given is None:
        raise CannotTell("where it starts is not told")
    axes = call.integers(*range(operand.rank))
    begin = term(call, given, None, "int64")
    end = begin + np.asarray([_END // 2 if size == -1 else size for size in sizes])
    give(call, Term(call, call.op("Slice", call.read(operand), begin.name, end.name, axes), operand.dtype))


def _vector(call: OnnxCall, entries: Sequence[Any]) -> Tensor | None:
    """A list of numbers and scalar tensors as one tensor."""
    if not any(isinstance(entry, Tensor) for entry in entries):
        return call.as_tensor(list(entries), "int64")
    parts = []
    for entry in entries:
        single = call.as_tensor(entry, "int64")
        if single is None:
            return None
        parts.append(term(call, single, None, "int64").reshape([1]))
    made = concat(parts, 0)
    return Tensor(type(call.output)((len(entries),), "int64"), forms={(0,): made.name})


def write_slice_update(call: OnnxCall) -> None:
    """Write ``ops.slice_update``: what is written over stands at its place among zeros, and is chosen there."""
    operand, updates = call.tensor(0, "inputs"), call.tensor(2, "updates")
    starts = call.operand(1, "start_indices")
    found = call.as_tensor(starts, "int64") if not isinstance(starts, (list, tuple)) else None
    starts = found.array if found is not None else starts
    if starts is None or any(isinstance(start, Tensor) for start in starts):
        raise CannotTell("where it writes is computed")
    order, dtype = operand.order, call.output.dtype
    front: list[int] = []
    behind: list[int] = []
    mask = np.ones((1,) * operand.rank, bool)
    for axis, (size, own) in enumerate(zip(operand.shape, updates.shape, strict=True)):
        start = int(starts[axis])
        if size is None or own is None:
            if start or size is not own:
                raise CannotTell("a size along which it writes is unknown")
            front, behind = [*front, 0], [*behind, 0]
            continue
        start = min(start, size - own)
        front, behind = [*front, start], [*behind, size - own - start]
        inside = (np.arange(size) >= start) & (np.arange(size) < start + own)
        mask = mask & inside.reshape([-1 if place == axis else 1 for place in range(operand.rank)])
    amounts = [side[axis] for side in (front, behind) for axis in order]
    placed = call.op("Pad", call.read(updates, order, dtype), call.integers(*amounts))
    chosen = Term(call, call.constant(mask.transpose(order), "bool"), "bool")
    give(call, chosen.where(Term(call, placed, dtype), term(call, operand, order, dtype)), order)


def write_taken(call: OnnxCall) -> None:
    """Write ``ops.take``: a Gather."""
    operand, axis = call.tensor(0, "x"), call.config.get("axis")
    indices = call.tensor(1, "indices", "int64")
    dtype = indices.dtype if indices.dtype in ("int32", "int64") else "int64"
    at = term(call, indices, None, dtype)
    if axis is None:
        return give(call, term(call, operand, None).reshape([-1]).gather(at, 0))
    axis, order = int(axis) % operand.rank, operand.order
    place, more = order.index(axis), indices.rank - 1
    moved = [own + more if own > axis else own for own in order]
    own = range(axis, axis + indices.rank)
    return give(call, term(call, operand, order).gather(at, place), (*moved[:place], *own, *moved[place + 1 :]))


def write_taken_along(call: OnnxCall) -> None:
    """Write ``ops.take_along_axis``: GatherElements, of operands broadcast along the other axes."""
    operand, indices, axis = call.tensor(0, "x"), call.tensor(1, "indices", "int64"), call.config.get("axis")
    dtype = indices.dtype if indices.dtype in ("int32", "int64") else "int64"
    if axis is None:
        x, at, axis = term(call, operand).reshape([-1]), term(call, indices, None, dtype).reshape([-1]), 0
        return give(call, x.op("GatherElements", at, axis=0))
    axis, sizes = int(axis) % operand.rank, [call.shape_of(each) for each in (operand, indices)]
    x, at = term(call, operand), term(call, indices, None, dtype)
    wide_sizes = [other if one == 1 else one for one, other in zip(*sizes, strict=True)]
    made = []
    for value, own in ((x, sizes[0]), (at, sizes[1])):
        wanted = [own[axis] if place == axis else size for place, size in enumerate(wide_sizes)]
        spread = any(one == 1 and other != 1 for one, other in zip(own, wanted, strict=True))
        made.append(value.expand(wanted) if spread else value)
    return give(call, made[0].op("GatherElements", made[1], axis=axis))


def one_hot(call: OnnxCall, indices: Tensor, classes: int, axis: int) -> tuple[Term, Order]:
    """Truths, one along a new axis for every index that is a class; and the order of the axes."""
    order, rank = indices.order, indices.rank + 1
    axis %= rank
    ids = term(call, indices, order, "int64").unsqueeze(rank - 1)
    return ids.equals(np.arange(classes)), (*(own + (own >= axis) for own in order), axis)


def write_one_hot(call: OnnxCall) -> None:
    """Write ``ops.one_hot`` and ``ops.multi_hot``."""
    if call.config.get("sparse"):
        raise CannotTell("it gives a sparse tensor")
    if call.kind == "ops.multi_hot" and call.config.get("dtype") is None:
        raise CannotTell("Keras tells another dtype of its result than the result has")
    made, order = one_hot(call, call.input, int(call.config["num_classes"]), int(call.config.get("axis", -1)))
    if call.kind == "ops.multi_hot":
        gone = 1 if call.input.rank > 1 else 0
        made = made.to("int32").reduce("ReduceMax", [order.index(gone)], keepdims=False)
        order = tuple(own - (own > gone) for own in order if own != gone)
    give(call, made, order)


def write_scattered(call: OnnxCall) -> None:
    """Write ``ops.scatter`` and ``ops.scatter_update``: ScatterND."""
    adds = call.kind == "ops.scatter" or call.config.get("reduction") is not None
    dtype = wide(call.output.dtype) if adds else call.output.dtype
    if call.kind == "ops.scatter":
        indices, values = call.tensor(0, "indices", "int64"), call.tensor(1, "values")
        shape = [int(size) for size in call.config["shape"]]
        into = Term(call, call.constant(0, dtype), dtype).expand(shape)
        reduction: str | None = "add"
    else:
        operand = call.tensor(0, "inputs")
        indices, values = call.tensor(1, "indices", "int64"), call.tensor(2, "updates")
        into, reduction = term(call, operand, None, dtype), call.config.get("reduction")
        if reduction in ("max", "min") and call.opset < 18:
            raise CannotTell(f"ONNX scatters with {reduction} from opset 18 on")
    if call.opset < 16 and reduction is not None:
        raise CannotTell("ONNX adds up what it scatters from opset 16 on")
    at, new = call.read(indices, None, "int64"), call.read(values, None, dtype)
    made = call.op("ScatterND", into.name, at, new, reduction=reduction)
    give(call, Term(call, made, dtype))


def write_segments(call: OnnxCall) -> None:
    """Write ``ops.segment_sum`` and its like: each segment's rows among all rows."""
    data, ids = call.tensor(0, "data"), call.tensor(1, "segment_ids", "int64")
    number, dtype = call.config.get("num_segments"), wide(data.dtype)
    if number is None or call.config.get("sorted"):
        raise CannotTell("how many segments there are depends on the data")
    own, _ = one_hot(call, ids, int(number), 0) if ids.rank == 1 else (None, None)
    if own is None:
        raise CannotTell("its segments are not given as a vector")
    own = own.transpose((1, 0)).reshape([int(number), -1, *[1] * (data.rank - 1)])
    kind = call.kind.rpartition("_")[2]
    limit = float(np.finfo("float32").max) if "float" in dtype else int(np.iinfo(np.dtype(dtype)).max)
    neutral = {"sum": 0, "prod": 1, "max": -limit if "float" in dtype else -limit - 1, "min": limit}[kind]
    x = term(call, data, None, dtype).unsqueeze(0)
    reduce = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}[kind]
    give(call, own.where(x, neutral).reduce(reduce, [1], keepdims=False))


def write_diagonal(call: OnnxCall) -> None:
    """Write ``ops.diagonal`` and ``ops.trace``: elements of the flattened matrix."""
    operand, config = call.input, call.config
    one, two = config.get("axis1", 0) % operand.rank, config.get("axis2", 1) % operand.rank
    rows, columns, offset = operand.shape[one], operand.shape[two], int(config.get("offset", 0))
    if rows is None or columns is None:
        raise CannotTell("the size of its matrices is unknown")
    left = [axis for axis in range(operand.rank) if axis not in (one, two)]
    x = term(call, operand, (*left, one, two), wide(call.output.dtype))
    x = x.reshape([*(call.size(operand, axis) for axis in left), rows * columns])
    at = [row * columns + row + offset for row in range(rows) if 0 <= row + offset < columns]
    x = x.gather(np.asarray(at, np.int64), len(left))
    give(call, x.reduce("ReduceSum", [len(left)], keepdims=False) if call.kind == "ops.trace" else x)


def write_triangle(call: OnnxCall) -> None:
    """Write ``ops.tril`` and ``ops.triu``."""
    rows, columns = (call.size(call.input, axis) for axis in (-2, -1))
    k, upper = int(call.config.get("k", 0)), call.kind == "ops.triu"
    x = term(call, call.input, None, wide(call.input.dtype))
    if isinstance(rows, str) or isinstance(columns, str):
        if call.opset < 14:
            raise CannotTell("ONNX has an operator for triangles from opset 14 on")
        name = call.op("Trilu", x.name, call.constant(k, "int64"), upper=int(upper))
        return give(call, x.named(name))
    mask = np.tri(rows, columns, k - 1 if upper else k, dtype=bool)
    kept = Term(call, call.constant(~mask if upper else mask, "bool"), "bool")
    return give(call, kept.where(x, 0), natural(call.input.rank))
