"""Kernels to factorise, samples of what they read, and what a chain of stages computes, by the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.factors import Factors, Inputs, Shape

Array = np.ndarray[Any, Any]


def white(shape: Shape, seed: int = 0, dtype: str = "float64") -> Array:
    """A kernel of independent normal entries."""
    size = (shape.groups, *shape.sizes, shape.inputs, shape.outputs)
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


def decaying(shape: Shape, power: float = 0.6, seed: int = 0, dtype: str = "float64") -> Array:
    """A kernel whose channel modes have decaying spectra in a random basis."""
    rng = np.random.default_rng(seed)
    scale = np.outer(np.arange(1, shape.inputs + 1) ** -power, np.arange(1, shape.outputs + 1) ** -power)
    left, right = (np.linalg.qr(rng.standard_normal((side, side)))[0] for side in (shape.inputs, shape.outputs))
    kernel: Array = left @ (white(shape, seed + 1) * scale) @ right
    return kernel.astype(dtype)


def patches(shape: Shape, samples: int = 600, seed: int = 3) -> Array:
    """Correlated patches with a mean, ``(groups, samples, taps * inputs)``."""
    rng = np.random.default_rng(seed)
    size = shape.taps * shape.inputs
    mixed = rng.standard_normal((shape.groups, samples, size)) * np.arange(1, size + 1) ** -0.8
    return np.asarray(mixed @ rng.standard_normal((shape.groups, size, size)) + rng.standard_normal((1, 1, size)))


def measured(shape: Shape, samples: Array) -> Inputs:
    """The moments of samples, by numpy's own ``cov``."""
    covariance = np.stack([np.cov(group, rowvar=False, bias=True) for group in samples])
    channels = np.zeros((shape.groups, shape.inputs, shape.inputs))
    for tap in range(shape.taps):
        own = slice(tap * shape.inputs, (tap + 1) * shape.inputs)
        channels += covariance[:, own, own] / shape.taps
    return Inputs(samples.mean(axis=1), covariance, channels)


def output_error(shape: Shape, missed: Array, samples: Array) -> float:
    """The mean squared error of the output around its mean, all channels together."""
    flat = missed.reshape(shape.groups, shape.taps * shape.inputs, shape.outputs)
    return float((samples @ flat).var(axis=1).sum())


def by_definition(factors: Factors) -> Array:
    """The kernel of a chain: at each position the product of what each stage has there."""
    shape = factors.shape
    kernel = np.zeros((shape.groups, *shape.sizes, shape.inputs, shape.outputs))
    for group in range(shape.groups):
        for place in np.ndindex(*shape.sizes):
            product = np.eye(shape.inputs)
            for stage, weights in zip(factors.stages, factors.kernels, strict=True):
                assert weights.ndim == 3 + len(shape.sizes)
                at = tuple(index if axis in stage.axes else 0 for axis, index in enumerate(place))
                matrix = weights[(group, *at)].astype("float64")
                if stage.depthwise:
                    channels, multiplier = matrix.shape
                    spread = np.zeros((channels, channels * multiplier))
                    for channel, copy in np.ndindex(channels, multiplier):
                        spread[channel, channel * multiplier + copy] = matrix[channel, copy]
                    matrix = spread
                assert matrix.shape == (stage.inputs, stage.outputs)
                product = product @ matrix
            kernel[(group, *place)] = product
    return kernel
