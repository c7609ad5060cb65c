"""Give a factorised kernel the norm of the original."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.factors.kernels.method import Factors, Inputs
from kerasurgeon.factors.kernels.shape import compose

Array = np.ndarray[Any, Any]


def rescaled(factors: Factors, kernel: Array, inputs: Inputs | None = None) -> Factors:
    """The factors with the last kernel of the chain scaled, so that the norm of the whole is as it was.

    A truncated kernel is a projection, so that its outputs have less variance than those of the original, layer after
    layer; statistics of batch norms then no longer fit. The entries of a residual stay exact, and count on neither
    side.

    Args:
        factors: The factors of a kernel.
        kernel: The kernel, ``(groups, *sizes, inputs, outputs)``.
        inputs: What the layer reads: the variance of its outputs is kept then, in the place of the norm.
    """
    chain = compose(factors.stages, factors.kernels)
    mask = None if factors.residual is None else factors.residual != 0
    if mask is None:
        before, after = _spread(kernel, inputs), _spread(chain, inputs)
    else:
        before, after = _spread(np.where(mask, 0, kernel), None), _spread(np.where(mask, 0, chain), None)
    if not after > 0 or not before > 0:
        return factors
    scale = float((before / after) ** 0.5)
    last = factors.kernels[-1] * np.asarray(scale, factors.kernels[-1].dtype)
    made = replace(factors, kernels=(*factors.kernels[:-1], last))
    if mask is not None:
        made = replace(made, residual=np.where(mask, kernel - chain * np.asarray(scale, chain.dtype), 0))
    if inputs is not None:
        missed = kernel - made.reconstruct()
        flat = missed.reshape(len(missed), -1, missed.shape[-1])
        made = replace(made, bias=np.concatenate([mean @ one for mean, one in zip(inputs.mean, flat, strict=True)]))
    return made


def _spread(kernel: Array, inputs: Inputs | None) -> float:
    if inputs is None:
        return float(np.sum(np.square(kernel, dtype=np.float64)))
    flat = kernel.reshape(len(kernel), -1, kernel.shape[-1]).astype(np.float64)
    return float(sum(np.sum(one * (cov @ one)) for one, cov in zip(flat, inputs.covariance, strict=True)))


__all__ = ["rescaled"]
