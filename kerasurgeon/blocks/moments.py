"""Least squares from sums: the best linear map from one tensor to another, without keeping the rows.

Rows are shifted by the means of the first ones, so that no digits are lost where a mean is large against the spread;
sums are in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import scipy.linalg

Array = np.ndarray[Any, Any]

_RELATIVE = 1e-10


@final
@dataclass(frozen=True, slots=True)
class Fit:
    """A linear map ``y = x W + b``.

    Attributes:
        weight: ``(inputs, outputs)``, or ``(channels,)`` where every channel is multiplied by a number of its own.
        bias: ``(outputs,)``.
        error: Its mean square error over the rows that it was fitted to, relative to the variance of what was wanted:
            0 for a perfect fit, 1 for one that is no better than the mean.
    """

    weight: Array
    bias: Array
    error: float


@final
class Moments:
    """Sums over rows ``x`` and ``y`` that belong together.

    Args:
        full: Whether products of different channels are summed too, as ``projection`` needs them.
    """

    def __init__(self, *, full: bool = True) -> None:
        self.full = full
        self.count = 0
        self._shifts: tuple[Array, Array] | None = None
        self._sums: list[Array] = []

    def add(self, x: Array, y: Array) -> None:
        """Take in rows.

        Args:
            x: ``(rows, inputs)``.
            y: ``(rows, outputs)``.
        """
        x, y = x.astype(np.float64), y.astype(np.float64)
        if self._shifts is None:
            self._shifts = x.mean(axis=0), y.mean(axis=0)
        x, y = x - self._shifts[0], y - self._shifts[1]
        if self.full:
            squares, products = x.T @ x, x.T @ y
        else:
            squares, products = np.square(x).sum(axis=0), (x * y).sum(axis=0)
        sums = [x.sum(axis=0), y.sum(axis=0), squares, products, np.square(y).sum(axis=0)]
        self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)] if self._sums else sums
        self.count += len(x)

    @property
    def means(self) -> tuple[Array, Array]:
        """The means of ``x`` and ``y``."""
        assert self._shifts is not None
        return self._shifts[0] + self._sums[0] / self.count, self._shifts[1] + self._sums[1] / self.count

    def projection(self, ridge: float = 1e-4, *, towards_identity: bool = False) -> Fit:
        """The matrix and the bias with the least square error.

        Args:
            ridge: How strongly the matrix is held to zero, relative to the mean variance of the inputs; 0 for plain
                least squares (of several solutions the smallest).
            towards_identity: Hold it to the identity instead, for as many outputs as inputs: directions that the data
                does not show pass.
        """
        squares, products, _ = self._centred()
        inputs = len(squares)
        strength = ridge * float(np.trace(squares)) / inputs
        start = np.eye(inputs) if towards_identity else np.zeros_like(products)
        matrix, right = squares + strength * np.eye(inputs), products - squares @ start
        try:
            if ridge < _RELATIVE:
                raise np.linalg.LinAlgError("channels may be constant, or depend on one another")
            factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
            weight = start + scipy.linalg.cho_solve(factor, right, check_finite=False)
        except np.linalg.LinAlgError:
            weight = start + np.linalg.lstsq(matrix, right, rcond=_RELATIVE)[0]
        x, y = self.means
        return self._fit(weight, y - x @ weight)

    def affine(self) -> Fit:
        """A factor and a bias for every channel with the least square error; a constant channel keeps factor 1."""
        squares, products, _ = self._centred(diagonal=True)
        varies = squares > 1e-12 * max(float(squares.max(initial=0.0)), 1e-300)
        weight = np.where(varies, products / np.where(varies, squares, 1.0), 1.0)
        x, y = self.means
        return self._fit(weight, y - x * weight)

    def scale(self) -> Fit:
        """A factor for every channel with the least square error, without a bias; a zero channel keeps factor 1."""
        squares, products, _ = self._centred(diagonal=True)
        x, y = self.means
        power, product = squares + x * x, products + x * y
        varies = power > 1e-12 * max(float(power.max(initial=0.0)), 1e-300)
        weight = np.where(varies, product / np.where(varies, power, 1.0), 1.0)
        return self._fit(weight, np.zeros_like(y))

    def identity(self) -> Fit:
        """No change at all, and its error."""
        inputs = len(self.means[0])
        return self._fit(np.ones(inputs), np.zeros(inputs))

    def _centred(self, *, diagonal: bool = False) -> tuple[Array, Array, Array]:
        """Covariances of ``x``, of ``x`` with ``y``, and variances of ``y``."""
        first, second, squares, products, wanted = (total / self.count for total in self._sums)
        if self.full and diagonal:
            squares, products = np.diagonal(squares), np.diagonal(products)
        if self.full and not diagonal:
            squares, products = squares - np.outer(first, first), products - np.outer(first, second)
        else:
            squares, products = squares - first * first, products - first * second
        return squares, products, np.maximum(wanted - second * second, 0.0)

    def _fit(self, weight: Array, bias: Array) -> Fit:
        each = weight.ndim == 1
        squares, products, wanted = self._centred(diagonal=each)
        x, y = self.means
        missed = y - (x * weight if each else x @ weight) - bias
        if each:
            explained = 2 * float(weight @ products) - float((weight * weight) @ squares)
        else:
            explained = 2 * float(np.sum(weight * products)) - float(np.sum(weight * (squares @ weight)))
        variance = float(wanted.sum())
        error = max(variance - explained, 0.0) + float(missed @ missed)
        return Fit(weight, bias, error / variance if variance > 0 else (0.0 if error <= 1e-12 else float("inf")))


__all__ = ["Fit", "Moments"]
