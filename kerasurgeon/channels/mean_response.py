"""What a constant input adds to a convolution or dense layer, averaged over positions, without running it.

Near the border of a padded convolution some taps of the kernel lie outside. How often each tap lies inside is a product
over the axes, so that the average over all positions is a weighted sum of the kernel over its taps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.channels.linear_part import CONVOLUTIONS, channel_axis
from kerasurgeon.ir.layer import Layer

Array = np.ndarray[Any, Any]


def mean_response(layer: Layer, shape: Sequence[int | None], constant: Array) -> Array | None:
    """The mean over positions of the linear part of a layer on an input that is the same everywhere.

    Args:
        layer: The layer.
        shape: Shape of its input.
        constant: The input, with size 1 along all axes but that of the channels.

    Returns:
        A number per output channel, or ``None`` where this does not apply: other layers, open sizes with padding.
    """
    kernel = layer.array("kernel")
    axis = channel_axis(layer, constant.ndim)
    if kernel is None or constant.size != constant.shape[axis]:
        return None
    values = constant.reshape(-1).astype(np.float64)
    if layer.kind == "Dense" and kernel.ndim == 2 and len(values) == len(kernel):
        return np.asarray(values @ kernel)
    if layer.kind not in CONVOLUTIONS:
        return None
    rank = kernel.ndim - 2
    spatial = shape[2:] if axis == 1 else shape[1:-1]
    matrix = kernel
    for place in range(rank):
        share = _inside(layer.config, kernel.shape[place], spatial[place], place)
        if share is None:
            return None
        matrix = np.tensordot(share.astype(kernel.dtype), matrix, axes=(0, 0))
    groups = layer.config["groups"]
    grouped = matrix.reshape(matrix.shape[0], groups, -1)
    return np.asarray(np.einsum("gi,igo->go", values.reshape(groups, -1), grouped)).reshape(-1)


def _inside(config: Mapping[str, Any], taps: int, size: int | None, place: int) -> Array | None:
    """For each tap along an axis the share of positions at which it lies inside the input."""
    padding, stride, dilation = config["padding"], config["strides"][place], config["dilation_rate"][place]
    if padding == "valid" or taps == 1:
        return np.ones(taps)
    if size is None:
        return None
    positions = -(-size // stride)
    reach = (taps - 1) * dilation
    before = reach if padding == "causal" else max((positions - 1) * stride + reach + 1 - size, 0) // 2
    places = np.arange(positions)[:, None] * stride + np.arange(taps) * dilation - before
    return np.asarray(((places >= 0) & (places < size)).mean(axis=0))
