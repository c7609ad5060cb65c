"""Kernels as Keras stores them, and as factorisations see them: ``(groups, *sizes, inputs, outputs)``."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def grouped(kernel: Array, groups: int, *, transposed: bool = False) -> Array:
    """A kernel of a convolution or Dense as factorisations see it.

    Args:
        kernel: ``(*sizes, inputs, groups * outputs)``; of a transposed convolution ``(*sizes, outputs, inputs)``.
        groups: Number of groups.
        transposed: Whether it is a transposed convolution's.

    Returns:
        ``(groups, *sizes, inputs, outputs)``, in float32 or float64.
    """
    wide = kernel if kernel.dtype in (np.float32, np.float64) else kernel.astype(np.float32)
    if transposed:
        wide = np.swapaxes(wide, -1, -2)
    # Output channels of a group stand side by side.
    apart = wide.reshape(*wide.shape[:-1], groups, -1)
    return np.moveaxis(apart, -2, 0)


def stored(kernel: Array, *, transposed: bool = False) -> Array:
    """A kernel as Keras stores it: the way back from ``grouped``."""
    together = np.moveaxis(kernel, 0, -2)
    together = together.reshape(*together.shape[:-2], -1)
    return np.swapaxes(together, -1, -2) if transposed else together


def stored_depthwise(kernel: Array) -> Array:
    """A depthwise kernel as Keras stores it.

    Args:
        kernel: ``(groups, *sizes, channels, multiplier)``.

    Returns:
        ``(*sizes, groups * channels, multiplier)``.
    """
    together = np.moveaxis(kernel, 0, -3)
    return together.reshape(*together.shape[:-3], -1, together.shape[-1])


__all__ = ["grouped", "stored", "stored_depthwise"]
