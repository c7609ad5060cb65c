"""Kernels judged by their layer's output: covariances of what it reads, and least squares under them.

With inputs of covariance C the squared error of the output is tr(dW^T C dW), where dW is the error of the kernel. A
covariance gets a small ridge, so that what the data do not show (dead channels, too few samples) stays as it was. A
measured one may be off by rounding, relative to its largest eigenvalue: where that leaves negative eigenvalues (inputs
of few directions, or whose mean changes at the borders by more than they vary) the ridge grows until there are none. As
the ridge adds the error of the kernel to that of the output, what minimises both loses no more of the output than what
minimises the kernel's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from scipy.linalg import solve_triangular

from kerasurgeon.errors import OptionError
from kerasurgeon.factors.kernels.method import Inputs
from kerasurgeon.factors.kernels.shape import Shape

Array = np.ndarray[Any, Any]

_RIDGE = 1e-5
_ROUNDING = 1e-14
_DOUBLINGS = 64


def regularised(covariances: Array) -> Array:
    """Covariances ``(groups, d, d)`` in float64, positive definite: a ridge of 1e-5 of their mean variance, or more."""
    found = np.array(covariances, np.float64)
    for covariance in found:
        _regularise(covariance)
    return found


def regularised_roots(covariances: Array) -> Array:
    """The roots of the regularised covariances, which are found on the way."""
    return np.stack([_regularise(np.array(covariance, np.float64)) for covariance in covariances])


def _regularise(covariance: Array) -> Array:
    """Make one of them positive definite, in place, and give its root."""
    variance = float(np.trace(covariance)) / len(covariance)
    # Of inputs that never change every kernel computes the same but for the bias: any metric does.
    ridge = _RIDGE * variance if variance > 0 else 1.0
    np.einsum("dd->d", covariance)[...] += ridge
    return _make_definite(covariance, ridge)


def _make_definite(matrix: Array, ridge: float) -> Array:
    """Raise the diagonal of a symmetric matrix, in place, until it has a root: by a ridge that doubles."""
    for _ in range(_DOUBLINGS):
        try:
            return roots(matrix)
        except np.linalg.LinAlgError:
            np.einsum("dd->d", matrix)[...] += ridge
            ridge *= 2
    return roots(matrix)


def patches(inputs: Inputs, shape: Shape) -> Array:
    """The regularised covariances of the patches.

    Raises:
        OptionError: They do not belong to a kernel of this shape.
    """
    return regularised(_of(shape, inputs).covariance)


def patch_roots(inputs: Inputs, shape: Shape) -> Array:
    """The roots of these covariances.

    Raises:
        OptionError: They do not belong to a kernel of this shape.
    """
    return regularised_roots(_of(shape, inputs).covariance)


def _of(shape: Shape, inputs: Inputs) -> Inputs:
    size = shape.taps * shape.inputs
    expected = ((shape.groups, size), (shape.groups, size, size), (shape.groups, shape.inputs, shape.inputs))
    got = (inputs.mean.shape, inputs.covariance.shape, inputs.channels.shape)
    if got != expected:
        raise OptionError(
            "What was measured of a layer's inputs does not belong to its kernel.",
            where=str(shape),
            expected=f"mean, covariance and channels of shapes {expected}",
            got=str(got),
            hint="measure it on this layer, in this model",
        )
    return inputs


def roots(covariances: Array) -> Array:
    """Lower triangular L with covariance L L^T: inputs times its inverse are white."""
    return np.asarray(np.linalg.cholesky(covariances))


def unwhitened(roots_: Array, columns: Array) -> Array:
    """Columns for the inputs from columns ``(groups, d, k)`` for the whitened inputs: L^-T times them."""
    pairs = zip(roots_, columns, strict=True)
    return np.stack([solve_triangular(root, column, trans="T", lower=True) for root, column in pairs])


@final
class Regression:
    """Least squares of what follows a first stage, for every number of its columns at once.

    The first stage turns a patch x into F^T x; the best that can follow is B = (F^T C F)^-1 F^T C W. Factorised by
    Cholesky, column after column, the answer for the first k columns is part of that for all.

    Args:
        covariances: Regularised covariances of the patches C ``(groups, d, d)``.
        crossed: Those times the kernels, C W ``(groups, d, outputs)``.
        apply: F^T times a stack ``(groups, d, m)``.
    """

    def __init__(self, covariances: Array, crossed: Array, apply: Callable[[Array], Array]) -> None:
        moments = apply(apply(covariances).swapaxes(-1, -2))
        moments = (moments + moments.swapaxes(-1, -2)) / 2
        # Columns may nearly coincide.
        self._roots = np.stack([_make_definite(one, _ROUNDING * float(np.trace(one)) / len(one)) for one in moments])
        right = apply(crossed)
        pairs = zip(self._roots, right, strict=True)
        #: Outputs that the columns explain, one after the other: ``(groups, columns, outputs)``. Squared and summed
        #: over the first k columns, what these take from the squared norm.
        self.explained = np.stack([solve_triangular(root, side, lower=True) for root, side in pairs])

    def coefficients(self, columns: int, basis: Array | None = None) -> Array:
        """What follows the first columns, ``(groups, columns, outputs)``.

        Args:
            columns: How many.
            basis: Orthonormal columns ``(groups, outputs, r)``: the answer times these, ``(groups, columns, r)``.
        """
        explained = self.explained[:, :columns]
        return unwhitened(self._roots[:, :columns, :columns], explained if basis is None else explained @ basis)


__all__ = ["Regression", "patch_roots", "patches", "regularised", "regularised_roots", "roots", "unwhitened"]
