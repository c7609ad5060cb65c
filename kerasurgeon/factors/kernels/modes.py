"""A kernel seen along its input and its output channels: spectra, projections, errors at all pairs of ranks."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import (
    Spectrum,
    check_ranks,
    leading,
    rank_for_energy,
    spectrum,
    squared_norm,
    working_copy,
)
from kerasurgeon.factors.kernels.method import Factors, Method, Ranks
from kerasurgeon.factors.kernels.shape import Shape
from kerasurgeon.factors.kernels.terms import finished
from kerasurgeon.factors.kernels.vbmf import noise_rank

Array = np.ndarray[Any, Any]


@final
class ChannelModes:
    """A kernel seen along its input and its output channels. Spectra are computed when first asked for, and kept.

    Args:
        method: The method.
        kernel: ``(groups, *sizes, inputs, outputs)``.
        shape: Its shape.
    """

    def __init__(self, method: Method, kernel: Array, shape: Shape) -> None:
        self._method = method
        self._shape = shape
        self.kernel = working_copy(kernel)
        self._stack = self.kernel.reshape(shape.groups, shape.taps, shape.inputs, shape.outputs)

    @cached_property
    def squared_norm(self) -> float:
        """The sum of the squared entries."""
        return squared_norm(self._stack)

    @cached_property
    def inputs(self) -> Spectrum:
        """The spectra of the input channels, group by group."""
        return spectrum(_gram_in(self._stack))

    @cached_property
    def outputs(self) -> Spectrum:
        """The spectra of the output channels, group by group."""
        return spectrum(_gram_out(self._stack))

    @cached_property
    def _lost(self) -> Array:
        """Squared errors of the truncated HOSVD at all ranks from 0: ``(inputs + 1, outputs + 1)``."""
        whole = _project_out(_project_in(self._stack, self.inputs.vectors), self.outputs.vectors)
        return lost_outside(np.square(whole, dtype=np.float64).sum(axis=(0, 1)))

    def squared_errors(self, ranks: Array) -> Array:
        """Squared errors of the truncated HOSVD at ranks ``(candidates, 2)``, exact; sweeps make them smaller."""
        wanted = np.asarray(ranks)
        check_ranks(self._method.name, self._method.rank_names, list(wanted.T), self._method.limits(self._shape))
        return np.asarray(self._lost[wanted[:, 0], wanted[:, 1]])

    def for_energy(self, energy: float) -> Ranks:
        """The smallest ranks that keep this share of the squared singular values of each unfolding."""
        # The groups have one rank, so their energies are taken together.
        modes = (self.inputs, self.outputs)
        return tuple(rank_for_energy(mode.values.sum(axis=0), energy) for mode in modes)

    def for_noise(self) -> Ranks:
        """The ranks by variational Bayesian matrix factorisation of each unfolding."""
        shape = self._shape
        return (
            noise_rank(self.inputs.values, shape.inputs, shape.taps * shape.outputs),
            noise_rank(self.outputs.values, shape.outputs, shape.taps * shape.inputs),
        )

    def factors(self, ranks: Ranks, *, sweeps: int = 1) -> Factors:
        """Truncate the modes.

        Args:
            ranks: For inputs and outputs; ``None`` leaves a mode whole.
            sweeps: Sweeps of HOOI after the truncated HOSVD. With one mode whole there is nothing to iterate: the
                truncated basis of the other is the best there is.

        Raises:
            OptionError: A rank is out of range.
        """
        return finished(self._method, self._shape, ranks, self.kernel, lambda: self._build(ranks, sweeps), None)

    def bases(self, ranks: Ranks, sweeps: int) -> tuple[Array | None, Array | None]:
        """Orthonormal bases of the modes, ``(groups, channels, rank)``; ``None`` for a mode that is left whole."""
        u_in, _, u_out = self._reduced(ranks, sweeps)
        return u_in, u_out

    def _reduced(self, ranks: Ranks, sweeps: int) -> tuple[Array | None, Array, Array | None]:
        """The bases, and between them the kernel projected onto that of the inputs."""
        rank_in, rank_out = ranks
        if rank_in is None or rank_out is None or sweeps == 0:
            u_in = None if rank_in is None else _leading(self.inputs, rank_in)
            u_out = None if rank_out is None else _leading(self.outputs, rank_out)
            return u_in, _project_in(self._stack, u_in), u_out
        # De Lathauwer et al.: each basis in turn from the kernel projected onto the other. A sweep begins with the
        # inputs, so that their own spectrum is not needed to start it.
        u_out = _leading(self.outputs, rank_out)
        for _ in range(sweeps):
            u_in = leading(_gram_in(_project_out(self._stack, u_out)), rank_in)
            reduced = _project_in(self._stack, u_in)
            u_out = leading(_gram_out(reduced), rank_out)
        return u_in, reduced, u_out

    def improved(self, factors: Factors) -> Factors:
        """A sweep that starts from the factors of a similar kernel; the error to this one does not rise.

        The bases turn by a step of orthogonal iteration each, for which a product and a QR factorisation take the place
        of an eigenvalue problem.

        Args:
            factors: Of Tucker, for a kernel of this shape.
        """
        if None in factors.ranks:
            return self.factors(factors.ranks)
        groups, inputs, outputs = self._shape.groups, self._shape.inputs, self._shape.outputs
        u_in = factors.kernels[0].reshape(groups, inputs, -1).astype(self._stack.dtype, copy=False)
        u_out = factors.kernels[-1].reshape(groups, -1, outputs).astype(self._stack.dtype, copy=False)

        def build() -> tuple[Array, ...]:
            # Factors by way of data do not have orthonormal bases.
            last = np.linalg.qr(u_out.swapaxes(-1, -2))[0]
            first = _turned(_rows_in(_project_out(self._stack, last)), np.linalg.qr(u_in)[0])
            reduced = _project_in(self._stack, first)
            last = _turned(reduced.reshape(groups, -1, outputs).swapaxes(-1, -2), last)
            core = _project_out(reduced, last)
            return chain_kernels(self._shape, first, core, last.swapaxes(-1, -2))

        return finished(self._method, self._shape, factors.ranks, self.kernel, build, None)

    def _build(self, ranks: Ranks, sweeps: int) -> tuple[Array, ...]:
        u_in, reduced, u_out = self._reduced(ranks, sweeps)
        core = _project_out(reduced, u_out)
        return chain_kernels(self._shape, u_in, core, None if u_out is None else u_out.swapaxes(-1, -2))


def chain_kernels(shape: Shape, first: Array | None, core: Array, last: Array | None) -> tuple[Array, ...]:
    """The kernels of the stages from ``(groups, c, r)``, ``(groups, taps, r, q)`` and ``(groups, q, n)``."""
    places = (1,) * len(shape.sizes)
    stages = [] if first is None else [first.reshape(shape.groups, *places, *first.shape[1:])]
    stages.append(core.reshape(shape.groups, *shape.sizes, *core.shape[2:]))
    if last is not None:
        stages.append(last.reshape(shape.groups, *places, *last.shape[1:]))
    return tuple(np.ascontiguousarray(stage) for stage in stages)


def lost_outside(energies: Array) -> Array:
    """Sums of all entries of a table outside of its first r rows and q columns, for all r and q from 0."""
    rows, columns = energies.shape
    # From the far corner: what is lost may be far below the rounding of the whole sum.
    below = np.zeros((rows + 1, columns + 1))
    below[:rows, :columns] = energies[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    # Rows from r on, and of the rows before r the columns from q on.
    return np.asarray(below[:, :1] + below[:1, :] - below)


def _leading(spectra: Spectrum, rank: int) -> Array:
    return np.ascontiguousarray(spectra.vectors[..., :rank])


def _gram_in(stack: Array) -> Array:
    # One product of a matrix with its own transpose: BLAS does half the work for that, and copying is cheap.
    unfolded = _rows_in(stack)
    return np.asarray(unfolded @ unfolded.swapaxes(-1, -2))


def _rows_in(stack: Array) -> Array:
    """A row per input channel."""
    return np.ascontiguousarray(stack.swapaxes(1, 2)).reshape(stack.shape[0], stack.shape[2], -1)


def _turned(rows: Array, basis: Array) -> Array:
    """An orthonormal basis of the columns nearer to the leading left singular vectors of a matrix than a given one."""
    return np.linalg.qr(rows @ (rows.swapaxes(-1, -2) @ basis))[0]


def _gram_out(stack: Array) -> Array:
    unfolded = stack.reshape(stack.shape[0], -1, stack.shape[-1])
    return np.asarray(unfolded.swapaxes(-1, -2) @ unfolded)


def _project_in(stack: Array, basis: Array | None) -> Array:
    return stack if basis is None else np.matmul(basis.swapaxes(-1, -2)[:, None], stack)


def _project_out(stack: Array, basis: Array | None) -> Array:
    if basis is None:
        return stack
    projected = stack.reshape(stack.shape[0], -1, stack.shape[-1]) @ basis
    return np.asarray(projected.reshape(*stack.shape[:-1], -1))


__all__ = ["ChannelModes", "chain_kernels", "lost_outside"]
