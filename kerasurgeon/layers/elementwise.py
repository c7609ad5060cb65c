"""Labels through calls that compute each position from the same position of their operands, with broadcasting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels, Why
from kerasurgeon.rules.positions import Each
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.rule import Free


class Elementwise(Free):
    """Every element of the result is computed from the elements at its place: every operand's channels are its."""

    def channels(self, call: ChannelCall) -> Labels:
        """What stands at one position is tied."""
        return joined(call, call.inputs)

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself."""
        return Each()

    def channelwise(self, layer: Layer) -> bool:
        """Each by itself."""
        return True


@dataclass(slots=True)
class Side:
    """An operand seen from the axes of the result."""

    labels: Labels
    shift: int
    factors: list[Factor]

    def spans(self, axis: int, size: int | None) -> bool:
        """Whether it has the whole of an axis of the result, not one position for all."""
        own = axis - self.shift
        return own >= 0 and (self.labels.shape[own] != 1 or size == 1)


def joined(call: ChannelCall, operands: Sequence[Labels], index: int = 0) -> Labels:
    """The labels of a result whose positions are computed from the same positions of some operands.

    Operands broadcast as in numpy. Constants among them shrink with the tensors.
    """
    shape = call.outputs[index].shape
    if len(operands) == 1 and operands[0].array is None and operands[0].shape == shape:
        return operands[0]
    tensors = [labels for labels in operands if labels.array is None]
    if len(tensors) == len(operands) > 1:
        quick = _same_axis(call, tensors, shape)
        if quick is not None:
            return quick
    sides = [_side(call, labels, shape) for labels in tensors]
    factors = agreed(call, sides, shape)
    factors += _filled(call, operands, shape)
    for labels in operands:
        if labels.array is not None:
            factors = _bind(call, labels, factors, shape)
    return Labels(shape, tuple(factors), _why(tensors))


def _same_axis(call: ChannelCall, tensors: Sequence[Labels], shape: tuple[int | None, ...]) -> Labels | None:
    """The usual case, done quickly: all operands have the result's shape and channels along one same axis."""
    first = tensors[0]
    for labels in tensors:
        if labels.shape != shape or len(labels.factors) != 1 or labels.factors[0].axes != first.factors[0].axes:
            return None
    if len(first.factors[0].axes) != 1:
        return None
    for labels in tensors[1:]:
        call.tie(first.factors[0].ids, labels.factors[0].ids)
    return first


def _why(tensors: Sequence[Labels]) -> Why:
    return tensors[0].why if tensors else (Reason.FIXED_AXIS, "")


def _side(call: ChannelCall, labels: Labels, shape: tuple[int | None, ...]) -> Side:
    shift = len(shape) - labels.rank
    side = Side(labels, shift, [])
    for factor in labels.factors:
        own = [axis for axis in factor.axes if side.spans(axis + shift, shape[axis + shift])]
        if len(own) < len(factor.axes):
            spread = [axis for axis in factor.axes if axis not in own]
            if not own:
                call.freeze(factor.ids, Reason.SPREAD)
                continue
            factor = call.collapse(factor, [axis for axis in factor.axes if axis not in spread])
        side.factors.append(Factor(tuple(axis + shift for axis in factor.axes), factor.ids))
    return side


def agreed(call: ChannelCall, sides: Sequence[Side], shape: tuple[int | None, ...]) -> list[Factor]:
    """Factors of the result: those of all operands, cut down to the axes that all who span them can shrink."""
    waiting = [factor for side in sides for factor in side.factors]
    while True:
        axes_sets = {factor.axes for factor in waiting}
        changed = False
        for place, factor in enumerate(waiting):
            allowed = [axis for axis in factor.axes if _all_shrink(sides, axis, shape, waiting)]
            for other in axes_sets:
                common = set(other) & set(factor.axes)
                if common and other != factor.axes:
                    allowed = [axis for axis in allowed if axis in common]
            if len(allowed) == len(factor.axes):
                continue
            changed = True
            if allowed:
                waiting[place] = call.collapse(factor, allowed)
            else:
                _freeze(call, factor, sides, shape)
                waiting[place] = Factor((), factor.ids)
        waiting = [factor for factor in waiting if factor.axes]
        if not changed:
            break
    agreed: dict[tuple[int, ...], Factor] = {}
    for factor in waiting:
        first = agreed.setdefault(factor.axes, factor)
        call.tie(first.ids, factor.ids)
    return list(agreed.values())


def _all_shrink(sides: Sequence[Side], axis: int, shape: tuple[int | None, ...], waiting: Sequence[Factor]) -> bool:
    return all(
        any(axis in factor.axes for factor in side.factors) for side in sides if side.spans(axis, shape[axis])
    ) and any(axis in factor.axes for factor in waiting)


def _freeze(call: ChannelCall, factor: Factor, sides: Sequence[Side], shape: tuple[int | None, ...]) -> None:
    for side in sides:
        for axis in factor.axes:
            if side.spans(axis, shape[axis]) and not any(axis in other.axes for other in side.factors):
                reason, about = side.labels.why
                call.freeze(factor.ids, reason, about)
                return
    call.freeze(factor.ids, Reason.FIXED_AXIS)


def _filled(call: ChannelCall, operands: Sequence[Labels], shape: tuple[int | None, ...]) -> Iterator[Factor]:
    """Axes that constants alone have, with the same numbers at every position, can shrink with what they meet."""
    for axis, size in enumerate(shape):
        places = [(labels, axis - len(shape) + labels.rank) for labels in operands]
        spanning = [(labels, place) for labels, place in places if place >= 0 and labels.shape[place] != 1]
        if size is not None and spanning and all(_is_filled(labels, place) for labels, place in spanning):
            yield Factor((axis,), call.spare(size))


def _is_filled(labels: Labels, axis: int) -> bool:
    array = labels.array
    constant = array is not None and labels.why[0] is Reason.FIXED_AXIS  # others are weights
    return constant and labels.shape[axis] != 0 and bool(np.all(array == np.take(array, [0], axis)))


def _bind(
    call: ChannelCall, constant: Labels, factors: Iterable[Factor], shape: tuple[int | None, ...]
) -> list[Factor]:
    """Let a constant shrink with the result; where it has only some axes of a factor, positions are tied."""
    shift = len(shape) - constant.rank
    held: dict[int | tuple[int, ...], Ids | None] = {}
    kept = []
    for factor in factors:
        own = [axis for axis in factor.axes if axis >= shift and constant.shape[axis - shift] != 1]
        if own and len(own) < len(factor.axes):
            factor = call.collapse(factor, own)
        kept.append(factor)
        if own:
            held[tuple(axis - shift for axis in factor.axes)] = factor.ids
    call.constant(constant, held)
    return kept
