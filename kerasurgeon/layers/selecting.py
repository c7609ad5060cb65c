"""Ops that select positions by number: items, slices, taking. Numbers follow what is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.elementwise import joined
from kerasurgeon.layers.onnx_selecting import write_item, write_slice, write_taken, write_taken_along
from kerasurgeon.rules.answers import Moved
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall, Operands
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Ids, Labels, placed
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free

Renumbered = Callable[[Keep], Any]
"""What stands for an entry of a key, or for indices, among what is kept."""


class _Selecting(Free):
    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def movement(self, layer: Layer, rank: int) -> Moved:
        """Some elements are taken."""
        return Moved()


class Item(_Selecting):
    """``x[key]``, where the key holds numbers, slices, ``None`` and an ellipsis."""

    def onnx(self, call: OnnxCall) -> None:
        """Slices, and a Gather for every position picked."""
        write_item(call)

    def identity(self, call: Call) -> str | None:
        """Over everything there is: ``x[:, 0:n]``."""
        if call.node is None or len(call.node.inputs) != 1:
            return None
        key, shape = call.operand(1, "key"), call.input.shape
        parts = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [part for part in parts if not isinstance(part, slice)]:
            at = next(index for index, part in enumerate(parts) if part is Ellipsis)
            filler = (slice(None),) * (len(shape) - len(parts) + 1)
            parts = (*parts[:at], *filler, *parts[at + 1 :])
        if not all(isinstance(part, slice) for part in parts) or len(parts) > len(shape):
            raise CannotTell("it takes single positions")
        for axis, (part, size) in enumerate(zip(parts, shape, strict=False)):
            if part != slice(None) and (size is None or range(*part.indices(size)) != range(size)):
                raise CannotTell(f"it takes a part of axis {axis}")
        return "it takes everything"

    def channels(self, call: ChannelCall) -> Labels:
        """Slices slice labels; a position picked by number stays."""
        labels, key = call.input, call.operand(1, "key")
        entries = list(key) if isinstance(key, (tuple, list)) else [key]
        if not labels.factors:
            return Labels(call.shape, (), labels.why)
        chosen = _Chosen(call, labels)
        axis, place = 0, 0
        changed: dict[int, Renumbered | None] = {}
        for number, entry in enumerate(entries):
            if entry is None:
                place += 1
            elif entry is Ellipsis:
                own = sum(other is not None and other is not Ellipsis for other in entries)
                for _ in range(labels.rank - own):
                    chosen.keep(axis, place)
                    axis, place = axis + 1, place + 1
            elif isinstance(entry, slice):
                changed[number] = chosen.slice(axis, place, entry)
                axis, place = axis + 1, place + 1
            elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
                changed[number] = chosen.pick(axis, int(entry))
                axis += 1
            else:
                raise CannotTell(f"its key holds {type(entry).__name__}, not only numbers and slices")
        while axis < labels.rank:
            chosen.keep(axis, place)
            axis, place = axis + 1, place + 1
        _follow(call, key, entries, {number: new for number, new in changed.items() if new is not None})
        return chosen.result(call.shape)


class Slice(_Selecting):
    """``ops.slice``: a range along every axis."""

    def onnx(self, call: OnnxCall) -> None:
        """A Slice."""
        write_slice(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Ranges slice labels."""
        labels, starts, sizes = call.input, call.operand(1, "start_indices"), call.config["shape"]
        chosen = _Chosen(call, labels)
        ranges: dict[int, Renumbered] = {}
        for axis in range(labels.rank):
            if labels.factor(axis) is None:
                continue
            if isinstance(starts, Labels) or not (isinstance(starts[axis], int) and isinstance(sizes[axis], int)):
                raise CannotTell("its range is not given in numbers")
            rest = sizes[axis] == -1
            new = chosen.slice(axis, axis, slice(starts[axis], None if rest else starts[axis] + sizes[axis]))
            if new is not None:
                ranges[axis] = new
            elif not rest:  # all of it, but counted
                ranges[axis] = partial(_whole, labels, axis)
        if ranges:

            def moved(keep: Keep) -> tuple[tuple[int, ...], tuple[int, ...]]:
                begin, size = list(starts), list(sizes)
                for axis, new in ranges.items():
                    kept = new(keep)
                    begin[axis], size[axis] = kept.start, kept.stop - kept.start
                return tuple(begin), tuple(size)

            call.change(lambda keep: {"shape": moved(keep)[1]})
            call.change_operands(lambda keep, operands: replaced(operands, 1, "start_indices", moved(keep)[0]))
        return chosen.result(call.shape)


class Take(_Selecting):
    """``ops.take`` along an axis."""

    def onnx(self, call: OnnxCall) -> None:
        """A Gather."""
        write_taken(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Constant indices take labels; those from another tensor need the whole axis."""
        labels, axis = call.input, call.config.get("axis")
        given = call.operand(1, "indices")
        if axis is None:
            raise CannotTell("it takes from the flattened tensor")
        axis %= labels.rank
        if isinstance(given, Labels) and given.array is None:
            indices = None
            inserted = given.rank
            for factor in given.factors:
                call.freeze(factor.ids, Reason.MIXED)
        else:
            indices = np.asarray(given.array if isinstance(given, Labels) else given)
            inserted = indices.ndim
        chosen = _Chosen(call, labels)
        for other in range(labels.rank):
            if other != axis:
                chosen.keep(other, other if other < axis else other - 1 + inserted)
        if labels.factor(axis) is None or indices is None or indices.ndim > 1:
            chosen.drop(axis)
            return chosen.result(call.shape)
        size = labels.shape[axis]
        if size is None or ((indices < -size) | (indices >= size)).any():
            raise CannotTell("it takes positions that are not there")
        wanted = np.asarray(indices % size)
        new = chosen.take(axis, wanted) if wanted.ndim else chosen.pick(axis, int(wanted))
        if new is not None:

            def change(keep: Keep, operands: Operands) -> Operands:
                array = np.asarray(new(keep), indices.dtype)
                return replaced(operands, 1, "indices", array if isinstance(given, Labels) else array.tolist())

            call.change_operands(change)
        return chosen.result(call.shape)


class TakeAlong(Free):
    """``ops.take_along_axis``: along one axis what numbers say, which are others at every place along the others."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def onnx(self, call: OnnxCall) -> None:
        """GatherElements."""
        write_taken_along(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Along other axes tensor and numbers meet as in a sum; along this one there is what the numbers have."""
        labels, axis = call.operand(0, "x"), call.config.get("axis")
        given = call.operand(1, "indices")
        if axis is None:
            raise CannotTell("it takes from the flattened tensor")
        if not isinstance(labels, Labels) or labels.array is not None or not isinstance(given, Labels):
            raise CannotTell("it takes from a constant, or by numbers that are no tensor")
        axis %= labels.rank
        kept = []
        for factor in labels.factors:
            others = [other for other in factor.axes if other != axis]
            if not others:
                call.freeze(factor.ids, Reason.PICKED)
            elif len(others) < len(factor.axes):
                kept.append(call.collapse(factor, others))
            else:
                kept.append(factor)
        shape = tuple(1 if other == axis else size for other, size in enumerate(labels.shape))
        return joined(call, (Labels(shape, tuple(kept), labels.why), given))


class _Chosen:
    """Labels of what is selected, axis by axis."""

    def __init__(self, call: ChannelCall, labels: Labels) -> None:
        self.call, self.labels = call, labels
        self.ids: list[Ids] = [factor.ids for factor in labels.factors]
        self.places: list[list[int | None]] = [[None] * len(factor.axes) for factor in labels.factors]

    def _find(self, axis: int) -> tuple[int, int] | None:
        for index, factor in enumerate(self.labels.factors):
            if axis in factor.axes:
                return index, factor.axes.index(axis)
        return None

    def keep(self, axis: int, place: int) -> None:
        """The whole of an axis, at another place."""
        found = self._find(axis)
        if found is not None:
            self.places[found[0]][found[1]] = place

    def drop(self, axis: int) -> None:
        """Nothing of this axis may go, and it is not in the result."""
        found = self._find(axis)
        if found is not None:
            index, own = found
            self.call.freeze(self.labels.factors[index].ids, Reason.PICKED)
            self.ids[index] = np.take(self.ids[index], [0], axis=own)

    def slice(self, axis: int, place: int, entry: slice) -> Renumbered | None:
        """A range of an axis."""
        self.keep(axis, place)
        found = self._find(axis)
        if found is None:
            return None
        index, own = found
        factor = self.labels.factors[index]
        size = factor.ids.shape[own]
        bounds = (entry.start, entry.stop, entry.step)
        if any(bound is not None and not isinstance(bound, (int, np.integer)) for bound in bounds):
            raise CannotTell("its range is not given in numbers")
        start, stop, step = entry.indices(size)
        self.ids[index] = np.take(self.ids[index], np.arange(start, stop, step), axis=own)
        if len(range(start, stop, step)) == size:
            return None
        if step != 1:
            self._stay(index, own)
            return None
        return lambda keep: slice(before(keep, factor, own, start), before(keep, factor, own, stop), entry.step)

    def pick(self, axis: int, position: int) -> Renumbered | None:
        """One position of an axis, which then is not in the result."""
        found = self._find(axis)
        if found is None:
            return None
        index, own = found
        factor = self.labels.factors[index]
        position %= factor.ids.shape[own]
        self.ids[index] = np.take(self.ids[index], [position], axis=own)
        if len(factor.axes) > 1:
            self._stay(index, own)
            return None
        self.call.freeze(factor.ids[position : position + 1], Reason.PICKED)
        return lambda keep: before(keep, factor, own, position)

    def take(self, axis: int, positions: Ids) -> Renumbered:
        """Some positions of an axis."""
        self.keep(axis, axis)
        found = self._find(axis)
        assert found is not None
        index, own = found
        factor = self.labels.factors[index]
        self.ids[index] = np.take(self.ids[index], positions, axis=own)

        def new(keep: Keep) -> Ids:
            kept = keep.positions(factor.ids, own)
            starts, ends = (np.searchsorted(kept, positions, side) for side in ("left", "right"))
            return np.concatenate([np.arange(*ends_of) for ends_of in zip(starts, ends, strict=True)])

        return new

    def _stay(self, index: int, own: int) -> None:
        factor = self.labels.factors[index]
        if len(factor.axes) > 1:
            self.call.grid(factor.ids, [own])
        else:
            self.call.freeze(factor.ids, Reason.PICKED)

    def result(self, shape: tuple[int | None, ...]) -> Labels:
        """The labels of the output."""
        factors = []
        for ids, places in zip(self.ids, self.places, strict=True):
            kept = [place for place in places if place is not None]
            index = tuple(0 if place is None else slice(None) for place in places)
            if kept:
                factors.append(placed(np.ascontiguousarray(ids[index]), kept))
        return Labels(shape, tuple(factors), self.labels.why)


def _whole(labels: Labels, axis: int, keep: Keep) -> slice:
    return slice(0, keep.shape(labels)[axis])


def before(keep: Keep, factor: Factor, place: int, position: int) -> int:
    """How many positions before this one are kept along an axis of a factor."""
    return int(np.searchsorted(keep.positions(factor.ids, place), position))


def replaced(operands: Operands, place: int, name: str, new: Any) -> Operands:
    """Operands with another value for one of them, given by position or by name."""
    args, kwargs = operands
    if place < len(args):
        return (*args[:place], new, *args[place + 1 :]), kwargs
    return args, {**kwargs, name: new}


def _follow(call: ChannelCall, key: Any, entries: list[Any], changed: dict[int, Renumbered]) -> None:
    """Let the numbers of a key follow what is kept."""
    if not changed:
        return

    def change(keep: Keep, operands: Operands) -> Operands:
        new = [changed[number](keep) if number in changed else entry for number, entry in enumerate(entries)]
        return replaced(operands, 1, "key", tuple(new) if isinstance(key, (tuple, list)) else new[0])

    call.change_operands(change)


register_rule("ops.get_item", Item())
register_rule("ops.slice", Slice())
register_rule("ops.take", Take())
register_rule("ops.take_along_axis", TakeAlong())
