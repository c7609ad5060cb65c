"""Normalisations: scales and shifts shrink with their axes; statistics over channels make a cut inexact."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.layers.elementwise import joined
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.rule import Free


class _Norm(Free):
    def __init__(self) -> None:
        super().__init__(keeps_batch=True)


class BatchNormalization(_Norm):
    """BatchNormalization: statistics per channel, so that channels do not meet."""

    def channels(self, call: ChannelCall) -> Labels:
        """Scale, shift, mean and variance shrink with the channels."""
        axis = call.config["axis"]
        ids = call.along(call.input, axis if isinstance(axis, int) else axis[0])
        for key in ("gamma", "beta", "moving_mean", "moving_variance"):
            call.weight(key, {0: ids})
        return call.input


class StatisticsOverAxes(_Norm):
    """LayerNormalization and RMSNormalization: statistics over the normalised axes.

    Args:
        keys: The weights, which have the shape of the normalised axes.
    """

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.keys = keys

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly: the statistics are then those of fewer channels."""
        labels = call.input
        factors, held = over_axes(call, labels, normalised_axes(call.config["axis"], labels.rank))
        for key in self.keys:
            call.weight(key, held)
        return Labels(labels.shape, factors, labels.why)


class GroupNormalization(_Norm):
    """GroupNormalization: statistics per group of channels: whole groups go, exactly."""

    def channels(self, call: ChannelCall) -> Labels:
        """The channels of a group are tied."""
        labels, groups = call.input, call.config["groups"]
        axis = call.config["axis"] % labels.rank
        ids = call.along(labels, axis)
        if ids is None:
            call.weight("gamma", {})
            call.weight("beta", {})
            return call.only(labels, axis)
        rows = ids.reshape(len(ids) if groups == -1 else groups, -1)
        call.tie(rows, rows[:, :1])
        for key in ("gamma", "beta"):
            call.weight(key, {0: ids})
        if groups != -1:
            call.count(groups=np.ascontiguousarray(rows[:, 0]))
        return call.only(labels, axis)


class UnitNormalization(_Norm):
    """UnitNormalization: a sum of squares, to which a channel that is zero gives nothing: exact."""

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink."""
        for axis in normalised_axes(call.config["axis"], call.input.rank):
            call.mask(call.input, axis)
        return call.input


class FixedNormalization(_Norm):
    """Normalization with given or adapted statistics per position of some axes."""

    def channels(self, call: ChannelCall) -> Labels:
        """The statistics shrink with the axes, where they are weights; those in the config are lists."""
        labels = call.input
        axis = call.config["axis"]
        axes = [] if axis is None else [place % labels.rank for place in ([axis] if isinstance(axis, int) else axis)]
        held: dict[int | tuple[int, ...], Ids | None] = {}
        for factor in labels.factors:
            if any(place in axes for place in factor.axes):
                if call.config.get("mean") is not None or not set(factor.axes) <= set(axes):
                    raise CannotTell("its statistics stand in its config")
                held[tuple(axes.index(place) for place in factor.axes)] = factor.ids
        for key in ("mean", "variance"):
            call.weight(key, held)
        call.weight("count", {})
        return labels


class SoftmaxOverAxes(_Norm):
    """Softmax over some axes: every position counts in every result."""

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly."""
        labels = joined(call, call.inputs)
        axes = normalised_axes(call.config.get("axis", -1), labels.rank)
        for factor in labels.factors:
            if set(factor.axes).intersection(axes):
                call.inexactly(factor.ids, Reason.NORMALISED)
        return labels


def normalised_axes(axis: Any, rank: int) -> list[int]:
    """The axes that a config names: a number, or several; all where it names none."""
    if axis is None:
        return list(range(rank))
    return [place % rank for place in ([axis] if isinstance(axis, int) else sorted(axis))]


def over_axes(
    call: ChannelCall, labels: Labels, axes: list[int]
) -> tuple[tuple[Factor, ...], dict[int | tuple[int, ...], Ids | None]]:
    """What statistics over some axes leave of the labels, and what weights of the shape of these axes hold.

    Channels along them may go, not exactly. Of a factor that lies partly outside, all of it.

    Raises:
        CannotTell: The axes do not ascend: Keras then lays out its weights in another order.
    """
    if axes != sorted(axes):
        raise CannotTell("its axes do not ascend")
    held: dict[int | tuple[int, ...], Ids | None] = {}
    factors = []
    for factor in labels.factors:
        inside = [axis for axis in factor.axes if axis in axes]
        if inside:
            call.inexactly(factor.ids, Reason.NORMALISED)
            factor = factor if len(inside) == len(factor.axes) else call.collapse(factor, inside)
            held[tuple(axes.index(axis) for axis in factor.axes)] = factor.ids
        factors.append(factor)
    return tuple(factors), held


class Rescaling(_Norm):
    """Rescaling: numbers, or a list with one per channel."""

    def channels(self, call: ChannelCall) -> Labels:
        """Lists shrink with the channels."""
        lists = {key: call.config[key] for key in ("scale", "offset") if np.ndim(call.config[key])}
        factor: Factor | None = call.input.factor(-1)
        if lists and factor is not None:
            if any(np.ndim(entry) != 1 for entry in lists.values()):
                raise CannotTell("its scale has several axes")
            ids = call.along(call.input, -1)
            assert ids is not None
            call.change(
                lambda keep: {key: np.asarray(entry)[keep.positions(ids)].tolist() for key, entry in lists.items()}
            )
            return call.only(call.input, *range(call.input.rank))
        return call.input
