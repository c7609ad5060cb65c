"""Give a factorised kernel the norm of the original, and tell where that is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.factors.kernels.method import Factors, Inputs
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.factors.kernels.shape import compose

Array = np.ndarray[Any, Any]

RANDOM = 0.05
"""Up to which ``beyond_random`` a kernel is like a random one: see the table of docs/factorise.md."""


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


def beyond_random(kernel: Array, factors: Factors, *, sweeps: int = 1) -> float:
    """How much more of its energy a kernel keeps than a random one of its shape does at the same ranks.

    Inputs of a random kernel do not prefer the directions that are kept, so that outputs lose as much variance as the
    kernel loses energy. Training makes a kernel large where its inputs are, and outputs lose less.

    Args:
        kernel: The kernel, ``(groups, *sizes, inputs, outputs)``.
        factors: Its factors without a residual, not rescaled.
        sweeps: Sweeps that they were made with.

    Returns:
        A share of what a random kernel loses: about 0 for one that is random, 1 for one that is of these ranks, and for
        kernels of zeros or ranks that lose nothing.
    """
    # Always the same one, so that a run repeated gives the same.
    shape: tuple[int, ...] = kernel.shape
    drawn: Array = np.random.default_rng(0).standard_normal(shape, np.float32).astype(kernel.dtype)
    other = METHODS[factors.method].prepare(drawn, factors.shape).factors(factors.ranks, sweeps=sweeps)
    lost = 1 - _spread(other.reconstruct(), None) / _spread(drawn, None)
    energy = _spread(kernel, None)
    if not energy > 0 or lost < 1e-6:
        return 1.0
    return 1 - (1 - _spread(factors.reconstruct(), None) / energy) / lost


def _spread(kernel: Array, inputs: Inputs | None) -> float:
    if inputs is None:
        return float(np.sum(np.square(kernel, dtype=np.float64)))
    flat = kernel.reshape(len(kernel), -1, kernel.shape[-1]).astype(np.float64)
    return float(sum(np.sum(one * (cov @ one)) for one, cov in zip(flat, inputs.covariance, strict=True)))


__all__ = ["RANDOM", "beyond_random", "rescaled"]
