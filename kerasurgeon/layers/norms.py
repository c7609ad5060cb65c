"""Normalisations, as layers and as ops: scales shrink with their axes, statistics over channels are not exact."""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_norms import (
    check_scaled,
    normalised_axes,
    one_axis,
    write_affine,
    write_batch_norm_op,
    write_fixed_norm,
    write_group_norm,
    write_layer_norm,
    write_layer_norm_op,
    write_normalized,
)
from kerasurgeon.layers.pooling import shown
from kerasurgeon.rules.answers import Affine, Normalisation, Statistics
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each, Positions
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class _Norm(Free):
    def positions(self, layer: Layer, rank: int) -> Positions:
        """Each by itself, or with all others: what matters is the place."""
        return Each()


class BatchNormalization(_Norm):
    """BatchNormalization: statistics per channel, so that channels do not meet."""

    def channelwise(self, layer: Layer) -> bool:
        """Channels are apart."""
        return True

    def affine(self, layer: Layer) -> Affine:
        """``gamma / sqrt(variance + epsilon)``, and what brings the mean to ``beta``."""
        arrays = {key: weight.array.astype(np.float64) for key, weight in layer.weights.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = arrays.get("gamma", 1.0) / np.sqrt(arrays["moving_variance"] + layer.config["epsilon"])
            shift = arrays.get("beta", 0.0) - arrays["moving_mean"] * scale
        return Affine(scale, shift, one_axis(layer.config["axis"]), "gamma", "beta")

    def onnx(self, call: OnnxCall) -> None:
        """A product and a sum, with the numbers of inference."""
        affine = self.affine(call.layer)
        write_affine(call, affine.scale, affine.shift, [affine.axis])

    def statistics(self, layer: Layer, rank: int) -> Statistics:
        """Shift and scale are the mean and deviation of what comes out, if the moving statistics hold."""
        shape = [1] * rank
        shape[one_axis(layer.config["axis"])] = -1
        ones = np.ones(len(layer.weights["moving_mean"].array))
        gamma, beta = layer.array("gamma"), layer.array("beta")
        mean = 0 * ones if beta is None else beta.astype(np.float64)
        variance = ones if gamma is None else np.square(gamma.astype(np.float64))
        return Statistics(mean.reshape(shape), variance.reshape(shape))

    def channels(self, call: ChannelCall) -> Labels:
        """Scale, shift, mean and variance shrink with the channels."""
        ids = call.along(call.input, one_axis(call.config["axis"]))
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

    def normalisation(self, layer: Layer, rank: int) -> Normalisation | None:
        """Over one axis, as the config says."""
        return _over_one_axis(layer, rank, self.keys)

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly: the statistics are then those of fewer channels."""
        labels = call.input
        axes = normalised_axes(call.config["axis"], labels.rank)
        if len(self.keys) == 1:
            check_scaled(axes, labels.rank)
        factors, held = over_axes(call, labels, axes)
        for key in self.keys:
            call.weight(key, held)
        return Labels(labels.shape, factors, labels.why)

    def onnx(self, call: OnnxCall) -> None:
        """LayerNormalization over the last axes, as the opset has it; else its steps."""
        write_layer_norm(call, self.keys)


class GroupNormalization(_Norm):
    """GroupNormalization: statistics per group of channels: whole groups go, exactly."""

    def onnx(self, call: OnnxCall) -> None:
        """InstanceNormalization over channels in groups, then a scale and a shift per channel."""
        write_group_norm(call)

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

    def onnx(self, call: OnnxCall) -> None:
        """A product with the inverse of the norm."""
        write_normalized(call, normalised_axes(call.config["axis"], call.input.rank), 2, 1e-12)

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink."""
        for axis in normalised_axes(call.config["axis"], call.input.rank):
            call.mask(call.input, axis)
        return call.input


class FixedNormalization(_Norm):
    """Normalization with given or adapted statistics per position of some axes."""

    def onnx(self, call: OnnxCall) -> None:
        """A product and a sum, with the statistics that it has."""
        write_fixed_norm(call)

    def statistics(self, layer: Layer, rank: int) -> Statistics:
        """Mean 0 and variance 1, once it has been adapted to data.

        Raises:
            CannotTell: It undoes a normalisation, or has the statistics that it was made with.
        """
        if layer.config.get("invert"):
            raise CannotTell("it undoes a normalisation")
        for key, untouched in (("mean", 0.0), ("variance", 1.0)):
            array = layer.array(key)
            given = layer.config.get(key) if array is None else array
            if given is not None and np.any(np.asarray(given) != untouched):
                return Statistics(np.zeros((1,) * rank), np.ones((1,) * rank))
        raise CannotTell("it has the statistics that it was made with, not those of data")

    def channels(self, call: ChannelCall) -> Labels:
        """The statistics shrink with the axes: weights, or lists in the config along one axis."""
        labels = call.input
        axis = call.config["axis"]
        axes = [] if axis is None else [place % labels.rank for place in ([axis] if isinstance(axis, int) else axis)]
        held: dict[int | tuple[int, ...], Ids | None] = {}
        for factor in labels.factors:
            if any(place in axes for place in factor.axes):
                if not set(factor.axes) <= set(axes):
                    raise CannotTell("its statistics are over some of the axes of its channels")
                if call.config.get("mean") is not None:
                    self._lists(call, factor, axes)
                    continue
                held[tuple(axes.index(place) for place in factor.axes)] = factor.ids
        for key in ("mean", "variance"):
            call.weight(key, held)
        call.weight("count", {})
        return labels

    def _lists(self, call: ChannelCall, factor: Factor, axes: list[int]) -> None:
        lists = {key: np.ravel(call.config[key]) for key in ("mean", "variance")}
        if list(factor.axes) != axes or any(entry.size not in (1, factor.ids.size) for entry in lists.values()):
            raise CannotTell("its statistics stand in its config, over several axes")
        lists = {key: entry for key, entry in lists.items() if entry.size > 1}
        call.change(lambda keep: {key: entry[keep.positions(factor.ids)].tolist() for key, entry in lists.items()})


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

    def onnx(self, call: OnnxCall) -> None:
        """A product and a sum."""
        write_affine(call, np.asarray(call.config["scale"]), np.asarray(call.config["offset"]), [-1])

    def channelwise(self, layer: Layer) -> bool:
        """Channels are apart."""
        return True

    def passes_mask(self, layer: Layer) -> bool:
        """Always."""
        return True

    def identity(self, call: Call) -> str:
        """``Rescaling(1, 0)``."""
        scale, offset = call.config["scale"], call.config["offset"]
        if np.any(np.asarray(scale) != 1) or np.any(np.asarray(offset) != 0):
            raise CannotTell(f"it multiplies by {shown(scale)} and adds {shown(offset)}")
        return "it multiplies by 1 and adds 0"

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


class Normalize(Free):
    """``ops.normalize``: a sum of powers, to which a channel that is zero gives nothing: exact."""

    def onnx(self, call: OnnxCall) -> None:
        """A product with the inverse of the norm."""
        epsilon = call.config.get("epsilon")
        axes = normalised_axes(call.config.get("axis", -1), call.input.rank)
        write_normalized(call, axes, call.config.get("order", 2), 1e-7 if epsilon is None else epsilon)

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


def _over_one_axis(layer: Layer, rank: int, keys: tuple[str, ...]) -> Normalisation | None:
    axes = normalised_axes(layer.config.get("axis", -1), rank)
    if len(axes) != 1 or layer.config.get("rms_scaling"):
        return None
    epsilon = layer.config.get("epsilon")
    return None if epsilon is None else Normalisation(axes[0], float(epsilon), len(keys) > 1, *keys)


class StatisticsOverAxesOp(Free):
    """``ops.layer_normalization``, ``ops.rms_normalization``: statistics over the normalised axes."""

    def normalisation(self, layer: Layer, rank: int) -> Normalisation | None:
        """Over one axis; scale and shift are operands."""
        return _over_one_axis(layer, rank, ("",) if layer.kind == "ops.rms_norm" else ("", ""))

    def onnx(self, call: OnnxCall) -> None:
        """Its steps; LayerNormalization over the last axes is told by runtimes themselves."""
        write_layer_norm_op(call)

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly: the statistics are then those of fewer channels."""
        labels, *scales = call.inputs
        axes = normalised_axes(call.config.get("axis", -1), labels.rank)
        if scales and call.kind == "ops.rms_norm":
            check_scaled(axes, labels.rank)
        factors, held = over_axes(call, labels, axes)
        for scale in scales:
            if scale.array is None or scale.rank != len(axes):
                raise CannotTell("its scales are not constants over the normalised axes")
            call.constant(scale, held)
        return Labels(labels.shape, factors, labels.why)


class BatchNormalizationOp(Free):
    """``ops.batch_normalization``: with given statistics per position of one axis."""

    def onnx(self, call: OnnxCall) -> None:
        """A product and a sum, whose factors are computed where they are no constants."""
        write_batch_norm_op(call)

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


register_rule("BatchNormalization", BatchNormalization())
register_rule("LayerNormalization", StatisticsOverAxes("gamma", "beta"))
register_rule("RMSNormalization", StatisticsOverAxes("scale"))
register_rule("GroupNormalization", GroupNormalization())
register_rule("UnitNormalization", UnitNormalization())
register_rule("Normalization", FixedNormalization())
register_rule("Rescaling", Rescaling())
register_rule("ops.normalize", Normalize())
register_rule(("ops.layer_norm", "ops.rms_norm"), StatisticsOverAxesOp())
register_rule("ops.batch_norm", BatchNormalizationOp())
