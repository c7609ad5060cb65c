"""Ridge regression in float64 by Cholesky factorisation, of whichever normal equations are smaller.

Without a ridge, columns that depend on one another leave many solutions: then the smallest one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

Array = np.ndarray[Any, Any]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_RELATIVE = 1e-7


def fitted(rows: Array, wanted: Array, held_out: Array | None, ridge: float | None) -> tuple[Array, Array]:
    """The matrix that makes of some rows what is wanted, around the means of both.

    Args:
        rows: ``(rows, size)``.
        wanted: ``(rows, results)``.
        held_out: The rows that choose the strength of the ridge; not used where one is given.
        ridge: The strength, relative to the mean variance of the columns, or ``None`` to choose one of ``STRENGTHS``.

    Returns:
        The mean of the rows, and the matrix ``(size, results)``: zero where the held-out rows show no gain.
    """
    rows, wanted = rows.astype(np.float64), wanted.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    wanted -= wanted.mean(axis=0)
    nothing = np.zeros((rows.shape[1], wanted.shape[1]))
    if not rows.any():
        return mean, nothing
    if ridge is not None or held_out is None or not held_out.any() or held_out.all():
        return mean, _Normal(rows, wanted).solved(STRENGTHS[1] if ridge is None else ridge)
    first = int(np.count_nonzero(~held_out))
    if held_out[:first].any():  # elsewhere the last ones are held out, and nothing is copied
        order = np.argsort(held_out, kind="stable")
        rows, wanted = rows[order], wanted[order]
    normal = _Normal(rows[:first], wanted[:first])
    best, least = nothing, float(np.square(wanted[first:]).sum())
    for strength in STRENGTHS:
        solution = normal.solved(strength)
        error = float(np.square(wanted[first:] - rows[first:] @ solution).sum())
        if error < least:
            best, least = solution, error
        elif best is not nothing:
            break  # past its minimum the error rises with the ridge
    return mean, best


class _Normal:
    """Normal equations, over the columns or, where there are fewer, over the rows."""

    def __init__(self, rows: Array, target: Array) -> None:
        self.rows, self.target = rows, target
        self.wide = rows.shape[0] < rows.shape[1]
        self.products = rows @ rows.T if self.wide else rows.T @ rows
        self.right = target if self.wide else rows.T @ target
        self.variance = float(np.vdot(rows, rows)) / rows.shape[1]

    def solved(self, ridge: float) -> Array:
        """The solution for one strength."""
        if ridge < _RELATIVE:
            return np.asarray(np.linalg.lstsq(self.rows, self.target, rcond=_RELATIVE)[0])
        matrix = self.products.T.copy(order="K")  # it is symmetric, and so lies as LAPACK wants it
        matrix[np.diag_indices(len(matrix))] += max(ridge * self.variance, 1e-30)
        factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        solution = scipy.linalg.cho_solve(factor, self.right, check_finite=False)
        return np.asarray(self.rows.T @ solution if self.wide else solution)
