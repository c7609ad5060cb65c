"""Tucker-2 decomposition of convolution kernels: the two channel modes only, by Gram matrices; numpy alone.

A kernel ``W[..., c, n]`` is approximated by ``G[..., r, q] U[c, r] V[n, q]`` with orthonormal columns in ``U`` and
``V``, and ``G`` the projection of ``W`` onto them. The leading singular vectors of a mode unfolding, which the
higher-order SVD starts from, are the leading eigenvectors of its Gram matrix: for 512 channels and 3 x 3 positions a
512 x 512 matrix in place of a 512 x 4608 one. One sweep of higher-order orthogonal iteration (HOOI) then takes most of
what is left to gain.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any, final

import numpy as np

Array = np.ndarray[Any, Any]

# Small kernels are decomposed in float64: it costs nothing there. From here on it would cost twice the time, for the
# same error to six digits.
_FLOAT64_UP_TO = 128


@final
@dataclass(frozen=True, slots=True)
class Tucker2:
    """A kernel as a core and the bases of its channel modes.

    Attributes:
        core: ``(..., r_in, r_out)``.
        u_in: Basis of the input channels ``(c_in, r_in)`` with orthonormal columns; ``None`` where the mode was left
            whole.
        u_out: Basis of the output channels ``(c_out, r_out)``, likewise.
        error: ``||W - W_hat|| / ||W||`` in the Frobenius norm.
    """

    core: Array
    u_in: Array | None
    u_out: Array | None
    error: float

    def reconstruct(self) -> Array:
        """The kernel that the factors stand for, ``(..., c_in, c_out)``."""
        kernel = self.core
        if self.u_in is not None:
            kernel = np.matmul(self.u_in, kernel)
        return kernel if self.u_out is None else np.matmul(kernel, self.u_out.T)


@final
@dataclass(frozen=True, slots=True)
class Spectrum:
    """The eigenvalues of a mode's Gram matrix, largest first, and their eigenvectors as columns.

    The eigenvalues are the squared singular values of the mode's unfolding.
    """

    values: Array
    vectors: Array


class ChannelModes:
    """A kernel seen along its input and its output channels. Spectra are computed when first asked for, and kept.

    Args:
        kernel: ``(*positions, c_in, c_out)``, with any number of position axes.
    """

    def __init__(self, kernel: Array) -> None:
        kernel = np.asarray(kernel)
        small = max(kernel.shape[-2:]) <= _FLOAT64_UP_TO or kernel.dtype == np.float64
        self._positions = kernel.shape[:-2]
        self._kernel = kernel.astype(np.float64 if small else np.float32).reshape(-1, *kernel.shape[-2:])
        self.squared_norm = squared_norm(self._kernel)

    @property
    def channels(self) -> tuple[int, int]:
        """How many input and output channels there are."""
        return self._kernel.shape[-2], self._kernel.shape[-1]

    @cached_property
    def inputs(self) -> Spectrum:
        """The spectrum of the input channels."""
        return _spectrum(_gram_in(self._kernel))

    @cached_property
    def outputs(self) -> Spectrum:
        """The spectrum of the output channels."""
        return _spectrum(_gram_out(self._kernel))

    def decompose(self, rank_in: int | None, rank_out: int | None, *, sweeps: int = 1) -> Tucker2:
        """Truncate the modes to the given ranks.

        Args:
            rank_in: Columns of the input basis; ``None`` leaves the mode whole.
            rank_out: Columns of the output basis, likewise.
            sweeps: Sweeps of HOOI after the truncated higher-order SVD. With one mode whole there is nothing to
                iterate: the truncated basis of the other is the best there is.

        Raises:
            ValueError: A rank is not between 1 and the number of channels.
        """
        for rank, channels in zip((rank_in, rank_out), self.channels, strict=True):
            if rank is not None and not 1 <= rank <= channels:
                raise ValueError(f"rank {rank} is not between 1 and {channels}, the number of channels")
        u_in, u_out = self._bases(rank_in, rank_out, sweeps)
        core = _project_out(_project_in(self._kernel, u_in), u_out)
        # The bases are orthonormal, so that ||W - W_hat||^2 = ||W||^2 - ||G||^2; rounding may take it below 0.
        lost = max(0.0, self.squared_norm - squared_norm(core))
        error = (lost / self.squared_norm) ** 0.5 if self.squared_norm else 0.0
        return Tucker2(core.reshape(*self._positions, *core.shape[-2:]), u_in, u_out, error)

    def _bases(self, rank_in: int | None, rank_out: int | None, sweeps: int) -> tuple[Array | None, Array | None]:
        if rank_in is None or rank_out is None or sweeps == 0:
            u_in = None if rank_in is None else _leading(self.inputs, rank_in)
            return u_in, None if rank_out is None else _leading(self.outputs, rank_out)
        # De Lathauwer et al. 2000, algorithm of section 4.2: each basis in turn from the kernel projected onto the
        # other. A sweep begins with the inputs, so that their own spectrum is not needed to start it.
        u_out = _leading(self.outputs, rank_out)
        for _ in range(sweeps):
            u_in = _leading(_spectrum(_gram_in(_project_out(self._kernel, u_out))), rank_in)
            u_out = _leading(_spectrum(_gram_out(_project_in(self._kernel, u_in))), rank_out)
        return u_in, u_out


def rank_for_energy(eigenvalues: Array, energy: float) -> int:
    """The smallest rank that keeps a share of the squared singular values.

    Args:
        eigenvalues: Squared singular values, largest first.
        energy: Share to keep, in (0, 1].
    """
    # Summed from the small end: 1 - energy may be far below the rounding of the whole sum.
    lost = np.append(np.cumsum(eigenvalues[::-1], dtype=np.float64)[::-1], 0.0)
    enough = lost <= (1.0 - energy) * lost[0]
    return max(1, int(np.argmax(enough)))


def largest_entries(array: Array, fraction: float) -> Array:
    """A copy of an array with all but its largest entries set to zero.

    Args:
        array: The array.
        fraction: Share of entries to keep, in (0, 1]; at least one is kept.
    """
    keep = ceil(fraction * array.size)
    flat = array.reshape(-1)
    kept = np.zeros_like(flat)
    if keep:
        where = np.argpartition(np.abs(flat), array.size - keep)[array.size - keep :]
        kept[where] = flat[where]
    return kept.reshape(array.shape)


def squared_norm(array: Array) -> float:
    """The sum of the squared entries, in float64."""
    return float(np.sum(np.square(array, dtype=np.float64)))


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
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield


def _spectrum(gram: Array) -> Spectrum:
    values, vectors = np.linalg.eigh(gram)
    return Spectrum(np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def _leading(spectrum: Spectrum, rank: int) -> Array:
    """The first eigenvectors; the largest entry of each is positive, so that equal kernels have equal factors."""
    vectors = spectrum.vectors[:, :rank]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(rank)] < 0, -1, 1).astype(vectors.dtype)
    return np.ascontiguousarray(vectors * signs)


def _gram_in(kernel: Array) -> Array:
    # One product of a matrix with its own transpose: BLAS does half the work for that, and copying is cheap.
    unfolded = np.ascontiguousarray(kernel.transpose(1, 0, 2)).reshape(kernel.shape[1], -1)
    return np.asarray(unfolded @ unfolded.T)


def _gram_out(kernel: Array) -> Array:
    unfolded = kernel.reshape(-1, kernel.shape[-1])
    return np.asarray(unfolded.T @ unfolded)


def _project_in(kernel: Array, basis: Array | None) -> Array:
    return kernel if basis is None else np.matmul(basis.T, kernel)


def _project_out(kernel: Array, basis: Array | None) -> Array:
    if basis is None:
        return kernel
    projected = kernel.reshape(prod(kernel.shape[:-1]), -1) @ basis
    return np.asarray(projected.reshape(*kernel.shape[:-1], -1))


__all__ = [
    "ChannelModes",
    "Spectrum",
    "Tucker2",
    "largest_entries",
    "one_blas_thread",
    "rank_for_energy",
    "squared_norm",
]
