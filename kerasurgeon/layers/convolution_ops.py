"""Convolutions as ops: the kernel is an operand. What a call costs is counted as for the layers."""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import NeverLinear


class _ConvolutionOp(NeverLinear):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    why_not_linear = "it is an op: its kernel is an operand, not a weight of its own"


class ConvolutionOp(_ConvolutionOp):
    """``ops.conv``: the kernel, an operand, is (positions..., input channels per group, filters)."""

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


register_rule("ops.conv", ConvolutionOp())
register_rule("ops.depthwise_conv", DepthwiseConvolutionOp())
register_rule("ops.separable_conv", SeparableConvolutionOp())
register_rule("ops.conv_transpose", TransposedConvolutionOp())
