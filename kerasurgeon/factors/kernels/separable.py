"""Kernels as depthwise convolutions with a 1x1 convolution behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks, ranked_terms, spectrum, working_copy
from kerasurgeon.factors.kernels.method import Inputs, Prepared
from kerasurgeon.factors.kernels.shape import Shape, Stage
from kerasurgeon.factors.kernels.terms import Series
from kerasurgeon.factors.kernels.vbmf import noise_rank
from kerasurgeon.factors.kernels.weighted import Regression, patches, roots

Array = np.ndarray[Any, Any]


def depthwise_refusal(shape: Shape) -> str:
    """Why no depthwise layer can take the positions of a kernel; empty if one can."""
    if shape.taps == 1:
        return "its kernel has one position: use svd"
    if shape.transposed:
        return "it is a transposed convolution, and there are no transposed depthwise layers: use tucker or spatial"
    if len(shape.sizes) > 2:
        return "it has three axes, and depthwise layers have at most two: use tucker or spatial"
    return ""


@final
@dataclass(frozen=True, slots=True)
class Separable:
    """A depthwise convolution that gives r channels for each one that it reads, and a 1x1 convolution.

    The positions x outputs slice of every input channel is replaced by the best of rank r, so that the whole is the
    best of its kind. Rank 1 makes a separable convolution.

    Guo, Li, Lin, Chen and Li, "Network decoupling: from regular to depthwise separable convolutions", BMVC 2018,
    section 3.
    """

    @property
    def name(self) -> str:
        """``"separable"``."""
        return "separable"

    @property
    def rank_names(self) -> tuple[str, ...]:
        """One rank: the depth multiplier."""
        return ("depth_multiplier",)

    def refusal(self, shape: Shape) -> str:
        """Why not; empty if it can."""
        if shape.groups > 1:
            return f"it has {shape.groups} groups, separable is for one: use tucker or spatial"
        return depthwise_refusal(shape)

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """The rank that a slice may have."""
        return (min(shape.taps, shape.outputs),)

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain ``depthwise``, ``pointwise``.

        Raises:
            OptionError: The rank is out of range.
        """
        check_ranks(self.name, self.rank_names, ranks, self.limits(shape))
        inner = shape.inputs * ranks[0]
        return (
            Stage("depthwise", shape.axes, shape.inputs, inner, depthwise=True),
            Stage("pointwise", (), inner, shape.outputs),
        )

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Decompose the slices.

        With inputs each slice is whitened by the covariance of its channel's positions; the 1x1 convolution is then
        fitted under the covariance of the patches.
        """
        kernel = working_copy(kernel)
        limit = self.limits(shape)[0]
        if inputs is None:
            terms = ranked_terms(_slices(kernel, shape))
            left, right, slice_energies = terms.left[0], terms.right[0], terms.energies[0]
            energies = slice_energies.sum(axis=0)

            def last(rank: int) -> Array:
                return np.asarray(right[:, :rank])

        else:
            kernel = kernel.astype(np.float64)
            covariance = patches(inputs, shape)
            root = roots(_within_channels(covariance, shape))
            whitened = root.swapaxes(-1, -2) @ _slices(kernel, shape)[0]
            found = spectrum(whitened @ whitened.swapaxes(-1, -2))
            slice_energies = found.values
            left = np.linalg.solve(root.swapaxes(-1, -2), found.vectors[..., :limit])

            def apply(stack: Array) -> Array:
                # Columns ordered by term, with the channels together: the first r terms are a design of rank r.
                reached = left.swapaxes(-1, -2) @ _slices(stack, shape)[0]
                return np.asarray(reached.swapaxes(0, 1).reshape(1, limit * shape.inputs, -1))

            flat = kernel.reshape(1, -1, shape.outputs)
            regression = Regression(covariance, covariance @ flat, apply)
            energies = np.square(regression.explained).reshape(limit, -1).sum(axis=-1)

            def last(rank: int) -> Array:
                fitted = regression.coefficients(rank * shape.inputs)
                return fitted.reshape(rank, shape.inputs, shape.outputs).swapaxes(0, 1)

        def build(rank: int) -> tuple[Array, ...]:
            first = left[..., :rank].swapaxes(0, 1).reshape(1, *shape.sizes, shape.inputs, rank)
            places = (1,) * len(shape.sizes)
            second = last(rank).reshape(1, *places, shape.inputs * rank, shape.outputs)
            return np.ascontiguousarray(first), np.ascontiguousarray(second)

        def noise() -> int:
            return noise_rank(slice_energies, shape.taps, shape.outputs)

        return Series(self, shape, kernel, energies, build, noise, None if inputs is None else inputs.mean)


def _slices(stack: Array, shape: Shape) -> Array:
    """The positions x outputs slices ``(1, inputs, taps, m)`` of ``(1, taps * inputs, m)``."""
    split = stack.reshape(1, shape.taps, shape.inputs, stack.shape[-1])
    return np.ascontiguousarray(split.swapaxes(1, 2))


def _within_channels(covariance: Array, shape: Shape) -> Array:
    """The covariances of each channel's positions ``(inputs, taps, taps)``."""
    one = (shape.taps, shape.inputs)
    return np.asarray(np.einsum("acbc->cab", covariance.reshape(*one, *one)))


__all__ = ["Separable", "depthwise_refusal"]
