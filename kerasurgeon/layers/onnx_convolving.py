"""Convolutions as ops written to ONNX, whose kernels are operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.layers.onnx_windows import padding, spatial_order
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.layout import per_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order
from kerasurgeon.rules.positions import Window


def _config(call: OnnxCall) -> dict[str, Any]:
    return {**call.config, "data_format": call.config.get("data_format") or keras.config.image_data_format()}


def _window(call: OnnxCall, size: Sequence[int]) -> Window:
    config, axes = call.config, len(size)
    return Window(
        tuple(size),
        per_axis(config.get("strides") or 1, axes),
        per_axis(config.get("dilation_rate") or 1, axes),
        str(config.get("padding", "valid")),
    )


def _kernel(call: OnnxCall, place: int, name: str) -> tuple[Term, tuple[int, ...]]:
    operand = call.tensor(place, name)
    if None in operand.shape:
        raise CannotTell("the size of its kernel is unknown")
    return term(call, operand, None, call.output.dtype), tuple(int(size or 0) for size in operand.shape)


def filters_first(kernel: Term, rank: int) -> Term:
    """A kernel (positions..., in, out) as (out, in, positions...)."""
    return kernel.transpose([rank - 1, rank - 2, *range(rank - 2)])


def per_group(kernel: Term, shape: Sequence[int]) -> Term:
    """A depthwise kernel (positions..., in, multiplier) as (in x multiplier, 1, positions...)."""
    rank = len(shape)
    turned = kernel.transpose([rank - 2, rank - 1, *range(rank - 2)])
    return turned.reshape([shape[-1] * shape[-2], 1, *shape[:-2]])


def _convolved(call: OnnxCall, x: Term, kernel: Term, order: Order, window: Window | None, groups: int) -> Term:
    """A Conv in an order of axes with the channels before the positions."""
    options: dict[str, Any] = {}
    if window is not None:
        sizes = [call.input.shape[axis] for axis in order[2:]]
        around = padding(window, sizes, [(0, 0)] * len(sizes))
        options = {"strides": window.strides, "dilations": window.dilation, "kernel_shape": window.size, **around}
    return x.op("Conv", kernel, group=groups, **options)


def write_convolution(call: OnnxCall, *, depthwise: bool = False, separable: bool = False) -> None:
    """Write ``ops.conv``, ``ops.depthwise_conv`` and ``ops.separable_conv``."""
    operand = call.tensor(0, "inputs")
    order = spatial_order(_config(call), operand.rank)
    channels = operand.shape[order[1]]
    kernel, shape = _kernel(call, 1, "depthwise_kernel" if separable else "kernel")
    if channels is None:
        raise CannotTell("the number of its channels is unknown")
    x = term(call, operand, order, call.output.dtype)
    window = _window(call, shape[:-2])
    if depthwise or separable:
        x = _convolved(call, x, per_group(kernel, shape), order, window, channels)
    else:
        x = _convolved(call, x, filters_first(kernel, len(shape)), order, window, channels // shape[-2])
    if separable:
        pointwise, inner = _kernel(call, 2, "pointwise_kernel")
        x = _convolved(call, x, filters_first(pointwise, len(inner)), order, None, 1)
    give(call, x, order)


def transposed_options(window: Window, output_padding: Any) -> dict[str, Any]:
    """The attributes of a transposed convolution: what is cropped, and what is added at the end, as Keras has it.

    Args:
        window: The window.
        output_padding: The entry of the config.
    """
    axes = len(window.size)
    more = (None,) * axes if output_padding is None else per_axis(output_padding, axes)
    front, behind, lengthened = [], [], []
    for taps, stride, dilation, extra in zip(window.size, window.strides, window.dilation, more, strict=True):
        reach = dilation * (taps - 1) + 1
        if extra is None:  # as long as the operand times the stride, or as long as it comes
            cropped = reach - stride if window.padding == "same" else min(reach - stride, 0)
        else:
            cropped = 2 * (reach // 2 if window.padding == "same" else 0) - extra
        front.append(max(cropped, 0) // 2)
        behind.append(max(cropped, 0) - front[-1])
        lengthened.append(max(-cropped, 0))
    return {
        "kernel_shape": window.size,
        "strides": window.strides,
        "dilations": window.dilation,
        "pads": [*front, *behind],
        "output_padding": lengthened if any(lengthened) else None,
    }


def write_patches(call: OnnxCall) -> None:
    """Write ``ops.image.extract_patches``: a convolution that copies every element of a window into a channel."""
    operand, config = call.input, _config(call)
    given = config["size"]
    axes = 2 if isinstance(given, int) else len(given)
    size = per_axis(given, axes)
    batched = operand.rank == axes + 2
    inner = spatial_order(config, axes + 2)
    order = inner if batched else tuple(axis - 1 for axis in inner[1:])
    channels = operand.shape[order[1 if batched else 0]]
    if channels is None or "float" not in operand.dtype:
        raise CannotTell("the number of its channels is unknown" if channels is None else f"it reads {operand.dtype}")
    made = int(np.prod(size)) * channels
    kernel = np.eye(made).reshape(*size, channels, made)
    turned = kernel.transpose(axes + 1, axes, *range(axes))
    window = Window(
        size,
        per_axis(config.get("strides") or size, axes),
        per_axis(config.get("dilation_rate") or 1, axes),
        str(config.get("padding", "valid")),
    )
    x = term(call, operand, order, call.output.dtype)
    x = x if batched else x.unsqueeze(0)
    sizes: list[int | None] = [operand.shape[axis] for axis in order[-axes:]]
    around = padding(window, sizes, [(0, 0)] * axes)
    x = x.op("Conv", turned, strides=window.strides, dilations=window.dilation, kernel_shape=size, **around)
    give(call, x if batched else x.squeeze(0), order)
