"""Poolings, paddings, croppings, up-samplings: they work along the spatial axes and leave channels apart."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import leaves
from kerasurgeon.layers.onnx_reductions import remaining
from kerasurgeon.layers.onnx_resizing import write_adaptive, write_enlarged
from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.layers.onnx_windows import padding, spatial_order
from kerasurgeon.rules.answers import Moved
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.layout import channel_axis, per_axis, sides_per_axis, spatial_axes
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, Padded, Tensor
from kerasurgeon.rules.positions import Border, Enlarged, Gone, Window
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free
from kerasurgeon.rules.tflite_call import TfliteCall


def _passed(call: ChannelCall, labels: Labels) -> Labels:
    axis = channel_axis(call.config) % labels.rank
    if len(call.shape) > labels.rank:  # ops.adaptive_average_pool, as Keras 3.15 has it
        raise CannotTell("Keras tells another shape of its result than the result has")
    kept = call.only(labels, axis)
    after = min(axis, len(call.shape) - 1) if axis > 1 else axis
    return kept.moved(call.shape, {axis: after})


class PerChannel(Free):
    """Every channel of the result is computed from the same channel of the operand."""

    def channels(self, call: ChannelCall) -> Labels:
        """As they were, perhaps at another axis where spatial axes went."""
        return _passed(call, call.input)

    def channelwise(self, layer: Layer) -> bool:
        """Channels are apart."""
        return True


class Pooling(PerChannel):
    """MaxPooling, AveragePooling: over windows.

    Args:
        takes: What becomes of a window.
    """

    def __init__(self, takes: Literal["mean", "max"]) -> None:
        super().__init__()
        self.takes = takes

    def carries(self, layer: Layer, rank: int) -> bool:
        """Means, not maxima."""
        return self.takes == "mean"

    def positions(self, layer: Layer, rank: int) -> Window:
        """A window of the pool's size."""
        config, axes = layer.config, rank - 2
        size = per_axis(config["pool_size"], axes)
        strides = size if config.get("strides") is None else per_axis(config["strides"], axes)
        return Window(size, strides, (1,) * axes, config["padding"], self.takes)

    def identity(self, call: Call) -> str | None:
        """Over windows of one element, at every element."""
        strides = call.config.get("strides")
        if not call.kind.startswith("ops.") and prod(_numbers(strides)) != 1:
            raise CannotTell(f"its strides are {shown(strides)}, not 1")
        return None if call.kind.startswith("ops.") else setting_is(call, "pool_size", 1, "it pools single elements")

    def onnx(self, call: OnnxCall) -> None:
        """MaxPool or AveragePool; the means leave padding out."""
        rank = call.input.rank
        window = self.positions(call.layer, rank)
        order = spatial_order(call.config, rank)
        around = padding(window, [call.input.shape[axis] for axis in order[2:]], [(0, 0)] * (rank - 2))
        kind = "MaxPool" if self.takes == "max" else "AveragePool"
        x = call.op(kind, call.read(call.input, order), kernel_shape=window.size, strides=window.strides, **around)
        call.give(x, order)


class GlobalPooling(PerChannel):
    """Global and adaptive poolings.

    Args:
        takes: What becomes of the positions.
    """

    def __init__(self, takes: Literal["mean", "max", "other"]) -> None:
        super().__init__()
        self.takes = takes

    def channels(self, call: ChannelCall) -> Labels:
        """Labels along the axes that go may go, not exactly: of fewer, the mean or maximum is another."""
        labels, axis = call.input, channel_axis(call.config) % call.input.rank
        if "output_size" in call.config or len(call.inputs) > 1:
            return super().channels(call)
        rest = []
        for factor in labels.factors:
            if axis in factor.axes:
                rest.append(factor)
            else:
                call.inexactly(factor.ids, Reason.REDUCED)
        return _passed(call, Labels(labels.shape, tuple(rest), labels.why))

    def carries(self, layer: Layer, rank: int) -> bool:
        """Means, not maxima."""
        return self.takes == "mean"

    def positions(self, layer: Layer, rank: int) -> Gone:
        """They are gone."""
        return Gone(self.takes)

    def onnx(self, call: OnnxCall) -> None:
        """GlobalAveragePool or GlobalMaxPool, which keep the axes."""
        rank = call.input.rank
        order = spatial_order(call.config, rank)
        if "output_size" in call.config:
            if len(call.output.shape) != rank:
                raise CannotTell("Keras tells another shape of its result than the result has")
            return write_adaptive(call, self.takes, call.config["output_size"], order)
        mask = call.operand(1, "mask")
        if mask is not None:
            return _masked_mean(call, mask)
        x = call.read(call.input, order)
        if self.takes == "max" and rank != 4:  # ONNX's own evaluator knows global maxima of images only
            x = call.reduce("ReduceMax", x, range(2, rank), keepdims=True)
        else:
            x = call.op("GlobalMaxPool" if self.takes == "max" else "GlobalAveragePool", x)
        if call.config.get("keepdims"):
            return call.give(x, order)
        return call.give(call.squeeze(x, range(2, rank)))

    def tflite(self, call: TfliteCall) -> None:
        """One reduction, in whatever order the axes lie."""
        if "output_size" in call.config or call.operand(1, "mask") is not None:
            return self.onnx(call)
        order, rank = call.input.order, call.input.rank
        axes = list(spatial_axes(call.config, rank))
        keeps = bool(call.config.get("keepdims"))
        places = [order.index(axis) for axis in axes]
        kind = "ReduceMax" if self.takes == "max" else "ReduceMean"
        made = call.reduce(kind, call.read(call.input, order), places, keepdims=keeps)
        return call.give(made, order if keeps else remaining(order, axes))


class AdaptivePoolingOp(GlobalPooling):
    """``ops.adaptive_average_pool``, ``ops.adaptive_max_pool``."""

    def positions(self, layer: Layer, rank: int) -> Gone:
        """They are gone, or fewer."""
        return Gone("other")


def _masked_mean(call: OnnxCall, mask: Tensor) -> None:
    """Write a mean over the steps that a mask keeps."""
    order = call.input.order
    steps = 2 if call.config.get("data_format") == "channels_first" else 1
    place = order.index(steps)
    kept = Term(call, call.read(mask, None, "bool"), "bool").unsqueeze(3 - steps).transpose(order)
    x = kept.where(term(call, call.input, order, call.output.dtype), 0.0)
    made = x.reduce("ReduceSum", [place]) / kept.to(x.dtype).reduce("ReduceSum", [place])
    if call.config.get("keepdims"):
        return give(call, made, order)
    return give(call, made.squeeze(place), remaining(order, [steps]))


class BorderLayer(PerChannel):
    """ZeroPadding, Cropping.

    Args:
        key: The entry of the config with the numbers of positions.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def positions(self, layer: Layer, rank: int) -> Border:
        """So many in front and behind."""
        return Border(sides_per_axis(layer.config[self.key], rank - 2), self.key)

    def movement(self, layer: Layer, rank: int) -> Moved:
        """Zeros are put around, or positions dropped."""
        return Moved()

    def identity(self, call: Call) -> str:
        """By nothing."""
        return setting_is(call, self.key, 0, "it changes no border")

    def onnx(self, call: OnnxCall) -> None:
        """A Pad that convolutions take in, or a Slice."""
        rank, operand = call.input.rank, call.input
        order = operand.order
        sides = [(0, 0)] * rank
        axes = [axis for axis in range(1, rank) if axis != channel_axis(call.config) % rank]
        for axis, pair in zip(axes, sides_per_axis(call.config[self.key], rank - 2), strict=True):
            sides[axis] = pair

        def pad() -> tuple[str, Order]:
            amounts = [sides[axis][side] for side in (0, 1) for axis in order]
            return call.op("Pad", call.read(operand, order), call.integers(*amounts)), order

        if self.key == "padding":
            return call.give_later(pad, Padded(operand, tuple(sides)))
        starts = [sides[axis][0] for axis in axes]
        ends = [-sides[axis][1] or np.iinfo(np.int64).max for axis in axes]
        places = [order.index(axis) for axis in axes]
        name = call.op(
            "Slice", call.read(operand, order), call.integers(*starts), call.integers(*ends), call.integers(*places)
        )
        return call.give(name, order)


class UpSampling(PerChannel):
    """UpSampling1D, UpSampling2D, UpSampling3D."""

    def positions(self, layer: Layer, rank: int) -> Enlarged:
        """Every position several times, or interpolated between."""
        return Enlarged(per_axis(layer.config["size"], rank - 2))

    def onnx(self, call: OnnxCall) -> None:
        """A Resize."""
        rank = call.input.rank
        factors, order = per_axis(call.config["size"], rank - 2), spatial_order(call.config, rank)
        write_enlarged(call, factors, call.config.get("interpolation", "nearest"), order)

    def movement(self, layer: Layer, rank: int) -> Moved:
        """Every position several times."""
        return Moved()

    def identity(self, call: Call) -> str:
        """By 1."""
        return setting_is(call, "size", 1, "it repeats every element once")


def setting_is(call: Call, entry: str, wanted: int, why: str) -> str:
    """``why``, if all numbers of a setting are the wanted one.

    Raises:
        CannotTell: They are not.
    """
    setting = call.config[entry]
    if not np.all(np.asarray(_numbers(setting)) == wanted):
        raise CannotTell(f"its {entry} is {shown(setting)}, not {wanted}")
    return why


def shown(setting: Any) -> str:
    """A setting as a reason names it: without brackets where it is one number."""
    values = _numbers(setting)
    return str(values[0]) if len(values) == 1 else str(tuple(values))


def _numbers(setting: Any) -> list[Any]:
    return list(leaves(setting))


def _ranks(name: str) -> list[str]:
    return [f"{name}{rank}D" for rank in (1, 2, 3)]


register_rule([*_ranks("MaxPooling"), "ops.max_pool"], Pooling("max"))
register_rule([*_ranks("AveragePooling"), "ops.average_pool"], Pooling("mean"))
register_rule(_ranks("GlobalMaxPooling") + _ranks("AdaptiveMaxPooling"), GlobalPooling("max"))
register_rule(_ranks("GlobalAveragePooling") + _ranks("AdaptiveAveragePooling"), GlobalPooling("mean"))
register_rule("ops.adaptive_average_pool", AdaptivePoolingOp("mean"))
register_rule("ops.adaptive_max_pool", AdaptivePoolingOp("max"))
register_rule(_ranks("ZeroPadding"), BorderLayer("padding"))
register_rule(_ranks("Cropping"), BorderLayer("cropping"))
register_rule(_ranks("UpSampling"), UpSampling())
