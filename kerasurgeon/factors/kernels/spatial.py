"""Kernels as a convolution along one axis and one along the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks, ranked_terms, spectrum, working_copy
from kerasurgeon.factors.kernels.method import Inputs, Prepared
from kerasurgeon.factors.kernels.shape import Shape, Stage
from kerasurgeon.factors.kernels.terms import Series
from kerasurgeon.factors.kernels.vbmf import noise_rank
from kerasurgeon.factors.kernels.weighted import Regression, patches, roots, unwhitened

Array = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, slots=True)
class Spatial:
    """A k x 1 convolution and a 1 x k one (in three dimensions 1 x k x k), with few channels between them.

    The first takes the first axis that has more than one position. The factorisation is a truncated singular value
    decomposition of the kernel unfolded to (k inputs) x (k outputs), so that it is the best of its kind.

    Jaderberg, Vedaldi and Zisserman, "Speeding up convolutional neural networks with low rank expansions", BMVC 2014,
    scheme 2, section 2.1.
    """

    @property
    def name(self) -> str:
        """``"spatial"``."""
        return "spatial"

    @property
    def rank_names(self) -> tuple[str, ...]:
        """One rank: the channels between the two."""
        return ("rank",)

    def refusal(self, shape: Shape) -> str:
        """Why not; empty if it can."""
        if sum(size > 1 for size in shape.sizes) < 2:
            other = "svd" if shape.taps == 1 else "tucker"
            return f"its kernel has fewer than two axes with more than one position: use {other}"
        return ""

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """The rank that the unfolding may have."""
        first = shape.sizes[_first_axis(shape)]
        return (min(first * shape.inputs, shape.taps // first * shape.outputs),)

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain ``vertical``, ``horizontal``.

        Raises:
            OptionError: The rank is out of range.
        """
        check_ranks(self.name, self.rank_names, ranks, self.limits(shape))
        first = _first_axis(shape)
        rest = tuple(axis for axis in shape.axes if axis != first)
        return Stage("vertical", (first,), shape.inputs, ranks[0]), Stage("horizontal", rest, ranks[0], shape.outputs)

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Decompose the unfolding of every group; all groups have one rank.

        With inputs the unfolding is whitened by the covariance of what the first convolution reads, averaged over its
        positions along the other axes; the second convolution is then fitted under the covariance of the patches.
        """
        kernel = working_copy(kernel)
        parts = _Parts(shape)
        if inputs is None:
            terms = ranked_terms(parts.unfolded(kernel))
            left, energies = terms.left, terms.energies

            def last(rank: int) -> Array:
                return terms.right[:, :rank].reshape(shape.groups, rank, parts.rest, shape.outputs)

        else:
            kernel = kernel.astype(np.float64)
            covariance = patches(inputs, shape)
            root = roots(parts.seen_by_first(covariance))
            whitened = root.swapaxes(-1, -2) @ parts.unfolded(kernel)
            found = spectrum(whitened @ whitened.swapaxes(-1, -2))
            limit = self.limits(shape)[0]
            left = unwhitened(root, found.vectors[..., :limit])
            flat = kernel.reshape(shape.groups, -1, shape.outputs)
            regression = Regression(covariance, covariance @ flat, lambda stack: parts.after_first(left, stack))
            explained = np.square(regression.explained).sum(axis=-1)
            energies = explained.reshape(shape.groups, limit, parts.rest).sum(axis=-1)

            def last(rank: int) -> Array:
                return regression.coefficients(rank * parts.rest).reshape(shape.groups, rank, parts.rest, -1)

        def build(rank: int) -> tuple[Array, ...]:
            first = left[..., :rank].reshape(shape.groups, *parts.first_sizes, shape.inputs, rank)
            second = last(rank).swapaxes(1, 2).reshape(shape.groups, *parts.rest_sizes, rank, shape.outputs)
            return np.ascontiguousarray(first), np.ascontiguousarray(second)

        def noise() -> int:
            rows, columns = parts.first * shape.inputs, parts.rest * shape.outputs
            return noise_rank(energies, rows, columns)

        mean = None if inputs is None else inputs.mean
        return Series(self, shape, kernel, energies.sum(axis=0), build, noise, mean)


@final
class _Parts:
    """The axes of a kernel, taken apart. All axes before the first one with size have none: order does not change."""

    def __init__(self, shape: Shape) -> None:
        axis = _first_axis(shape)
        self.groups, self.inputs = shape.groups, shape.inputs
        self.first = shape.sizes[axis]
        self.rest = shape.taps // self.first
        self.first_sizes = tuple(size if other == axis else 1 for other, size in enumerate(shape.sizes))
        self.rest_sizes = tuple(1 if other == axis else size for other, size in enumerate(shape.sizes))

    def unfolded(self, kernel: Array) -> Array:
        """``(groups, first * inputs, rest * outputs)``."""
        split = kernel.reshape(self.groups, self.first, self.rest, self.inputs, -1).swapaxes(2, 3)
        return np.ascontiguousarray(split).reshape(self.groups, self.first * self.inputs, -1)

    def seen_by_first(self, covariance: Array) -> Array:
        """Covariances of what the first convolution reads, averaged over where it stands along the other axes."""
        one = (self.first, self.rest, self.inputs)
        size = self.first * self.inputs
        seen = np.einsum("gabcdbe->gacde", covariance.reshape(self.groups, *one, *one)) / self.rest
        return np.asarray(seen.reshape(self.groups, size, size))

    def after_first(self, left: Array, stack: Array) -> Array:
        """What the first convolution makes of ``(groups, taps * inputs, m)``: ``(groups, rank * rest, m)``."""
        reached = left.swapaxes(-1, -2) @ self.unfolded(stack)
        return np.asarray(reached.reshape(self.groups, left.shape[-1] * self.rest, -1))


def _first_axis(shape: Shape) -> int:
    return next(axis for axis, size in enumerate(shape.sizes) if size > 1)


__all__ = ["Spatial"]
