"""How many singular values of a matrix are signal: variational Bayesian matrix factorisation in closed form.

A matrix is taken for a product of low rank plus Gaussian noise of unknown variance. The global minimum of the free
energy of the empirical variational Bayesian model keeps exactly the singular values above a threshold that grows with
the noise; the noise variance minimises the free energy as a function of it alone.

Nakajima, Sugiyama, Babacan and Tomioka, "Global analytic solution of fully-observed variational Bayesian matrix
factorization", Journal of Machine Learning Research 14, 2013, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

Array = np.ndarray[Any, Any]

# Starting points of the search for the noise variance, which may have several minima.
_GRID = 64
# Singular values below this share of the largest are rounding: their logarithms would rule the free energy.
_ROUNDING = 1e-12


def noise_rank(squared: Array, rows: int, columns: int) -> int:
    """The rank that stands out of the noise, at least 1.

    Args:
        squared: Squared singular values ``(matrices, values)``, largest first, of matrices with a common noise
            variance; missing ones are zeros.
        rows: Rows of every matrix.
        columns: Columns.

    Returns:
        The number of singular values above the threshold; for several matrices the mean of it, rounded up.
    """
    scaled, small, large = _scaled(squared, rows, columns)
    if not scaled.any():
        return 1
    variance = noise_variance(squared, rows, columns)
    kept = int(np.count_nonzero(scaled > variance * _threshold(small / large)))
    return min(max(1, ceil(kept / len(scaled))), small)


def noise_variance(squared: Array, rows: int, columns: int) -> float:
    """The variance of the noise that minimises the free energy; 0.0 for zeros. Arguments as for ``noise_rank``."""
    scaled, small, large = _scaled(squared, rows, columns)
    if not scaled.any():
        return 0.0
    energy = free_energy(squared, rows, columns)
    least, most = _bounds(scaled, small / large)
    grid = np.linspace(log(least), log(most), _GRID) if least < most else np.array([log(most)])
    values = [energy(float(np.exp(point))) for point in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if low == high:
        return float(np.exp(low))
    found = minimize_scalar(lambda point: energy(float(np.exp(point))), bounds=(low, high), method="bounded")
    return float(np.exp(found.x if found.fun < values[best] else grid[best]))


def free_energy(squared: Array, rows: int, columns: int) -> Callable[[float], float]:
    """The free energy as a function of the noise variance, per row and up to a constant (the paper's objective).

    Arguments as for ``noise_rank``.
    """
    scaled, small, large = _scaled(squared, rows, columns)
    alpha = small / large
    threshold = _threshold(alpha)

    def energy(variance: float) -> float:
        x = scaled / variance
        total = np.sum(x - np.log(x))
        above = x[x > threshold]
        shifted = above - (1 + alpha)
        tau = (shifted + np.sqrt(np.maximum(shifted**2 - 4 * alpha, 0.0))) / 2
        total += np.sum(np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau)
        return float(total) / (small * len(scaled))

    return energy


def _scaled(squared: Array, rows: int, columns: int) -> tuple[Array, int, int]:
    """Squared singular values over the longer side, as many as the shorter has, and both sides."""
    small, large = min(rows, columns), max(rows, columns)
    values = np.zeros((len(squared), small))
    given = np.sort(np.asarray(squared, np.float64), axis=1)[:, ::-1][:, :small]
    values[:, : given.shape[1]] = given
    return np.maximum(values, _ROUNDING * values.max()) / large, small, large


def _threshold(alpha: float) -> float:
    """From which x = (squared singular value) / (longer side * noise variance) a component is kept."""

    def phi(z: float) -> float:
        return log(z + 1) / z - 0.5

    tau = brentq(lambda value: phi(value) + phi(value / alpha), 1e-9, 10.0)
    return float((1 + tau) * (1 + alpha / tau))


def _bounds(scaled: Array, alpha: float) -> tuple[float, float]:
    """Between which values the noise variance of the minimum is (the paper's bounds, over all matrices together)."""
    count = scaled.shape[1]
    most = ceil(count / (1 + alpha)) - 1
    least = np.maximum(scaled[:, most] / _threshold(alpha), scaled[:, most:].mean(axis=1)).min()
    return float(least), float(scaled.mean(axis=1).max())


__all__ = ["free_energy", "noise_rank", "noise_variance"]
