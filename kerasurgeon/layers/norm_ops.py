"""Normalisations as ops: scales, shifts and statistics are operands."""

from __future__ import annotations

from kerasurgeon.layers.norms import normalised_axes, over_axes
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class Normalize(Free):
    """``ops.normalize``: a sum of powers, to which a channel that is zero gives nothing: exact."""

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink."""
        labels = call.input
        if not call.config.get("order", 2) >= 1:
            raise CannotTell("its order is below 1")
        axes = set(normalised_axes(call.config.get("axis", -1), labels.rank))
        factors = []
        for factor in labels.factors:
            inside = axes.intersection(factor.axes)
            if inside and len(inside) < len(factor.axes):
                factor = call.collapse(factor, set(factor.axes) - inside)
            elif inside:
                call.mask(labels, factor.axes[0])
            factors.append(factor)
        return Labels(labels.shape, tuple(factors), labels.why)


class StatisticsOverAxesOp(Free):
    """``ops.layer_normalization``, ``ops.rms_normalization``: statistics over the normalised axes."""

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly: the statistics are then those of fewer channels."""
        labels, *scales = call.inputs
        axes = normalised_axes(call.config.get("axis", -1), labels.rank)
        factors, held = over_axes(call, labels, axes)
        for scale in scales:
            if scale.array is None or scale.rank != len(axes):
                raise CannotTell("its scales are not constants over the normalised axes")
            call.constant(scale, held)
        return Labels(labels.shape, factors, labels.why)


class BatchNormalizationOp(Free):
    """``ops.batch_normalization``: with given statistics per position of one axis."""

    def channels(self, call: ChannelCall) -> Labels:
        """Constants shrink with the axis; statistics from other tensors are tied to it."""
        labels, *vectors = call.inputs
        axis = call.config["axis"]
        ids = call.along(labels, axis)
        for vector in vectors:
            if vector.rank != 1:
                raise CannotTell("its statistics have several axes")
            if vector.array is not None:
                call.constant(vector, {0: ids})
                continue
            other = call.along(vector, 0)
            if ids is not None:
                call.tie(ids, call.fixed(vector.shape[0], vector.why) if other is None else other)
            elif other is not None:
                call.freeze(other, *labels.why)
        return labels


register_rule("ops.normalize", Normalize())
register_rule(("ops.layer_norm", "ops.rms_norm"), StatisticsOverAxesOp())
register_rule("ops.batch_norm", BatchNormalizationOp())
