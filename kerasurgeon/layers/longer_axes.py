"""Ops that make an axis longer: padding, tiling, repeating, broadcasting; and those that turn it round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kerasurgeon.layers.joining import concatenated
from kerasurgeon.layers.onnx_moving import (
    write_broadcast,
    write_flipped,
    write_joined,
    write_padded,
    write_repeated,
    write_rolled,
    write_tiled,
)
from kerasurgeon.layers.pooling import setting_is
from kerasurgeon.layers.selecting import before
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class _Moving(Free):
    def __init__(self) -> None:
        super().__init__(keeps_batch=False)


class _AlongAxis(_Moving):
    """An op along an axis.

    Args:
        axis: The axis, where the config does not name it.
    """

    def __init__(self, axis: int | None = None) -> None:
        super().__init__()
        self.axis = axis

    def named(self, call: ChannelCall) -> Any:
        """The axis, or axes, that a call is along; ``None`` for all of them flattened."""
        return call.config.get("axis") if self.axis is None else self.axis


class Pad(_Moving):
    """``ops.pad``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Pad, which convolutions take in where it is of zeros."""
        write_padded(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Positions that are added stay; what is mirrored may not go."""
        labels = call.input
        widths = np.broadcast_to(np.asarray(call.config["pad_width"]), (labels.rank, 2))
        padded = [axis for axis in range(labels.rank) if widths[axis].any()]
        constant = call.config.get("mode", "constant") == "constant"
        factors = []
        for factor in labels.factors:
            inside = [axis for axis in factor.axes if axis in padded]
            if not inside:
                factors.append(factor)
            elif len(factor.axes) > 1 and len(inside) < len(factor.axes):
                factors.append(call.collapse(factor, set(factor.axes) - set(inside)))
            elif len(factor.axes) > 1 or not constant:
                call.freeze(factor.ids, Reason.MIXED)
            else:
                sides = [call.fixed(int(width), (Reason.FIXED_AXIS, call.name)) for width in widths[inside[0]]]
                factors.append(Factor(factor.axes, np.concatenate([sides[0], factor.ids, sides[1]])))
        return Labels(call.shape, tuple(factors), labels.why)


class Tile(_Moving):
    """``ops.tile``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Tile."""
        write_tiled(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are tiled; an axis of one position becomes as long as what it meets."""
        labels, repeats = call.input, list(np.atleast_1d(call.config["repeats"]).tolist())
        rank = len(call.shape)
        repeats = [1] * (rank - len(repeats)) + repeats
        shift = rank - labels.rank
        spread = _Spread(call, labels, range(rank))
        factors = list(spread.factors)
        for factor in spread.kept:
            axes = tuple(axis + shift for axis in factor.axes)
            factors.append(Factor(axes, np.tile(factor.ids, [repeats[axis] for axis in axes])))
        spread.follow("repeats", repeats)
        return Labels(call.shape, tuple(factors), labels.why)

    def identity(self, call: Call) -> str:
        """Once."""
        return setting_is(call, "repeats", 1, "it repeats every element once")


class Repeat(_Moving):
    """``ops.repeat``, a number of times."""

    def onnx(self, call: OnnxCall) -> None:
        """A Gather; of an axis of unknown size, a Tile."""
        write_repeated(call)

    def identity(self, call: Call) -> str:
        """Once."""
        return setting_is(call, "repeats", 1, "it repeats every element once")

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are repeated."""
        labels, axis, times = call.input, call.config.get("axis"), call.config.get("repeats")
        if axis is None or not isinstance(times, int):
            raise CannotTell("it repeats the flattened tensor, or not every position equally often")
        axis %= labels.rank
        spread = _Spread(call, labels, [axis])
        if spread.factors:
            spread.follow("repeats", times, axis)
            return Labels(call.shape, (*spread.factors, *spread.kept), labels.why)
        return _along(labels, [axis], lambda ids, place: np.repeat(ids, times, axis=place), call.shape)


class Flip(_AlongAxis):
    """``ops.flip``, ``fliplr``, ``flipud``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Slice backwards."""
        write_flipped(call, call.config.get("axis") if self.axis is None else self.axis)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are flipped."""
        axis = self.named(call)
        axes = range(call.input.rank) if axis is None else np.atleast_1d(axis).tolist()
        return _along(call.input, axes, lambda ids, place: np.flip(ids, axis=place), call.shape)


class Roll(_Moving):
    """``ops.roll``."""

    def onnx(self, call: OnnxCall) -> None:
        """Two slices, joined the other way round."""
        write_rolled(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are rolled, and the shift follows what is kept of those that come round."""
        labels, axis = call.input, call.config.get("axis")
        if axis is None:
            raise CannotTell("it rolls the flattened tensor")
        axes = [own % labels.rank for own in np.atleast_1d(axis).tolist()]
        shifts = np.broadcast_to(np.asarray(call.config["shift"]), len(axes)).tolist()
        if len(set(axes)) < len(axes):
            raise CannotTell("it rolls an axis twice")
        rolled: dict[int, tuple[Factor, int]] = {}
        for index, own in enumerate(axes):
            factor = labels.factor(own)
            if factor is not None:
                rolled[index] = factor, factor.axes.index(own)
        if not rolled:
            return labels

        def change(keep: Keep) -> dict[str, object]:
            new = list(shifts)
            for index, (factor, place) in rolled.items():
                size = factor.ids.shape[place]
                if shifts[index] % size:
                    all_kept = before(keep, factor, place, size)
                    new[index] = all_kept - before(keep, factor, place, size - shifts[index] % size)
            if new == shifts:
                return {}
            return {
                "shift": new[0] if len(new) == 1 else tuple(new),
                "axis": axes[0] if len(axes) == 1 else tuple(axes),
            }

        call.change(change)
        by_axis = dict(zip(axes, shifts, strict=True))
        factors = []
        for factor in labels.factors:
            ids = factor.ids
            for place, own in enumerate(factor.axes):
                ids = np.roll(ids, by_axis.get(own, 0), axis=place)
            factors.append(Factor(factor.axes, ids))
        return Labels(labels.shape, tuple(factors), labels.why)


class BroadcastTo(_Moving):
    """``ops.broadcast_to``."""

    def onnx(self, call: OnnxCall) -> None:
        """An Expand."""
        write_broadcast(call)

    def channels(self, call: ChannelCall) -> Labels:
        """Axes that have their size already pass, others become as long as what they meet: the shape follows."""
        labels = call.input
        spread = _Spread(call, labels, range(len(call.shape)))
        factors = spread.factors + [
            Factor(tuple(axis + spread.shift for axis in kept.axes), kept.ids) for kept in spread.kept
        ]
        result = Labels(call.shape, tuple(factors), labels.why)
        wanted = call.config["shape"]

        def change(keep: Keep) -> dict[str, tuple[Any, ...]]:
            sizes = keep.shape(result)
            return {
                "shape": tuple(
                    new if result.factor(axis) else old
                    for axis, (old, new) in enumerate(zip(wanted, sizes, strict=True))
                )
            }

        if factors:
            call.change(change)
        return result


class Joined(_AlongAxis):
    """``ops.append``, ``hstack``, ``vstack``, ``dstack``: concatenation along an axis of tensors that have it."""

    def onnx(self, call: OnnxCall) -> None:
        """A Concat."""
        write_joined(call, call.config.get("axis") if self.axis is None else self.axis)

    def channels(self, call: ChannelCall) -> Labels:
        """As for a concatenation."""
        axis = self.named(call)
        if axis is None:
            raise CannotTell("it flattens what it joins")
        if axis == 1 and self.axis and len(call.shape) == 1:
            axis = 0
        if any(labels.rank != len(call.shape) for labels in call.inputs):
            raise CannotTell("it gives axes to what it joins")
        return concatenated(call, call.inputs, axis)


class _Spread:
    """Axes of one position, or none, that a call makes longer: what stands along them is equal, so that any may go.

    Args:
        call: The call.
        labels: What it reads.
        axes: Axes of the result that it may make longer.

    Attributes:
        factors: New labels for the axes that it makes longer; not for the first, the batch.
        kept: The operand's factors, without those axes.
    """

    def __init__(self, call: ChannelCall, labels: Labels, axes: Iterable[int]) -> None:
        self.call, self.shift = call, len(call.shape) - labels.rank
        self.factors: list[Factor] = []
        self.kept: list[Factor] = []
        longer = {axis for axis in axes if self._is_spread(labels, axis)}
        for axis in sorted(longer - {0}):
            size = call.shape[axis]
            if size is not None:
                self.factors.append(Factor((axis,), call.spare(size)))
        for factor in labels.factors:
            rest = [axis for axis in factor.axes if axis + self.shift not in longer]
            if not rest:
                call.freeze(factor.ids, Reason.SPREAD)
            else:
                self.kept.append(factor if len(rest) == len(factor.axes) else call.collapse(factor, rest))

    def _is_spread(self, labels: Labels, axis: int) -> bool:
        own = axis - self.shift
        return self.call.shape[axis] != 1 and (own < 0 or labels.shape[own] == 1)

    def follow(self, key: str, repeats: Any, axis: int | None = None) -> None:
        """Let an entry of the config follow: how often each axis is repeated, or the one axis."""
        made = {factor.axes[0]: factor.ids for factor in self.factors}

        def change(keep: Keep) -> dict[str, Any]:
            if axis is not None:
                return {key: keep.count(made[axis])}
            return {key: tuple(keep.count(made[own]) if own in made else each for own, each in enumerate(repeats))}

        if made:
            self.call.change(change)


def _along(labels: Labels, axes: Any, change: Callable[[Ids, int], Ids], shape: tuple[int | None, ...]) -> Labels:
    named = {axis % labels.rank for axis in axes}
    factors = []
    for factor in labels.factors:
        ids = factor.ids
        for place, axis in enumerate(factor.axes):
            if axis in named:
                ids = change(ids, place)
        factors.append(Factor(factor.axes, ids))
    return Labels(shape, tuple(factors), labels.why)


register_rule("ops.pad", Pad())
register_rule("ops.tile", Tile())
register_rule("ops.repeat", Repeat())
register_rule("ops.flip", Flip())
register_rule("ops.fliplr", Flip(1))
register_rule("ops.flipud", Flip(0))
register_rule("ops.roll", Roll())
register_rule("ops.broadcast_to", BroadcastTo())
register_rule("ops.append", Joined())
register_rule("ops.hstack", Joined(1))
register_rule("ops.vstack", Joined(0))
register_rule("ops.dstack", Joined(2))
