"""What a constant input adds to a convolution or dense layer, averaged over positions, without running it.

Near the border of a padded convolution some taps of the kernel lie outside. How often each tap lies inside is a product
over the axes, so that the average over all positions is a weighted sum of the kernel over its taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.asking import channel_form
from kerasurgeon.rules.positions import Window

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
    form = channel_form(layer)
    if form is None or form.single is None or not form.by_patches:
        return None
    axis, kernel = form.axis(constant.ndim), form.single.seen(layer.weights[form.single.key].array)
    if constant.size != constant.shape[axis]:
        return None
    values = constant.reshape(-1).astype(np.float64)
    spatial = shape[2:] if form.channels_first else shape[1:-1]
    matrix = kernel
    for place in range(kernel.ndim - 2):
        assert form.window is not None
        share = _inside(form.window, spatial[place], place)
        if share is None:
            return None
        matrix = np.tensordot(share.astype(kernel.dtype), matrix, axes=(0, 0))
    groups = form.single.groups
    grouped = matrix.reshape(matrix.shape[0], groups, -1)
    return np.asarray(np.einsum("gi,igo->go", values.reshape(groups, -1), grouped)).reshape(-1)


def _inside(window: Window, size: int | None, place: int) -> Array | None:
    """For each tap along an axis the share of positions at which it lies inside the input."""
    taps, padding = window.size[place], window.padding
    stride, dilation = window.strides[place], window.dilation[place]
    if padding == "valid" or taps == 1:
        return np.ones(taps)
    if size is None:
        return None
    positions = -(-size // stride)
    reach = (taps - 1) * dilation
    before = reach if padding == "causal" else max((positions - 1) * stride + reach + 1 - size, 0) // 2
    places = np.arange(positions)[:, None] * stride + np.arange(taps) * dilation - before
    return np.asarray(((places >= 0) & (places < size)).mean(axis=0))
