"""Factors with a sparse residual beside them: the entries that a chain fits worst are taken over by a sparse kernel.

A kernel ``W`` becomes ``What + S``: ``What`` is that of the chain, and ``S`` is ``W - What`` on a mask ``M`` and zero
elsewhere, so that masked entries are exact. The chain is then free to fit the others: alternately, the mask moves to
where the error is largest, and the chain is fitted to ``W`` with the masked entries replaced by its own.

Both steps lower ``|| (1 - M) (W - What) ||``. For a given chain the best mask takes the groups with the largest sums
of *squared* errors (means of magnitudes, as they are sometimes used, may choose others and let the error rise). For a
given mask, the error of the new chain to the kernel with replaced entries is at least its error off the mask, and for
the old chain the two are equal: a chain that fits that kernel better than the old one is better off the mask, too
(expectation-maximisation for missing entries: Srebro and Jaakkola, "Weighted Low-Rank Approximations", ICML 2003,
section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import floor
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.factors.kernels.method import Factors, Inputs, Method, Ranks
from kerasurgeon.factors.kernels.residual_metrics import KernelError, Metric, OutputError
from kerasurgeon.factors.kernels.shape import Shape, compose
from kerasurgeon.sparsity.structures import Structure

Array = np.ndarray[Any, Any]

RESIDUALS = ("unstructured", "channel", "filter", "block")
"""Structures that a residual may have."""

_SWEEPS = 3


@runtime_checkable
class Improves(Protocol):
    """A method that can start from factors of a similar kernel: its ``with_residual`` is faster, and descends."""

    def improve(self, kernel: Array, factors: Factors, inputs: Inputs | None = None) -> Factors:
        """One step of an iteration that starts from given factors.

        Args:
            kernel: What is to be approximated, ``(groups, *sizes, inputs, outputs)``.
            factors: Of a similar kernel; their residual does not count.
            inputs: As for ``Method.prepare``.

        Returns:
            Factors of the same ranks that are at least as near to the kernel.
        """


def with_residual(
    method: Method,
    kernel: Array,
    shape: Shape,
    ranks: Ranks,
    *,
    sparsity: float,
    structure: Structure,
    inputs: Inputs | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    start: Factors | None = None,
) -> Factors:
    """Factorise a kernel into a chain and a sparse residual.

    With ``inputs`` the error of the layer's output counts: masked entries are then not exact but fitted, as inputs that
    go together can make up for each other. The mask takes what would gain most by itself, so that a step may go up;
    what is returned is the best on the way.

    Args:
        method: How the chain is made.
        kernel: ``(groups, *sizes, inputs, outputs)``.
        shape: Its shape.
        ranks: Ranks within the method's limits.
        sparsity: Share of the kernel's entries that the residual may keep, in [0, 1]: it keeps as many whole groups of
            the structure as fit in. With none there is no residual.
        structure: Which entries are kept together, one of ``RESIDUALS``.
        inputs: What the layer reads.
        iterations: How often the chain is fitted anew at most.
        tolerance: It stops when the error has fallen by less than this share of it.
        start: The factors to start from; by default what the method gives. The result is never worse than these with
            the residual that is best for them.

    Raises:
        OptionError: The structure cannot be had, the sparsity is no share.
    """
    check_residual(kernel.shape, structure, sparsity)
    factors = start if start is not None else method.prepare(kernel, shape, inputs).factors(ranks, sweeps=_SWEEPS)
    count = kept_groups(kernel.shape, structure, sparsity)
    if not count:
        return replace(factors, residual=None)
    metric: Metric = KernelError() if inputs is None else OutputError(inputs)
    best, least, before = factors, np.inf, np.inf
    for step in range(iterations + 1):
        chain = compose(factors.stages, factors.kernels)
        error = kernel - chain
        mask = _largest(metric.gains(error), structure, count)
        residual = metric.residual(error, mask).astype(kernel.dtype, copy=False)
        left = metric.lost(error - residual)
        if left < least:
            least = left
            best = replace(factors, residual=residual, bias=metric.bias(error - residual))
        if step == iterations or left == 0 or before - left <= 2 * tolerance * left:
            break
        before = left
        # On the mask of a residual without inputs, this is the chain's own kernel.
        wanted = kernel - residual
        if isinstance(method, Improves):
            factors = method.improve(wanted, factors, inputs)
        else:
            factors = method.prepare(wanted, shape, inputs).factors(ranks)
    return best


def residual_mask(error: Array, structure: Structure, sparsity: float) -> Array:
    """Where a residual is to stand.

    Args:
        error: What is wrong with each entry, ``(*positions, inputs, outputs)``.
        structure: Which entries are kept together.
        sparsity: Share of the entries that may be kept, in [0, 1].

    Returns:
        ``True`` for the groups with the largest sums of squares: of all masks with this share, the one that leaves the
        least squared error.

    Raises:
        OptionError: As for ``with_residual``.
    """
    check_residual(error.shape, structure, sparsity)
    return _largest(np.square(error), structure, kept_groups(error.shape, structure, sparsity))


def residual_errors(error: Array, structure: Structure, sparsities: Sequence[float] | Array) -> Array:
    """The squared error that is left beside a residual, for many sparsities at once.

    Args:
        error: What is wrong with each entry, ``(*positions, inputs, outputs)``.
        structure: Which entries are kept together.
        sparsities: Shares of the entries that may be kept, each in [0, 1].

    Returns:
        One number per sparsity: what ``residual_mask`` leaves.

    Raises:
        OptionError: As for ``with_residual``.
    """
    for sparsity in sparsities:
        check_residual(error.shape, structure, sparsity)
    groups = np.sort(structure.scores(np.square(error)), axis=None)
    # Summed from the small end, so that what is left of a good fit does not drown in the rounding of the whole.
    left = np.concatenate([[0.0], np.cumsum(groups, dtype=np.float64)]) * (error.size / groups.size)
    counts = np.array([kept_groups(error.shape, structure, sparsity) for sparsity in sparsities], int)
    return np.asarray(left[groups.size - counts])


def kept_groups(shape: Sequence[int], structure: Structure, sparsity: float) -> int:
    """How many groups of a structure a share of a kernel's entries makes up at most."""
    *_, inputs, outputs = shape
    high, wide = structure.block or {"channel": (inputs, 1), "filter": (1, outputs)}.get(structure.name, (1, 1))
    # 0.29 * 100 is 28.999...: a share that was meant to be whole is not to lose a group.
    return floor(sparsity * (int(np.prod(shape)) // (high * wide)) * (1 + 1e-12))


def check_residual(shape: Sequence[int], structure: Structure, sparsity: float) -> None:
    """Refuse a residual that a kernel cannot have.

    Raises:
        OptionError: The structure is none of ``RESIDUALS`` or does not go into the kernel; the sparsity is no share.
    """
    if structure.name not in RESIDUALS:
        expected = ", ".join(map(repr, RESIDUALS))
        raise OptionError(f"A residual cannot have the structure {structure.name!r}.", expected=expected)
    refusal = structure.refusal(shape)
    if refusal:
        raise OptionError(f"The kernel cannot have such a residual: {refusal}.", got=f"shape {tuple(shape)}")
    if not 0 <= sparsity <= 1:
        raise OptionError(f"sparsity={sparsity!r} is no share of a residual's entries.", expected="a number in [0, 1]")


def _largest(importance: Array, structure: Structure, count: int) -> Array:
    scores = structure.scores(importance)
    mask = np.zeros(scores.size, bool)
    if count:
        mask[np.argpartition(scores, scores.size - count, axis=None)[scores.size - count :]] = True
    return structure.expand(mask.reshape(scores.shape), importance.shape)


__all__ = [
    "RESIDUALS",
    "Improves",
    "check_residual",
    "kept_groups",
    "residual_errors",
    "residual_mask",
    "with_residual",
]
