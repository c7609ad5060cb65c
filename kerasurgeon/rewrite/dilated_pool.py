"""Pooling with gaps between its taps, which Keras has no layer for, as slices that are combined."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def dilated_pool(
    kind: str, size: Sequence[int], dilation: Sequence[int], pads: Sequence[tuple[int, int]], axes: Sequence[int]
) -> Callable[[Any], Any]:
    """A function of one tensor that pools with stride 1.

    Args:
        kind: ``"max"`` or ``"average"``. What is padded takes part in neither, as in Keras.
        size: Taps, per spatial axis.
        dilation: Positions from one tap to the next.
        pads: Positions before and after, per spatial axis.
        axes: The spatial axes of the tensor.

    Returns:
        The function, made of ``keras.ops``.
    """
    largest = kind == "max"

    def pool(x: Any) -> Any:
        if not any(map(any, pads)):
            pooled = _combined(x)
            return pooled if largest else pooled / float(np.prod(size))
        if largest:
            return _combined(_padded(x, -np.inf))
        return _combined(_padded(x, 0.0)) * ops.cast(_shares(x), x.dtype)

    def _padded(x: Any, value: float) -> Any:
        width = [(0, 0)] * len(x.shape)
        for axis, pad in zip(axes, pads, strict=True):
            width[axis] = (int(pad[0]), int(pad[1]))
        return ops.pad(x, width, constant_values=value)

    def _combined(x: Any) -> Any:
        for axis, taps, gap in zip(axes, size, dilation, strict=True):
            parts = [x[_slice(len(x.shape), axis, tap * gap, (taps - 1 - tap) * gap)] for tap in range(taps)]
            x = functools.reduce(ops.maximum if largest else operator.add, parts)
        return x

    def _shares(x: Any) -> Any:
        """One over how many taps lie inside, at every position."""
        lengths = [x.shape[axis] for axis in axes]
        if None in lengths:
            return 1.0 / _combined(_padded(ops.ones_like(x), 0.0))
        counts = np.ones([1] * len(x.shape))
        for axis, length, taps, gap, pad in zip(axes, lengths, size, dilation, pads, strict=True):
            places = np.arange(length + sum(pad) - (taps - 1) * gap)[:, None] + np.arange(taps) * gap - pad[0]
            inside = ((places >= 0) & (places < length)).sum(axis=1)
            counts = counts * inside.reshape([-1 if place == axis else 1 for place in range(len(x.shape))])
        return (1.0 / counts).astype("float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32")

    return pool


def _slice(rank: int, axis: int, start: int, left: int) -> tuple[slice, ...]:
    cut = slice(start or None, -left if left else None)
    return tuple(cut if place == axis else slice(None) for place in range(rank))
