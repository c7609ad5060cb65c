"""What a residual is judged by: the error of the kernel, or that of the layer's output."""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np

from kerasurgeon.factors.kernels.method import Inputs
from kerasurgeon.factors.kernels.weighted import regularised

Array = np.ndarray[Any, Any]

_STEPS = 12


class Metric(Protocol):
    """What makes one residual better than another. Errors are ``(groups, *sizes, inputs, outputs)``."""

    def gains(self, error: Array) -> Array:
        """By how much the squared error would fall if one entry alone were in the residual."""

    def residual(self, error: Array, mask: Array) -> Array:
        """The residual for an error of the chain, zero off a mask."""

    def lost(self, error: Array) -> float:
        """The squared error."""

    def bias(self, error: Array) -> Array | None:
        """What the outputs lack on average, if that is known."""


@final
class KernelError:
    """The squared error of the kernel: each entry counts by itself, and is exact where there is a residual."""

    def gains(self, error: Array) -> Array:
        """See ``Metric``."""
        return np.asarray(np.square(error))

    def residual(self, error: Array, mask: Array) -> Array:
        """See ``Metric``."""
        return np.where(mask, error, 0)

    def lost(self, error: Array) -> float:
        """See ``Metric``."""
        return float(np.sum(np.square(error), dtype=np.float64))

    def bias(self, error: Array) -> Array | None:
        """See ``Metric``."""
        return None


@final
class OutputError:
    """The variance of the error of the output: inputs that go together may make up for each other.

    Entries that are exact may then make it worse. So those of the residual are fitted, by conjugate gradients for the
    normal equations on the mask, every output channel by itself: from zero, each step lowers the error.

    Args:
        inputs: What the layer reads.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._mean = inputs.mean
        self._covariance = regularised(inputs.covariance)
        self._variances = np.diagonal(self._covariance, axis1=-2, axis2=-1)[..., None]

    def gains(self, error: Array) -> Array:
        """See ``Metric``."""
        return np.asarray((np.square(self._covariance @ _rows(error)) / self._variances).reshape(error.shape))

    def residual(self, error: Array, mask: Array) -> Array:
        """See ``Metric``."""
        where = _rows(mask)
        found = np.zeros(where.shape)
        left = np.where(where, self._covariance @ _rows(error), 0)
        direction = scaled = left / self._variances
        size = _inner(left, scaled)
        for _ in range(_STEPS):
            image = np.where(where, self._covariance @ direction, 0)
            step = _ratio(size, _inner(direction, image))
            found += step * direction
            left = left - step * image
            scaled = left / self._variances
            size, before = _inner(left, scaled), size
            direction = scaled + _ratio(size, before) * direction
        return found.reshape(error.shape)

    def lost(self, error: Array) -> float:
        """See ``Metric``."""
        rows = _rows(error)
        return float(np.sum(rows * (self._covariance @ rows)))

    def bias(self, error: Array) -> Array | None:
        """See ``Metric``."""
        return np.asarray(np.einsum("gk,gko->go", self._mean, _rows(error))).ravel()


def _rows(kernel: Array) -> Array:
    """A row per entry of a patch, positions first, a column per output channel."""
    return kernel.reshape(kernel.shape[0], -1, kernel.shape[-1])


def _inner(one: Array, other: Array) -> Array:
    return np.asarray(np.sum(one * other, axis=-2, keepdims=True))


def _ratio(one: Array, other: Array) -> Array:
    """One by the other, 0 where a column is already solved."""
    return np.asarray(np.divide(one, other, out=np.zeros_like(one), where=other > 0))


__all__ = ["KernelError", "Metric", "OutputError"]
