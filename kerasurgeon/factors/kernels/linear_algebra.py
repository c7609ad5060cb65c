"""What the methods share: spectra by Gram matrices, terms of low rank, checks of ranks; for stacks of matrices.

The leading singular vectors of a matrix are the leading eigenvectors of its Gram matrix: for 512 channels and 3 x 3
positions a 512 x 512 matrix in place of a 512 x 4608 one. Groups are the first axis of a stack.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy.linalg import eigh

from kerasurgeon.errors import OptionError

Array = np.ndarray[Any, Any]

# Small kernels are factorised in float64: it costs nothing there. From here on it would cost twice the time, for the
# same error to six digits.
_FLOAT64_UP_TO = 128

# From where on scipy's driver is quicker than numpy's for whole stacks, and from where on a few eigenvectors are
# quicker found by themselves than with all others.
_ONE_BY_ONE_FROM = 64
_FEW_FROM = 512


@final
@dataclass(frozen=True, slots=True)
class Spectrum:
    """The eigenvalues of Gram matrices, largest first, and their eigenvectors as columns.

    The eigenvalues are the squared singular values of the matrices that the Gram matrices were made of.
    """

    values: Array
    vectors: Array


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """Matrices as sums of terms of rank 1, the most important first: the first r of them are the best of rank r.

    Attributes:
        left: A column per term ``(..., m, min(m, n))``.
        right: A row per term ``(..., min(m, n), n)``.
        energies: What each term takes from the squared norm ``(..., min(m, n))``: squared singular values.
    """

    left: Array
    right: Array
    energies: Array


def working_copy(kernel: Array) -> Array:
    """A kernel ``(groups, *sizes, inputs, outputs)`` in the precision to compute with: float32 if large, or float64."""
    small = max(kernel.shape[-2:]) <= _FLOAT64_UP_TO or kernel.dtype == np.float64
    return np.ascontiguousarray(kernel, np.float64 if small else np.float32)


def squared_norm(array: Array) -> float:
    """The sum of the squared entries, in float64."""
    return float(np.sum(np.square(array, dtype=np.float64)))


def spectrum(gram: Array) -> Spectrum:
    """Eigenvalues and eigenvectors of a stack of Gram matrices ``(..., m, m)``."""
    if gram.shape[-1] < _ONE_BY_ONE_FROM:
        values, vectors = np.linalg.eigh(gram)
    else:
        # By divide and conquer as numpy's, in half the time.
        found = [eigh(one, driver="evd", check_finite=False) for one in gram.reshape(-1, *gram.shape[-2:])]
        values, vectors = (
            np.stack(part).reshape(*gram.shape[:-2], *part[0].shape) for part in zip(*found, strict=True)
        )
    return Spectrum(np.maximum(values[..., ::-1], 0.0), oriented(vectors[..., ::-1]))


def leading(gram: Array, rank: int) -> Array:
    """The first eigenvectors of a stack of Gram matrices ``(..., m, m)``, without the others: ``(..., m, rank)``."""
    size = gram.shape[-1]
    if size < _FEW_FROM or 4 * rank > size:
        return np.ascontiguousarray(spectrum(gram).vectors[..., :rank])
    few = (size - rank, size - 1)
    found = [
        eigh(one, driver="evr", subset_by_index=few, check_finite=False)[1]
        for one in gram.reshape(-1, *gram.shape[-2:])
    ]
    return oriented(np.stack(found).reshape(*gram.shape[:-1], rank)[..., ::-1])


def oriented(vectors: Array) -> Array:
    """Columns with signs such that the largest entry of each is positive: equal kernels then have equal factors."""
    largest = np.abs(vectors).argmax(axis=-2, keepdims=True)
    signs = np.where(np.take_along_axis(vectors, largest, axis=-2) < 0, -1, 1)
    return np.ascontiguousarray(vectors * signs.astype(vectors.dtype))


def ranked_terms(matrices: Array) -> Terms:
    """Singular value decompositions of a stack ``(..., m, n)``, by the Gram matrices of the smaller side."""
    if matrices.shape[-2] <= matrices.shape[-1]:
        left = spectrum(matrices @ matrices.swapaxes(-1, -2)).vectors
        right = left.swapaxes(-1, -2) @ matrices
        energies = np.square(right, dtype=np.float64).sum(axis=-1)
    else:
        basis = spectrum(matrices.swapaxes(-1, -2) @ matrices).vectors
        left, right = matrices @ basis, basis.swapaxes(-1, -2)
        energies = np.square(left, dtype=np.float64).sum(axis=-2)
    # By the projections and not by the eigenvalues: these are off by rounding times the largest of them.
    return Terms(left, right, energies)


def tails(energies: Array) -> Array:
    """What is lost at each rank from 0: the sums of all energies from that one on, and a last 0."""
    # Summed from the small end: what is lost may be far below the rounding of the whole sum.
    return np.append(np.cumsum(energies[::-1], dtype=np.float64)[::-1], 0.0)


def rank_for_energy(energies: Array, energy: float) -> int:
    """The smallest rank that keeps a share of the squared singular values.

    Args:
        energies: Squared singular values, largest first.
        energy: Share to keep, in (0, 1].
    """
    lost = tails(energies)
    return max(1, int(np.argmax(lost <= (1.0 - energy) * lost[0])))


def check_ranks(
    method: str, names: Sequence[str], ranks: Any, limits: Sequence[int], *, optional: bool = False
) -> None:
    """Raise an error unless there is one rank for each name, a whole number from 1 to its limit.

    Args:
        method: Who asks.
        names: What the ranks are called.
        ranks: Numbers, or arrays of numbers.
        limits: The largest rank of each.
        optional: Whether ``None`` may take the place of a rank.

    Raises:
        OptionError: A rank is missing, or not a whole number, or out of range.
    """
    if not isinstance(ranks, (tuple, list)) or len(ranks) != len(names):
        raise OptionError(f"{method}: the ranks do not fit.", expected=f"a tuple ({', '.join(names)})", got=repr(ranks))
    for name, rank, limit in zip(names, ranks, limits, strict=True):
        if rank is None and optional:
            continue
        numbers = np.asarray(rank)
        if numbers.dtype.kind not in "iu" or not ((numbers >= 1) & (numbers <= limit)).all():
            raise OptionError(
                f"{method}: {name} cannot be used.",
                expected=f"a whole number from 1 to {limit}" + (", or None" if optional else ""),
                got=repr(rank),
            )


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, where threadpoolctl is there to tell it so.

    NOTE: the matrices here are too small for more. Two OpenBLAS threads take 2 to 4 times as long as one on two idle
    cores, and 20 times on two busy ones, where they wait for each other. Threads over kernels do not help either.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        yield
        return
    # The limit is one for all of Python's threads: the first block that opens sets it, the last to end takes it away.
    with _LIMIT_LOCK:
        if not _LIMITS:
            _LIMITS.append(threadpoolctl.threadpool_limits(limits=1, user_api="blas"))
        else:
            _LIMITS.append(_LIMITS[0])
    try:
        yield
    finally:
        with _LIMIT_LOCK:
            limit = _LIMITS.pop()
            if not _LIMITS:
                limit.restore_original_limits()


_LIMITS: list[Any] = []
_LIMIT_LOCK = threading.Lock()


__all__ = [
    "Spectrum",
    "Terms",
    "check_ranks",
    "leading",
    "one_blas_thread",
    "oriented",
    "rank_for_energy",
    "ranked_terms",
    "spectrum",
    "squared_norm",
    "tails",
    "working_copy",
]
