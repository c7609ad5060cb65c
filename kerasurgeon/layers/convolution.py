"""Convolutions, as layers and as ops.

Every output position is counted with the whole kernel, also where the kernel reaches into padding. A
transposed convolution is counted as every input position times the whole kernel, also where ``"valid"`` or
cropping drops a product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers.activations import activated
from kerasurgeon.layers.onnx_activations import write_activation
from kerasurgeon.layers.onnx_convolving import transposed_options, write_convolution
from kerasurgeon.layers.onnx_windows import bias_lies_last, padding, spatial_order, with_bias_last
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.layout import channel_axis, per_axis
from kerasurgeon.rules.linear import Kernel, LinearForm, plain_weights
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Array
from kerasurgeon.rules.positions import Window
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import NeverLinear, Rule


def channels(spec: TensorSpec, config: Mapping[str, Any]) -> int:
    """How many channels a tensor has."""
    return elements(spec.shape[channel_axis(config) :][:1])


class _Convolution(Rule):
    kernels: tuple[str, ...] = ("kernel",)

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    def linear(self, layer: Layer) -> LinearForm:
        """A sum over a window."""
        plain_weights(layer, *self.kernels)
        first = layer.config["data_format"] == "channels_first"
        return LinearForm(self._kernels(layer), channels_first=first, window=self._window(layer))

    def _kernels(self, layer: Layer) -> tuple[Kernel, ...]:
        return (Kernel("kernel", groups=int(layer.config.get("groups", 1))),)

    def positions(self, layer: Layer, rank: int) -> Window:
        """A window of the kernel's size."""
        return self._window(layer)

    def channelwise(self, layer: Layer) -> bool:
        """No: they are summed over, or, depthwise, one may give several."""
        return False

    def onnx(self, call: OnnxCall) -> None:
        """One Conv per kernel, zeros that were put around the operand taken in."""
        form = self.linear(call.layer)
        order = spatial_order(call.config, call.input.rank)
        window = form.window
        assert window is not None
        operand, sides = call.without_padding(call.input)
        if (window.padding != "valid" and any(map(any, sides))) or any(sides[axis] != (0, 0) for axis in (0, order[1])):
            operand, sides = call.input, ((0, 0),) * call.input.rank
        x = call.read(operand, order)
        around = padding(window, [call.input.shape[axis] for axis in order[2:]], [sides[axis] for axis in order[2:]])
        for place, kernel in enumerate(form.kernels):
            last = place == len(form.kernels) - 1
            array = call.layer.weights[kernel.key].array
            groups = array.shape[-2] if kernel.depthwise else kernel.groups
            options = {"strides": window.strides, "dilations": window.dilation, **around} if not place else {}
            way = ("per group", _grouped) if kernel.depthwise else ("filters first", _filters_first)
            x = call.op(
                "Conv",
                x,
                call.weight(kernel.key, *way),
                call.weight(form.bias) if last and not bias_lies_last(call) else None,
                kernel_shape=array.shape[:-2],
                group=groups,
                **options,
            )
        x = with_bias_last(call, x, call.weight(form.bias))
        call.give(write_activation(call, call.config.get("activation"), x, order), order)

    def _window(self, layer: Layer, *, transposed: bool = False) -> Window:
        config = layer.config
        axes = len(config["kernel_size"])
        size, strides, dilation = (per_axis(config[key], axes) for key in ("kernel_size", "strides", "dilation_rate"))
        return Window(size, strides, dilation, config["padding"], transposed=transposed)


class Convolution(_Convolution):
    """Conv1D, Conv2D, Conv3D: any stride, padding, dilation and number of groups."""

    def macs(self, call: Call) -> int:
        """Output elements x kernel positions x input channels per group."""
        config = call.config
        per_group: int = channels(call.input, config) // config["groups"]
        return elements(call.output.shape) * elements(config["kernel_size"]) * per_group

    def channels(self, call: ChannelCall) -> Labels:
        """New channels; of a grouped convolution, whole groups or one channel of every group."""
        axis = channel_axis(call.config)
        whole = _whole_axes(call, axis)
        kept = call.only(call.input, axis, *whole)
        reads = call.along(kept, axis)
        makes = call.fresh(call.config["filters"])
        if call.config["groups"] > 1:
            reads = _tie_groups(call, reads, makes)
        else:
            call.count(filters=makes)
        across: dict[Any, Ids] = dict(whole.values())
        if whole:
            sizes = list(enumerate(call.config["kernel_size"]))
            call.change(
                lambda keep: {"kernel_size": tuple(keep.count(across[at]) if at in across else n for at, n in sizes)}
            )
        call.weight("kernel", {**across, -2: reads, -1: makes}, contracts=(-2, *across))
        call.weight("bias", {0: makes})
        activated(call, makes, axis == -1)
        return call.output(makes, axis)


class DepthwiseConvolution(_Convolution):
    """DepthwiseConv1D, DepthwiseConv2D."""

    def _kernels(self, layer: Layer) -> tuple[Kernel, ...]:
        return (Kernel("kernel", depthwise=True),)

    def macs(self, call: Call) -> int:
        """Output elements x kernel positions."""
        return elements(call.output.shape) * elements(call.config["kernel_size"])

    def channels(self, call: ChannelCall) -> Labels:
        """Every channel gives ``depth_multiplier`` channels, which go with it."""
        axis = channel_axis(call.config)
        reads = call.along(call.only(call.input, axis), axis)
        makes = None if reads is None else np.repeat(reads, call.config["depth_multiplier"])
        call.weight("kernel", {-2: reads})
        call.weight("bias", {0: makes})
        activated(call, makes, axis == -1)
        return call.output(makes, axis) if makes is not None else Labels(call.shape, (), call.input.why)


class SeparableConvolution(_Convolution):
    """SeparableConv1D, SeparableConv2D: a depthwise convolution, then one over channels."""

    kernels = ("depthwise_kernel", "pointwise_kernel")

    def _kernels(self, layer: Layer) -> tuple[Kernel, ...]:
        return Kernel("depthwise_kernel", depthwise=True), Kernel("pointwise_kernel")

    def macs(self, call: Call) -> int:
        """Positions x middle channels x (kernel positions + filters)."""
        config = call.config
        filters = channels(call.output, config)
        middle: int = channels(call.input, config) * config["depth_multiplier"]
        positions = elements(call.output.shape) // filters
        return positions * middle * (elements(config["kernel_size"]) + filters)

    def channels(self, call: ChannelCall) -> Labels:
        """As a depthwise convolution and then one over channels."""
        axis = channel_axis(call.config)
        reads = call.along(call.only(call.input, axis), axis)
        makes = call.fresh(call.config["filters"])
        middle = None if reads is None else np.repeat(reads, call.config["depth_multiplier"])
        call.weight("depthwise_kernel", {-2: reads})
        call.weight("pointwise_kernel", {-2: middle, -1: makes}, contracts=-2)
        call.weight("bias", {0: makes})
        activated(call, makes, axis == -1)
        call.count(filters=makes)
        return call.output(makes, axis)


class TransposedConvolution(_Convolution):
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""

    def _kernels(self, layer: Layer) -> tuple[Kernel, ...]:
        return (Kernel("kernel", reads=(-1,), makes=(-2,)),)

    def _window(self, layer: Layer, *, transposed: bool = True) -> Window:
        return super()._window(layer, transposed=transposed)

    def onnx(self, call: OnnxCall) -> None:
        """One ConvTranspose, cropped or lengthened at the end as Keras has it."""
        window = self.linear(call.layer).window
        assert window is not None
        order = spatial_order(call.config, call.input.rank)
        x = call.op(
            "ConvTranspose",
            call.read(call.input, order),
            call.weight("kernel", "filters first", _filters_first),
            None if bias_lies_last(call) else call.weight("bias"),
            **transposed_options(window, call.config.get("output_padding")),
        )
        x = with_bias_last(call, x, call.weight("bias"))
        call.give(write_activation(call, call.config.get("activation"), x, order), order)

    def macs(self, call: Call) -> int:
        """Input elements x kernel positions x filters."""
        filters: int = call.config["filters"]
        return elements(call.input.shape) * elements(call.config["kernel_size"]) * filters

    def channels(self, call: ChannelCall) -> Labels:
        """New channels."""
        axis = channel_axis(call.config)
        reads = call.along(call.only(call.input, axis), axis)
        makes = call.fresh(call.config["filters"])
        call.weight("kernel", {-1: reads, -2: makes}, contracts=-1)
        call.weight("bias", {0: makes})
        activated(call, makes, axis == -1)
        call.count(filters=makes)
        return call.output(makes, axis)


def _whole_axes(call: ChannelCall, channels: int) -> dict[int, tuple[int, Ids]]:
    """Axes of the operand that the kernel spans, so that they are summed over: for each that of the kernel, and labels.

    As where a kernel is as wide as the word vectors that it is laid over.
    """
    config, labels = call.config, call.input
    size = per_axis(config["kernel_size"], labels.rank - 2)
    first = 1 if channels == -1 else 2
    if config["padding"] != "valid":
        return {}
    return {
        first + place: (place, factor.ids)
        for place, span in enumerate(size)
        if span > 1 and span == labels.shape[first + place]
        for factor in [labels.factor(first + place)]
        if factor is not None and len(factor.axes) == 1
    }


def _filters_first(kernel: Array) -> Array:
    """A kernel (positions..., in, out) as (out, in, positions...)."""
    return kernel.transpose(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))


def _grouped(kernel: Array) -> Array:
    """A depthwise kernel (positions..., in, multiplier) as (in x multiplier, 1, positions...)."""
    turned = kernel.transpose(kernel.ndim - 2, kernel.ndim - 1, *range(kernel.ndim - 2))
    return turned.reshape(-1, 1, *kernel.shape[:-2])


def _tie_groups(call: ChannelCall, reads: Ids | None, makes: Ids) -> Ids | None:
    """Keep the groups of a grouped convolution equally large.

    Either whole groups go, with what they read and what they make, or the same channel of every group goes: whichever
    leaves more to choose from. Returns the labels along the kernel's axis of channels read.
    """
    groups = call.config["groups"]
    made = makes.reshape(groups, -1)
    if reads is None:
        call.tie(made, made[:1])
        call.count(filters=makes)
        return None
    read = reads.reshape(groups, -1)
    if groups >= min(made.shape[1], read.shape[1]):
        call.tie(made, made[:, :1])
        call.tie(read, made[:, :1])
        call.count(filters=makes, groups=np.ascontiguousarray(made[:, 0]))
        return None
    call.tie(made, made[:1])
    call.tie(read, read[:1])
    call.count(filters=makes)
    kept: Ids = read[0]
    return kept


class _ConvolutionOp(NeverLinear):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    why_not_linear = "it is an op: its kernel is an operand, not a weight of its own"
    convolves = True


class ConvolutionOp(_ConvolutionOp):
    """``ops.conv``: the kernel, an operand, is (positions..., input channels per group, filters)."""

    def onnx(self, call: OnnxCall) -> None:
        """A Conv."""
        write_convolution(call)

    def macs(self, call: Call) -> int:
        """Output elements x kernel elements per filter."""
        return elements(call.output.shape) * elements(call.tensor(1, "kernel").shape[:-1])

    def channels(self, call: ChannelCall) -> Labels:
        """New channels. Keras knows no grouped convolution as an op of a model."""
        axis, kernel = channel_axis(call.config), _constant(call, 1, "kernel")
        reads = call.along(call.only(call.input, axis), axis)
        makes = call.fresh(kernel.shape[-1] or 0)
        if call.input.shape[axis] != kernel.shape[-2]:
            raise CannotTell("its kernel reads groups of channels")
        call.constant(kernel, {-2: reads, -1: makes})
        call.mask(call.input, axis)
        return call.output(makes, axis)


class DepthwiseConvolutionOp(_ConvolutionOp):
    """``ops.depthwise_conv``: the kernel is (positions..., input channels, multiplier)."""

    def onnx(self, call: OnnxCall) -> None:
        """A Conv with a group for every channel."""
        write_convolution(call, depthwise=True)

    def macs(self, call: Call) -> int:
        """Output elements x kernel positions."""
        return elements(call.output.shape) * elements(call.tensor(1, "kernel").shape[:-2])

    def channels(self, call: ChannelCall) -> Labels:
        """Every channel gives as many as the kernel says, which go with it."""
        axis, kernel = channel_axis(call.config), _constant(call, 1, "kernel")
        reads = call.along(call.only(call.input, axis), axis)
        if reads is None:
            return Labels(call.shape, (), call.input.why)
        call.constant(kernel, {-2: reads})
        return call.output(_multiplied(reads, kernel), axis)


class SeparableConvolutionOp(_ConvolutionOp):
    """``ops.separable_conv``: a depthwise kernel, then a pointwise one (1..., middle channels, filters)."""

    def onnx(self, call: OnnxCall) -> None:
        """Two Convs."""
        write_convolution(call, separable=True)

    def macs(self, call: Call) -> int:
        """Positions x (elements of the depthwise kernel + elements of the pointwise one)."""
        depthwise = call.tensor(1, "depthwise_kernel").shape
        pointwise = call.tensor(2, "pointwise_kernel").shape
        positions = elements(call.output.shape) // elements(pointwise[-1:])
        return positions * (elements(depthwise) + elements(pointwise))

    def channels(self, call: ChannelCall) -> Labels:
        """As a depthwise convolution and then one over channels."""
        axis = channel_axis(call.config)
        depthwise, pointwise = _constant(call, 1, "depthwise_kernel"), _constant(call, 2, "pointwise_kernel")
        reads = call.along(call.only(call.input, axis), axis)
        makes = call.fresh(pointwise.shape[-1] or 0)
        call.constant(depthwise, {-2: reads})
        call.constant(pointwise, {-2: None if reads is None else _multiplied(reads, depthwise), -1: makes})
        call.mask(call.input, axis)
        return call.output(makes, axis)


class TransposedConvolutionOp(_ConvolutionOp):
    """``ops.conv_transpose``: the kernel is (positions..., filters, input channels)."""

    def onnx(self, call: OnnxCall) -> None:
        """Not as long as Keras has it wrong.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell("Keras cannot run it in a model: it takes two of its settings for each other")

    def macs(self, call: Call) -> int:
        """Input elements x kernel elements per input channel."""
        return elements(call.input.shape) * elements(call.tensor(1, "kernel").shape[:-1])

    def channels(self, call: ChannelCall) -> Labels:
        """New channels."""
        axis, kernel = channel_axis(call.config), _constant(call, 1, "kernel")
        reads = call.along(call.only(call.input, axis), axis)
        makes = call.fresh(kernel.shape[-2] or 0)
        call.constant(kernel, {-1: reads, -2: makes})
        call.mask(call.input, axis)
        return call.output(makes, axis)


def _constant(call: ChannelCall, place: int, name: str) -> Labels:
    kernel = call.operand(place, name)
    if not isinstance(kernel, Labels) or kernel.array is None:
        raise CannotTell("its kernel is computed, not a constant or a weight")
    return kernel


def _multiplied(reads: Ids, kernel: Labels) -> Ids:
    return np.repeat(reads, kernel.shape[-1] or 1)


register_rule(("Conv1D", "Conv2D", "Conv3D"), Convolution())
register_rule(("DepthwiseConv1D", "DepthwiseConv2D"), DepthwiseConvolution())
register_rule(("SeparableConv1D", "SeparableConv2D"), SeparableConvolution())
register_rule(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), TransposedConvolution())
register_rule("ops.conv", ConvolutionOp())
register_rule("ops.depthwise_conv", DepthwiseConvolutionOp())
register_rule("ops.separable_conv", SeparableConvolutionOp())
register_rule("ops.conv_transpose", TransposedConvolutionOp())
