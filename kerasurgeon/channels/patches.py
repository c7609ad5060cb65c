"""The input positions that an output position of a layer sums over: convolutions as matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]


def channels_last(config: Mapping[str, Any], array: Array) -> Array:
    """The same tensor with its channels at the end."""
    return np.moveaxis(array, 1, -1) if config.get("data_format") == "channels_first" else array


def patches(config: Mapping[str, Any], array: Array, positions: Array) -> Array:
    """What a convolution, or a Dense layer, reads for some of its output positions.

    Args:
        config: Of a Conv1D, Conv2D, Conv3D or Dense.
        array: The layer's input, channels last.
        positions: Indices of output positions, ``(rows, axes)``: the sample, then one per spatial axis (of a Dense
            layer, one per axis before the last).

    Returns:
        Shape ``(rows, taps, channels)``: taps in the order of the kernel's leading axes, one for a Dense layer.
    """
    if "kernel_size" not in config:
        return np.asarray(array[tuple(positions.T)][:, None, :])
    sizes, strides, dilations = (tuple(config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    starts = [
        _padding_before(config["padding"], array.shape[1 + axis], size, stride, dilation)
        for axis, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True))
    ]
    taps = np.array(list(product(*map(range, sizes))))
    where = positions[:, None, 1:] * strides + taps[None] * dilations - starts
    limits = np.array(array.shape[1:-1])
    inside = np.all((where >= 0) & (where < limits), axis=-1)
    clipped = np.clip(where, 0, limits - 1)
    samples = np.broadcast_to(positions[:, :1], inside.shape)
    found = array[(samples, *(clipped[..., axis] for axis in range(len(sizes))))]
    return np.asarray(found * inside[..., None])


def output_positions(config: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many output positions there are, along the axis of samples and each that is no axis of channels.

    Args:
        config: Of a Conv1D, Conv2D, Conv3D or Dense.
        shape: Of the layer's input, channels last.
    """
    if "kernel_size" not in config:
        return shape[:-1]
    cut = [(size - 1) * rate for size, rate in zip(config["kernel_size"], config["dilation_rate"], strict=True)]
    valid = config["padding"] == "valid"
    lengths = [length - gone * valid for length, gone in zip(shape[1:-1], cut, strict=True)]
    return (shape[0], *(-(-length // stride) for length, stride in zip(lengths, config["strides"], strict=True)))


def drawn(shape: tuple[int, ...], most: int, rng: np.random.Generator) -> Array:
    """Positions in an array of some shape, ``(rows, axes)``: all, or some without repetition where there are more."""
    total = int(np.prod(shape))
    chosen = np.arange(total) if total <= most else np.sort(rng.choice(total, most, replace=False))
    return np.stack(np.unravel_index(chosen, shape), axis=1)


def numpy_of(tensor: Any) -> Array:
    """A tensor as an array of single precision or finer."""
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


def _padding_before(padding: str, length: int, size: int, stride: int, dilation: int) -> int:
    """How many zeros stand before the first position of an axis."""
    reach = (size - 1) * dilation
    if padding == "valid":
        return 0
    if padding == "causal":
        return reach
    total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
    return total // 2
