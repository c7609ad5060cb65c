"""Reductions, orders and cumulations along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_reductions import REDUCTIONS
from kerasurgeon.layers.onnx_terms import give, term
from kerasurgeon.layers.words import words
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each, Gone, Positions
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class Reduction(Free):
    """A statistic over axes.

    Args:
        exact: Whether zeros count for nothing, as in a sum. A cut is else not exact.
        key: The entry of the config that names the axes.
    """

    def __init__(self, *, exact: bool = False, key: str = "axis") -> None:
        super().__init__()
        self.exact, self.key = exact, key

    def carries(self, layer: Layer, rank: int) -> bool:
        """Means and sums; where they are over the channels themselves, these are not in the result."""
        return layer.kind in ("ops.mean", "ops.sum")

    def positions(self, layer: Layer, rank: int) -> Positions:
        """Each by itself where it is over the channels and keeps their axis; gone where it is over all positions.

        Raises:
            CannotTell: It is over some axes of the positions.
        """
        axes = named_axes(layer.config.get(self.key), rank)
        if axes == {rank - 1}:
            if layer.config.get("keepdims"):
                return Each()
        elif axes.issuperset(range(1, rank - 1)) or axes.issuperset(range(2, rank)):
            return Gone()
        raise CannotTell(f"it works over the axes {sorted(axes)}")

    def onnx(self, call: OnnxCall) -> None:
        """By the op's name."""
        REDUCTIONS[call.kind.removeprefix("ops.")](call)

    def is_exact(self, call: ChannelCall) -> bool:
        """Whether positions that are zero count for nothing."""
        return self.exact

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """Labels over other axes pass; along the axes they may go, not always exactly."""
        labels, config = call.input, call.config
        if len(call.inputs) > 1:
            raise CannotTell("it has several operands")
        axes = named_axes(config.get(self.key), labels.rank)
        left = [axis for axis in range(labels.rank) if axis not in axes]
        keeps = bool(config.get("keepdims"))
        places = {axis: axis if keeps else left.index(axis) for axis in left}
        factors = []
        for factor in labels.factors:
            inside = axes.intersection(factor.axes)
            if len(inside) == len(factor.axes):
                if self.is_exact(call):
                    call.mask(labels, factor.axes[0])
                else:
                    call.inexactly(factor.ids, Reason.REDUCED)
            else:
                factors.append(call.collapse(factor, set(factor.axes) - inside) if inside else factor)
        kept = Labels(labels.shape, tuple(factors), labels.why)
        moved = tuple(kept.moved(spec.shape, places) for spec in call.outputs)
        return moved if len(moved) > 1 else moved[0]


class Norm(Reduction):
    """``ops.norm``: of vectors or matrices."""

    def is_exact(self, call: ChannelCall) -> bool:
        """Where it is a sum or maximum of magnitudes, or made of singular values."""
        order = call.config.get("ord")
        if isinstance(order, (int, float)):
            return order >= 1
        return order in (None, "fro", "nuc")


class Along(Free):
    """What works along an axis and needs all of it: orders, cumulations, differences.

    Args:
        axis: The axis, where the config does not name it.
        reduces: Whether the axis is not in the result, unless ``keepdims``.
    """

    def __init__(self, axis: int | None = None, *, reduces: bool = False) -> None:
        super().__init__()
        self.axis, self.reduces = axis, reduces

    def onnx(self, call: OnnxCall) -> None:
        """By the op's name."""
        REDUCTIONS[call.kind.removeprefix("ops.")](call)

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """Nothing along the axis may go; labels over other axes pass."""
        labels = call.input
        if len(call.inputs) > 1:
            raise CannotTell("it has several operands")
        axis = call.config.get("axis", -1) if self.axis is None else self.axis
        axes = named_axes(axis, labels.rank)
        left = [own for own in range(labels.rank) if own not in axes]
        kept = call.only(labels, *left)
        gone = self.reduces and not call.config.get("keepdims")
        if axis is None and not gone:
            kept = Labels(labels.shape, (), labels.why)
        places = {own: left.index(own) if gone else own for own in left}
        moved = tuple(kept.moved(spec.shape, places) for spec in call.outputs)
        return moved if len(moved) > 1 else moved[0]


class GatedLinearUnit(Free):
    """``ops.glu``: one half of an axis times the sigmoid of the other."""

    def onnx(self, call: OnnxCall) -> None:
        """Split, Sigmoid, Mul."""
        axis = int(call.config.get("axis", -1)) % call.input.rank
        size, order = call.input.shape[axis], call.input.order
        if size is None:
            raise CannotTell("the size of its axis is unknown")
        one, other = term(call, call.input, order).split(order.index(axis), [size // 2, size // 2])
        give(call, one * other.op("Sigmoid"), order)

    def channels(self, call: ChannelCall) -> Labels:
        """The halves are tied."""
        labels = call.input
        axis = call.config.get("axis", -1) % labels.rank
        factors = []
        for factor in labels.factors:
            if axis in factor.axes:
                one, other = np.split(factor.ids, 2, axis=factor.axes.index(axis))
                call.tie(one, other)
                factor = Factor(factor.axes, one)
            factors.append(factor)
        return Labels(call.shape, tuple(factors), labels.why)


def named_axes(axis: Any, rank: int) -> set[int]:
    """The axes that a config names; all where it names none."""
    return set(range(rank)) if axis is None else {int(own) % rank for own in np.atleast_1d(axis)}


_STATISTICS = """
    all amax amin any average count_nonzero logsumexp max mean median min nanmax nanmean nanmedian nanmin nanprod nanstd
    nanvar prod ptp std var
"""
_ALONG = "argpartition argsort cumprod cumsum diff nancumprod nancumsum sort"

register_rule(words(_STATISTICS, "ops."), Reduction())
register_rule(("ops.sum", "ops.nansum"), Reduction(exact=True))
register_rule("ops.moments", Reduction(key="axes"))
register_rule("ops.norm", Norm())
register_rule(words(_ALONG, "ops."), Along())
register_rule("ops.top_k", Along(-1))
register_rule(words("argmax argmin nanargmax nanargmin", "ops."), Along(reduces=True))
register_rule("ops.glu", GatedLinearUnit())
