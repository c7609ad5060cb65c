"""What moves, repeats or joins elements, written to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_terms import Term, concat, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, Padded, Size, Tensor, natural


def size_known(size: int | None) -> int:
    """A size that must be known.

    Raises:
        CannotTell: It is not.
    """
    if size is None:
        raise CannotTell("a size that it needs is unknown")
    return size


def positions(call: OnnxCall, size: Size, start: int = 0, more: int = 0) -> Term:
    """The numbers from ``start`` to before a size and ``more``, whether the size is known or not."""
    if not isinstance(size, str):
        return Term(call, call.constant(np.arange(start, size + more), "int64"), "int64")
    end = (Term(call, size, "int64") + more).squeeze(0)
    return end.named(call.op("Range", call.constant(start, "int64"), end.name, call.constant(1, "int64")))


def write_padded(call: OnnxCall) -> None:
    """Write ``ops.pad``."""
    operand, mode = call.input, call.config.get("mode", "constant")
    order, rank = operand.order, operand.rank
    sides = [(int(a), int(b)) for a, b in np.broadcast_to(np.asarray(call.config["pad_width"]), (rank, 2))]
    amounts = [sides[axis][side] for side in (0, 1) for axis in order]
    given = call.as_tensor(call.operand(1, "constant_values"), operand.dtype)
    if mode == "constant" and given is None and min(amounts, default=0) >= 0:

        def pad() -> tuple[str, Order]:
            return call.op("Pad", call.read(operand, order, call.output.dtype), call.integers(*amounts)), order

        return call.give_later(pad, Padded(operand, tuple(sides)) if "float" in operand.dtype else None)
    x = term(call, operand, order, call.output.dtype)
    if mode == "symmetric":
        for axis, pair in enumerate(sides):
            if any(pair):
                x = x.gather(_mirrored(call, operand, axis, pair), order.index(axis))
        return give(call, x, order)
    if mode not in ("constant", "reflect"):
        raise CannotTell(f"its mode is {mode!r}")
    filling = None if given is None else call.read(given, None, call.output.dtype)
    return give(call, x.named(call.op("Pad", x.name, call.integers(*amounts), filling, mode=mode)), order)


def _mirrored(call: OnnxCall, operand: Tensor, axis: int, pair: tuple[int, int]) -> Any:
    """Which positions of an axis stand where its border repeats what is inside."""
    known, size = operand.shape[axis], call.size(operand, axis)
    if known is not None:
        return np.pad(np.arange(known), pair, mode="symmetric")
    at, end = positions(call, size, -pair[0], pair[1]), Term(call, str(size), "int64")
    inside = (at >= end).where(end * 2 - 1 - at, at)
    return (at < 0).where(-1 - at, inside)


def write_stacked(call: OnnxCall, operands: Sequence[Tensor], axis: int) -> None:
    """Write tensors one beside another along a new axis."""
    rank = operands[0].rank
    lying = [operand.order for operand in operands if operand.array is None and operand.order != natural(rank)]
    order, axis = (lying or [natural(rank)])[0], axis % (rank + 1)
    place = axis if order == natural(rank) else rank
    parts = [term(call, operand, order, call.output.dtype).unsqueeze(place) for operand in operands]
    moved = [own + (own >= axis) for own in order]
    give(call, concat(parts, place), (*moved[:place], axis, *moved[place:]))


def write_joined(call: OnnxCall, axis: int | None) -> None:
    """Write ``ops.append``, ``hstack``, ``vstack`` or ``dstack``, which may give axes to what they join."""
    operands, dtype = call.inputs, call.output.dtype
    rank = len(call.output.shape)
    if axis is None:
        return give(call, concat([term(call, each, None, dtype).reshape([-1]) for each in operands], 0))
    if all(operand.rank == rank for operand in operands):
        order = call.best_order(*operands)
        place = order.index(0 if axis == 1 and rank == 1 else axis % rank)
        return give(call, concat([term(call, each, order, dtype) for each in operands], place), order)
    parts = []
    for operand in operands:
        sizes = call.shape_of(operand)
        while len(sizes) < rank:  # a vector is a row; a matrix has a last axis of size 1
            sizes = [1, *sizes] if len(sizes) == 1 else [*sizes, 1]
        parts.append(term(call, operand, None, dtype).reshape(sizes))
    return give(call, concat(parts, axis))


def write_tiled(call: OnnxCall) -> None:
    """Write ``ops.tile``."""
    operand, rank = call.input, len(call.output.shape)
    repeats = [int(number) for number in np.atleast_1d(call.config["repeats"])]
    repeats = [1] * (rank - len(repeats)) + repeats
    order = operand.order if operand.rank == rank else natural(rank)
    x = term(call, operand, order if operand.rank == rank else None, call.output.dtype)
    x = x.unsqueeze(*range(rank - operand.rank))
    give(call, x.op("Tile", x.named(call.integers(*(repeats[axis] for axis in order)))), order)


def write_repeated(call: OnnxCall) -> None:
    """Write ``ops.repeat``."""
    operand, axis, times = call.input, call.config.get("axis"), call.config.get("repeats")
    x, order, place, size = flattened_or_not(call, axis)
    several = np.atleast_1d(np.asarray(times))
    if several.size > 1 or size is not None:
        give(call, x.gather(np.repeat(np.arange(size_known(size)), several), place), order)
        return
    rank = len(order)
    beside = x.unsqueeze(place + 1)
    counts = [int(several[0]) if own == place + 1 else 1 for own in range(rank + 1)]
    tiled = beside.op("Tile", x.named(call.integers(*counts)))
    sizes = [-1 if own == place else call.size(operand, axis) for own, axis in enumerate(order)] if rank > 1 else [-1]
    give(call, tiled.reshape(sizes), order)


def flattened_or_not(call: OnnxCall, axis: Any) -> tuple[Term, Order, int, int | None]:
    """The first operand, the order of its axes, the place of an axis and its size; flattened without an axis."""
    operand = call.input
    if axis is None:
        known = None if None in operand.shape else prod(int(size or 0) for size in operand.shape)
        return term(call, operand, None, call.output.dtype).reshape([-1]), (0,), 0, known
    own = int(axis) % operand.rank
    order = operand.order
    return term(call, operand, order, call.output.dtype), order, order.index(own), operand.shape[own]


def write_flipped(call: OnnxCall, axis: Any) -> None:
    """Write ``ops.flip``: axes read from their ends."""
    order = call.input.order
    x = term(call, call.input, order)
    for own in range(call.input.rank) if axis is None else np.atleast_1d(axis):
        x = x.slice(order.index(int(own) % len(order)), -1, None, -1)
    give(call, x, order)


def write_rolled(call: OnnxCall) -> None:
    """Write ``ops.roll``: the end of an axis in front of its beginning."""
    axis, shift = call.config.get("axis"), call.config["shift"]
    if axis is None:
        x, _, _, size = flattened_or_not(call, None)
        return give(call, _rolled(x, 0, int(shift), size_known(size)).reshape(call.shape_of(call.input)))
    order = call.input.order
    x = term(call, call.input, order)
    axes = [int(own) % len(order) for own in np.atleast_1d(axis)]
    for own, by in zip(axes, np.broadcast_to(np.asarray(shift), len(axes)), strict=True):
        x = _rolled(x, order.index(own), int(by), call.size(call.input, own))
    return give(call, x, order)


def _rolled(x: Term, place: int, shift: int, size: Size) -> Term:
    if isinstance(size, str):
        end = Term(x.call, size, "int64")
        return x.gather((positions(x.call, size) - shift).op("Mod", end), place)
    shift %= size
    return concat([x.slice(place, -shift, None), x.slice(place, 0, -shift)], place) if shift else x


def write_broadcast(call: OnnxCall) -> None:
    """Write ``ops.broadcast_to``."""
    operand, rank = call.input, len(call.output.shape)
    shift = rank - operand.rank
    wanted = [
        call.size(operand, axis - shift) if size in (None, -1) else int(size)
        for axis, size in enumerate(call.config["shape"])
    ]
    order = natural(rank) if shift else operand.order
    x = term(call, operand, None if shift else order)
    give(call, x.expand([wanted[axis] for axis in order]), order)


def write_pieces(call: OnnxCall, axis: int) -> None:
    """Write ``ops.split`` and its like."""
    order = call.input.order
    axis %= call.input.rank
    x, place = term(call, call.input, order), order.index(axis)
    sizes = [spec.shape[axis] for spec in call.outputs]
    if len(sizes) == 1:
        return give(call, x, order)
    if None not in sizes:
        pieces = x.split(place, [int(size or 0) for size in sizes])
    else:
        pieces = _open_pieces(call, x, place, axis)
    for index, piece in enumerate(pieces):
        give(call, piece, order, index)
    return None


def _open_pieces(call: OnnxCall, x: Term, place: int, axis: int) -> list[Term]:
    """Pieces of an axis of unknown size: at given places, as many, or as many that are alike."""
    count, at = len(call.outputs), call.config["indices_or_sections"]
    if not isinstance(at, int):
        bounds = [0, *(int(each) for each in at), None]
        return [x.slice(place, int(start or 0), stop) for start, stop in pairwise(bounds)]
    if call.kind == "ops.array_split":  # the first pieces have the positions that are left over
        size = Term(call, call.exact_shape([call.size(call.input, axis)]), "int64").to("int32")
        each, left = size / count, size.op("Mod", count)
        starts = [each * number + left.op("Min", number) for number in range(count)]
        lengths = [(after - before).to("int64").name for before, after in zip(starts, [*starts[1:], size], strict=True)]
        inside = [positions(call, length).to("int32") for length in lengths]
        return [x.gather(start + numbers, place) for start, numbers in zip(starts, inside, strict=True)]
    more = {"num_outputs": count} if call.opset >= 18 else {}
    return [x.named(name) for name in call.ops("Split", x.name, outputs=count, axis=place, **more)]


def write_unstacked(call: OnnxCall) -> None:
    """Write ``ops.unstack``: one position of an axis after the other."""
    order = call.input.order
    axis = int(call.config.get("axis", 0)) % call.input.rank
    x, place = term(call, call.input, order), order.index(axis)
    left = tuple(own - (own > axis) for own in order if own != axis)
    for index in range(len(call.outputs)):
        give(call, x.gather(index, place), left, index)
