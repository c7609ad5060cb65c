"""Ops that give the pieces of a tensor along an axis."""

from __future__ import annotations

import numpy as np

from kerasurgeon.layers.onnx_moving import write_pieces, write_unstacked
from kerasurgeon.layers.selecting import before
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels, placed
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class Split(Free):
    """``ops.split``, ``hsplit``, ``vsplit``, ``dsplit``: at given places or into equal parts.

    Args:
        axis: The axis, where the config does not name it.
    """

    def onnx(self, call: OnnxCall) -> None:
        """A Split."""
        axis = int(call.config.get("axis", 0)) if self.axis is None else min(self.axis, call.input.rank - 1)
        write_pieces(call, axis)

    def __init__(self, axis: int | None = None) -> None:
        super().__init__(keeps_batch=False)
        self.axis = axis

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """The labels are split, and the places follow what is kept."""
        labels = call.input
        axis = _axis(call, self.axis)
        factor = labels.factor(axis)
        if factor is None:
            return _same(call, labels)
        place, size = factor.axes.index(axis), labels.shape[axis]
        ends = np.cumsum([spec.shape[axis] or 0 for spec in call.outputs]).tolist()
        if ends[-1] != size:
            raise CannotTell("its places do not follow each other")
        starts, entry = [0, *ends[:-1]], call.config["indices_or_sections"]

        def change(keep: Keep) -> dict[str, object]:
            new = [before(keep, factor, place, end) for end in ends]
            if isinstance(entry, int) and len(set(np.diff([0, *new]).tolist())) == 1:
                return {}
            return {"indices_or_sections": tuple(new[:-1]) if isinstance(entry, tuple) else new[:-1]}

        call.change(change)
        return tuple(
            _piece(labels, factor, np.take(factor.ids, range(start, end), axis=place), spec.shape)
            for start, end, spec in zip(starts, ends, call.outputs, strict=True)
        )


class ArraySplit(Free):
    """``ops.array_split``: into a number of parts, which need not be equal."""

    def onnx(self, call: OnnxCall) -> None:
        """A Split."""
        write_pieces(call, int(call.config.get("axis", 0)))

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """Equal parts stay equal: what stands at one position of all parts is tied. Unequal ones stay."""
        labels = call.input
        axis = _axis(call, None)
        factor = labels.factor(axis)
        if factor is None:
            return _same(call, labels)
        if len({spec.shape[axis] for spec in call.outputs}) > 1:
            others = [place for place in range(labels.rank) if place != axis]
            return _same(call, call.only(labels, *others, reason=Reason.PICKED))
        place = factor.axes.index(axis)
        pieces = np.split(factor.ids, len(call.outputs), axis=place)
        for piece in pieces[1:]:
            call.tie(piece, pieces[0])
        return tuple(
            _piece(labels, factor, piece, spec.shape) for piece, spec in zip(pieces, call.outputs, strict=True)
        )


class Unstack(Free):
    """``ops.unstack``: every position along an axis as a tensor of its own."""

    def onnx(self, call: OnnxCall) -> None:
        """A Gather for each."""
        write_unstacked(call)

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """No position along the axis may go; labels along it and others vary along the others only."""
        labels = call.input
        axis = _axis(call, None)
        places = {own: own - (own > axis) for own in range(labels.rank)}
        several: list[list[Factor]] = [[] for _ in call.outputs]
        for factor in labels.factors:
            if factor.axes == (axis,):
                call.freeze(factor.ids, Reason.PICKED)
                continue
            left = [places[own] for own in factor.axes if own != axis]
            if axis in factor.axes:
                place = factor.axes.index(axis)
                call.grid(factor.ids, [place])
                for index, into in enumerate(several):
                    into.append(placed(np.take(factor.ids, index, axis=place), left))
            else:
                for into in several:
                    into.append(placed(factor.ids, left))
        return tuple(
            Labels(spec.shape, tuple(factors), labels.why) for spec, factors in zip(call.outputs, several, strict=True)
        )


def _axis(call: ChannelCall, given: int | None) -> int:
    rank = call.input.rank
    axis: int = call.config.get("axis", 0) if given is None else min(given, rank - 1)
    return axis % rank


def _same(call: ChannelCall, labels: Labels) -> tuple[Labels, ...]:
    return tuple(Labels(spec.shape, labels.factors, labels.why) for spec in call.outputs)


def _piece(labels: Labels, factor: Factor, ids: np.ndarray, shape: tuple[int | None, ...]) -> Labels:
    own = tuple(Factor(factor.axes, ids) if other is factor else other for other in labels.factors)
    return Labels(shape, own, labels.why)


register_rule("ops.split", Split())
register_rule("ops.hsplit", Split(1))
register_rule("ops.vsplit", Split(0))
register_rule("ops.dsplit", Split(2))
register_rule("ops.array_split", ArraySplit())
register_rule("ops.unstack", Unstack())
