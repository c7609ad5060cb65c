"""Kernels as a 1x1 convolution, a depthwise one and another 1x1 convolution; tensorly does the decomposition."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from kerasurgeon.errors import missing_extra
from kerasurgeon.factors.kernels.linear_algebra import check_ranks, spectrum, squared_norm, working_copy
from kerasurgeon.factors.kernels.method import Factors, Inputs, Method, Prepared, Ranks
from kerasurgeon.factors.kernels.modes import ChannelModes
from kerasurgeon.factors.kernels.separable import depthwise_refusal
from kerasurgeon.factors.kernels.shape import Shape, Stage, compose
from kerasurgeon.factors.kernels.terms import finished
from kerasurgeon.factors.kernels.weighted import patches, regularised_roots, unwhitened

Array = np.ndarray[Any, Any]

# At tensorly's own 100 iterations and 1e-8 most kernels stop at the number of iterations as well.
_ITERATIONS = 100
_TOLERANCE = 1e-7
_SEED = 0
_PENALTY = 1e-9

Triple = tuple[Array, Array, Array]
"""Factors of one group: inputs ``(c, r)``, positions ``(taps, r)``, outputs ``(n, r)``."""


@final
@dataclass(frozen=True, slots=True)
class Cp:
    """Canonical polyadic decomposition with all positions as one mode, by alternating least squares.

    Neither the rank at which a kernel is met exactly nor the best factors of a lower one can be computed: this
    iterates, and takes seconds for large kernels at each rank that is asked for. Needs tensorly: the extra ``cp``.

    Lebedev, Ganin, Rakhuba, Oseledets and Lempitsky, "Speeding-up convolutional neural networks using fine-tuned
    CP-decomposition", ICLR 2015, section 3; Kolda and Bader, "Tensor decompositions and applications", SIAM Review 51,
    2009, section 3.4.
    """

    @property
    def name(self) -> str:
        """``"cp"``."""
        return "cp"

    @property
    def rank_names(self) -> tuple[str, ...]:
        """One rank: the channels of the depthwise convolution."""
        return ("rank",)

    def refusal(self, shape: Shape) -> str:
        """Why not; empty if it can."""
        return depthwise_refusal(shape)

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """A rank at which every kernel of this shape is met exactly: the smallest product of two of its sides."""
        taps, inputs, outputs = shape.taps, shape.inputs, shape.outputs
        return (min(taps * inputs, taps * outputs, inputs * outputs),)

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain ``in``, ``depthwise``, ``out``.

        Raises:
            OptionError: The rank is out of range.
        """
        check_ranks(self.name, self.rank_names, ranks, self.limits(shape))
        return (
            Stage("in", (), shape.inputs, ranks[0]),
            Stage("depthwise", shape.axes, ranks[0], ranks[0], depthwise=True),
            Stage("out", (), ranks[0], shape.outputs),
        )

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Take the kernel of every group; all groups have one rank. Nothing is computed before it is asked for.

        With inputs the kernel is whitened by the channels' covariance, and the last factor fitted under that of the
        patches.

        Raises:
            MissingExtraError: tensorly is not installed.
        """
        return _Kernel(self, working_copy(kernel), shape, inputs, _parafac())


@final
class _Kernel:
    """A kernel and its decompositions so far."""

    def __init__(
        self, method: Method, kernel: Array, shape: Shape, inputs: Inputs | None, parafac: Callable[..., Any]
    ) -> None:
        self._method, self._shape, self._parafac = method, shape, parafac
        self._kernel = kernel if inputs is None else kernel.astype(np.float64)
        self._stack = self._kernel.reshape(shape.groups, shape.taps, shape.inputs, shape.outputs)
        self._mean = None if inputs is None else inputs.mean
        self._covariance = None if inputs is None else patches(inputs, shape)
        self._root = None if inputs is None else regularised_roots(inputs.channels)
        self._known: dict[int, tuple[Array, ...]] = {}

    @cached_property
    def squared_norm(self) -> float:
        """What squared errors are measured against."""
        return self._squared(self._kernel)

    def squared_errors(self, ranks: Array) -> Array:
        """Squared errors at ranks ``(candidates, 1)``, exact. Slow: decomposes the kernel at each rank not yet seen."""
        wanted = np.asarray(ranks)
        names, limits = self._method.rank_names, self._method.limits(self._shape)
        check_ranks(self._method.name, names, list(wanted.T), limits)
        return np.array([self._error(int(rank)) for rank in wanted[:, 0]])

    def for_energy(self, energy: float) -> Ranks:
        """The smallest rank found that keeps this share of the squared norm. Slow: tries about ten."""
        allowed = (1.0 - energy) * self.squared_norm
        low, high = 0, 1
        limit = self._method.limits(self._shape)[0]
        while high < limit and self._error(high) > allowed:
            low, high = high, min(2 * high, limit)
        while high - low > max(1, low // 32):
            middle = (low + high) // 2
            low, high = (low, middle) if self._error(middle) <= allowed else (middle, high)
        return (high,)

    def for_noise(self) -> Ranks:
        """The larger of the ranks of the two channel modes, by variational Bayesian matrix factorisation.

        No decomposition of lower rank can have so much signal in that mode.
        """
        stack = self._whitened()
        modes = ChannelModes(self._method, stack.reshape(self._kernel.shape), self._shape)
        found = [rank for rank in modes.for_noise() if rank is not None]
        return (min(max(found), self._method.limits(self._shape)[0]),)

    def factors(self, ranks: Ranks, *, sweeps: int = 1) -> Factors:
        """The factorisation at a rank; ``sweeps`` has no meaning: the iteration runs until it stands still.

        Raises:
            OptionError: The rank is out of range.
        """
        return finished(
            self._method, self._shape, ranks, self._kernel, lambda: self._kernels(ranks[0] or 0), self._mean
        )

    def _error(self, rank: int) -> float:
        stages = self._method.stages(self._shape, (rank,))
        return self._squared(self._kernel - compose(stages, self._kernels(rank)))

    def _squared(self, kernel: Array) -> float:
        if self._covariance is None:
            return squared_norm(kernel)
        flat = kernel.reshape(self._shape.groups, -1, self._shape.outputs)
        return float(np.sum(flat * (self._covariance @ flat)))

    def _whitened(self) -> Array:
        return self._stack if self._root is None else self._root.swapaxes(-1, -2)[:, None] @ self._stack

    def _kernels(self, rank: int) -> tuple[Array, ...]:
        if rank not in self._known:
            self._known[rank] = self._decomposed(rank)
        return self._known[rank]

    def _decomposed(self, rank: int) -> tuple[Array, ...]:
        shape = self._shape
        if rank == self._method.limits(shape)[0]:
            triples = [_exact(stack) for stack in self._stack]
        else:
            triples = [self._iterated(stack, rank) for stack in self._stack]
            if self._root is not None:
                # From here the iteration may end in a worse place than from the kernel itself.
                whitened = [self._iterated(stack, rank) for stack in self._whitened()]
                triples = [self._fitted(*both) for both in enumerate(zip(triples, whitened, strict=True))]
        first, middle, last = (np.stack(part) for part in zip(*map(_balanced, triples), strict=True))
        places = (1,) * len(shape.sizes)
        return (
            first.reshape(shape.groups, *places, shape.inputs, rank),
            middle.reshape(shape.groups, *shape.sizes, rank, 1),
            np.ascontiguousarray(last.swapaxes(-1, -2)).reshape(shape.groups, *places, rank, shape.outputs),
        )

    def _iterated(self, stack: Array, rank: int) -> Triple:
        if not stack.any():
            positions, inputs, outputs = (np.zeros((side, rank), stack.dtype) for side in stack.shape)
            return inputs, positions, outputs
        scale = float(np.linalg.norm(stack))
        try:
            return self._parafac_of(stack, scale, rank, 0.0)
        except np.linalg.LinAlgError:
            # More terms than the kernel has in it: nothing decides between them but a penalty on large ones.
            return self._parafac_of(stack.astype(np.float64), scale, rank, _PENALTY)

    def _parafac_of(self, stack: Array, scale: float, rank: int, penalty: float) -> Triple:
        stack = stack / scale
        start = (np.ones(rank, stack.dtype), [_leading(stack, mode, rank) for mode in range(3)])
        found = self._parafac(stack, rank, init=start, n_iter_max=_ITERATIONS, tol=_TOLERANCE, l2_reg=penalty)
        positions, inputs, outputs = found.factors
        if not all(np.isfinite(factor).all() for factor in found.factors):
            raise np.linalg.LinAlgError("alternating least squares has lost its way")
        return inputs * (found.weights * scale), positions, outputs

    def _fitted(self, group: int, either: tuple[Triple, Triple]) -> Triple:
        """The better of a decomposition of the kernel and one of it whitened, outputs fitted to the patches in both."""
        assert self._root is not None
        assert self._covariance is not None
        covariance, flat = self._covariance[group], self._stack[group].reshape(-1, self._shape.outputs)
        plain, whitened = either
        back = unwhitened(self._root[group : group + 1], whitened[0][None])[0]
        found = []
        for inputs, positions in ((plain[0], plain[1]), (back, whitened[1])):
            design = (positions[:, None] * inputs).reshape(-1, inputs.shape[1])
            reached = covariance @ design
            # Terms of such decompositions may nearly coincide: no Cholesky here.
            outputs = np.linalg.lstsq(design.T @ reached, reached.T @ flat, rcond=1e-12)[0]
            missed = flat - design @ outputs
            found.append((float(np.sum(missed * (covariance @ missed))), (inputs, positions, outputs.T)))
        return min(found, key=lambda pair: pair[0])[1]


def _exact(stack: Array) -> Triple:
    """A decomposition ``(taps, c, n)`` without error: every fibre of the mode that makes for the fewest is a term."""
    taps, inputs, outputs = stack.shape
    eye = [np.eye(side, dtype=stack.dtype) for side in stack.shape]
    sides = {taps * inputs: 2, taps * outputs: 1, inputs * outputs: 0}
    free = sides[min(sides)]
    one, other = (mode for mode in range(3) if mode != free)
    factors: list[Array] = [np.empty(0)] * 3
    factors[one] = np.repeat(eye[one], stack.shape[other], axis=1)
    factors[other] = np.tile(eye[other], (1, stack.shape[one]))
    factors[free] = np.moveaxis(stack, free, 0).reshape(stack.shape[free], -1)
    return factors[1], factors[0], factors[2]


def _leading(stack: Array, mode: int, rank: int) -> Array:
    """The leading singular vectors of an unfolding, and random columns after them where it has fewer than the rank."""
    unfolded = np.moveaxis(stack, mode, 0).reshape(stack.shape[mode], -1)
    vectors = spectrum(unfolded @ unfolded.T).vectors[:, :rank]
    more = np.random.default_rng(_SEED + mode).standard_normal((stack.shape[mode], rank - vectors.shape[1]))
    return np.concatenate([vectors, more.astype(stack.dtype)], axis=1)


def _balanced(triple: Triple) -> Triple:
    """The same terms, each with factors of equal norm."""
    norms = np.stack([np.linalg.norm(factor, axis=0) for factor in triple])
    scale = np.cbrt(norms.prod(axis=0)) / np.where(norms > 0, norms, 1.0)
    first, middle, last = (factor * row for factor, row in zip(triple, scale, strict=True))
    return first, middle, last


def _parafac() -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = importlib.import_module("tensorly.decomposition").parafac
    except ImportError as error:
        raise missing_extra("tensorly", "cp", "method cp") from error
    return found


__all__ = ["Cp"]
