"""Tucker-2 decomposition that minimises the error of the layer's output."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks, rank_for_energy, spectrum, squared_norm
from kerasurgeon.factors.kernels.method import Factors, Inputs, Method, Ranks
from kerasurgeon.factors.kernels.modes import ChannelModes, chain_kernels, lost_outside
from kerasurgeon.factors.kernels.shape import Shape
from kerasurgeon.factors.kernels.terms import finished
from kerasurgeon.factors.kernels.weighted import Regression, patches, regularised_roots, unwhitened

Array = np.ndarray[Any, Any]


@final
class WeightedTucker:
    """A kernel with the covariance of what it reads.

    The input basis is that of the kernel whitened by the channels' covariance. Given its first r columns, core and
    output basis together are the best possible: the regression of the output on what the first stage gives, truncated
    to rank q by the eigenvectors of the explained covariance.

    Args:
        method: The method.
        shape: The kernel's shape.
        modes: The kernel without its inputs.
        inputs: What the layer reads.
    """

    def __init__(self, method: Method, shape: Shape, modes: ChannelModes, inputs: Inputs) -> None:
        self._method = method
        self._shape = shape
        self._modes = modes
        self._mean = inputs.mean
        self._covariance = patches(inputs, shape)
        self._flat = modes.kernel.astype(np.float64).reshape(shape.groups, -1, shape.outputs)
        root = regularised_roots(inputs.channels)
        stack = modes.kernel.reshape(shape.groups, shape.taps, shape.inputs, shape.outputs)
        self._whitened = ChannelModes(method, root.swapaxes(-1, -2)[:, None] @ stack.astype(np.float64), shape)
        self._root = root

    @cached_property
    def _crossed(self) -> Array:
        """Covariances of the patches and the outputs ``(groups, taps * inputs, outputs)``."""
        return np.asarray(self._covariance @ self._flat)

    @cached_property
    def _output_gram(self) -> Array:
        """Covariances of the outputs ``(groups, outputs, outputs)``."""
        return np.asarray(self._flat.swapaxes(-1, -2) @ self._crossed)

    @cached_property
    def squared_norm(self) -> float:
        """The variance of the output, all channels together."""
        return float(np.trace(self._output_gram, axis1=-2, axis2=-1).sum())

    @cached_property
    def _nested(self) -> Regression:
        """Columns ordered by the input basis, with its positions together: the first r of it are a design of rank r."""
        return self._regression(self._first(self._shape.inputs))

    @cached_property
    def _lost(self) -> Array:
        # With the output basis of the whole kernel at every rank_in: that of each would lose less.
        scores = self._nested.explained @ spectrum(self._output_gram).vectors
        energies = np.square(scores).reshape(self._shape.groups, self._shape.inputs, self._shape.taps, -1)
        return lost_outside(energies.sum(axis=(0, 2)))

    def squared_errors(self, ranks: Array) -> Array:
        """Squared errors of the output at ranks ``(candidates, 2)``, estimated from above."""
        wanted = np.asarray(ranks)
        check_ranks(self._method.name, self._method.rank_names, list(wanted.T), self._method.limits(self._shape))
        return np.asarray(self._lost[wanted[:, 0], wanted[:, 1]])

    def for_energy(self, energy: float) -> Ranks:
        """The smallest ranks that keep this share of the output's variance, mode by mode."""
        inner = self._whitened.inputs.values.sum(axis=0)
        outer = spectrum(self._output_gram).values.sum(axis=0)
        return rank_for_energy(inner, energy), rank_for_energy(outer, energy)

    def for_noise(self) -> Ranks:
        """The ranks by variational Bayesian matrix factorisation of the whitened kernel's unfoldings."""
        return self._whitened.for_noise()

    def factors(self, ranks: Ranks, *, sweeps: int = 1) -> Factors:
        """Truncate the modes.

        Args:
            ranks: For inputs and outputs; ``None`` leaves a mode whole.
            sweeps: Sweeps without inputs, for the factors that these must not be worse than.

        Raises:
            OptionError: A rank is out of range.
        """
        return finished(
            self._method, self._shape, ranks, self._modes.kernel, lambda: self._build(ranks, sweeps), self._mean
        )

    def _build(self, ranks: Ranks, sweeps: int) -> tuple[Array, ...]:
        rank_in, rank_out = ranks
        if rank_in is None:
            # Nothing to regress on: the best core is the kernel itself, and the best basis that of the outputs.
            basis = None if rank_out is None else _leading(self._output_gram, rank_out)
            whole = self._stacked(self._flat)
            return self._chain(None, whole if basis is None else whole @ basis[:, None], basis)
        first = self._first(rank_in)
        # That of all ranks costs eight times that of half of them, but is there once errors have been asked for.
        regression = self._nested if "_nested" in self.__dict__ else self._regression(first)
        core, basis, error = self._fitted(first, regression, rank_out)
        plain = self._modes.bases(ranks, sweeps)
        if self._plain_error(*plain) < error:
            assert plain[0] is not None
            first = plain[0].astype(np.float64)
            core, basis, _ = self._fitted(first, self._regression(first), rank_out)
        return self._chain(first, core, basis)

    def _first(self, rank: int) -> Array:
        """The kernel of the first stage ``(groups, inputs, rank)``."""
        return unwhitened(self._root, self._whitened.inputs.vectors[..., :rank])

    def _regression(self, first: Array) -> Regression:
        groups, inputs, rank = first.shape

        def apply(stack: Array) -> Array:
            split = stack.reshape(groups, self._shape.taps, inputs, -1).swapaxes(1, 2)
            mixed = first.swapaxes(-1, -2) @ split.reshape(groups, inputs, -1)
            return np.asarray(mixed.reshape(groups, rank * self._shape.taps, -1))

        return Regression(self._covariance, self._crossed, apply)

    def _fitted(self, first: Array, regression: Regression, rank_out: int | None) -> tuple[Array, Array | None, float]:
        """The best core ``(groups, taps, rank_in, rank_out)`` and output basis for a first stage, and their error."""
        groups, _, rank = first.shape
        columns = rank * self._shape.taps
        explained, basis = regression.explained[:, :columns], None
        if rank_out is not None:
            basis = _leading(explained.swapaxes(-1, -2) @ explained, rank_out)
        core = regression.coefficients(columns, basis).reshape(groups, rank, self._shape.taps, -1)
        taken = squared_norm(explained if basis is None else explained @ basis)
        return core.swapaxes(1, 2), basis, self.squared_norm - taken

    def _stacked(self, flat: Array) -> Array:
        shape = self._shape
        return flat.reshape(shape.groups, shape.taps, shape.inputs, -1)

    def _plain_error(self, u_in: Array | None, u_out: Array | None) -> float:
        """The squared error of the output with the kernel projected onto orthonormal bases."""
        kept = self._stacked(self._flat)
        for basis, left in ((u_in, True), (u_out, False)):
            if basis is not None:
                projection = (basis @ basis.swapaxes(-1, -2))[:, None]
                kept = projection @ kept if left else kept @ projection
        missed = self._flat - kept.reshape(self._flat.shape)
        return float(np.sum(missed * (self._covariance @ missed)))

    def _chain(self, first: Array | None, core: Array, basis: Array | None) -> tuple[Array, ...]:
        return chain_kernels(self._shape, first, core, None if basis is None else basis.swapaxes(-1, -2))


def _leading(gram: Array, rank: int) -> Array:
    return np.ascontiguousarray(spectrum(gram).vectors[..., :rank])


__all__ = ["WeightedTucker"]
