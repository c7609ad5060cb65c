"""How one channel's values are spread, as values at the points of a quadrature over a Gaussian.

The points are evenly spaced (trapezoidal rule): with a Gaussian weight that is exact to rounding for smooth functions,
and at the kink of a ReLU off by 3e-4 standard deviations, where Gauss-Hermite with as many points is off ten times
that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

POINTS = np.linspace(-6.0, 6.0, 121)
WEIGHTS = np.exp(-0.5 * POINTS**2) / np.exp(-0.5 * POINTS**2).sum()


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """The distribution of a tensor's elements, each by itself.

    Attributes:
        samples: Shape ``(points, ...)`` with the tensor's axes behind the first, of size one where elements do not
            differ; ``points`` is one for what is constant. NaN where nothing is known.
        root: Equal for tensors that are functions of the same random number, element by element.
    """

    samples: Array
    root: Any = field(default_factory=object)

    @property
    def mean(self) -> Array:
        """The expected values, of shape ``(1, ...)``."""
        return self._weighted(self.samples)

    @property
    def variance(self) -> Array:
        """The variances, of shape ``(1, ...)``."""
        return self._weighted(np.square(self.samples - self.mean))

    @property
    def constant(self) -> bool:
        """Whether nothing varies."""
        return len(self.samples) == 1

    def _weighted(self, samples: Array) -> Array:
        if len(samples) == 1:
            return samples
        return np.asarray(np.einsum("q,q...->...", WEIGHTS, samples)[None])


def gaussian(mean: Array, variance: Array) -> Spread:
    """A Gaussian for every element; arrays of shape ``(1, ...)`` that broadcast."""
    mean, variance = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(variance, np.float64))
    if not np.nan_to_num(variance, nan=1.0).any():
        return Spread(mean)
    points = POINTS.reshape(-1, *(1,) * (mean.ndim - 1))
    return Spread(mean + np.sqrt(np.maximum(variance, 0.0)) * points)


def largest(spread: Spread, count: float) -> Spread:
    """The distribution of the largest of ``count`` independent values, as a Gaussian with its mean and variance."""
    if spread.constant or count <= 1:
        return spread
    order = np.argsort(spread.samples, axis=0)
    ordered = np.take_along_axis(spread.samples, order, axis=0)
    below = np.minimum(np.cumsum(WEIGHTS[order], axis=0), 1.0) ** count
    weights = np.diff(below, axis=0, prepend=0.0)
    mean = (weights * ordered).sum(axis=0, keepdims=True)
    return gaussian(mean, (weights * np.square(ordered - mean)).sum(axis=0, keepdims=True))


def joined(spreads: list[Spread], sizes: list[int], axis: int) -> Spread:
    """Spreads one behind another along an axis, given the tensors' sizes along it."""
    shape = np.broadcast_shapes(*(_without(spread.samples.shape, axis) for spread in spreads))
    parts = []
    for spread, size in zip(spreads, sizes, strict=True):
        wanted = list(shape)
        wanted[axis] = size
        parts.append(np.broadcast_to(spread.samples, wanted))
    return Spread(np.concatenate(parts, axis=axis))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(1 if place == axis else size for place, size in enumerate(shape))


def compressed(samples: Array) -> Array:
    """The same with one position along every axis behind the first that nothing varies along."""
    for axis in range(1, samples.ndim):
        first = np.take(samples, [0], axis=axis)
        if samples.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, samples.shape), samples, equal_nan=True):
            samples = first
    return samples
