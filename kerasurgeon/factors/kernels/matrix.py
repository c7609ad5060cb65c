"""Kernels with one position as products of two matrices: 1x1 convolutions and Dense layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks, ranked_terms, working_copy
from kerasurgeon.factors.kernels.method import Inputs, Prepared
from kerasurgeon.factors.kernels.shape import Shape, Stage
from kerasurgeon.factors.kernels.terms import Series
from kerasurgeon.factors.kernels.vbmf import noise_rank
from kerasurgeon.factors.kernels.weighted import patch_roots, unwhitened

Array = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, slots=True)
class Svd:
    """The truncated singular value decomposition: the best there is, of the kernel and of the output alike.

    A layer that reads c channels and gives n becomes one that gives r and one that reads r. Strides stay where they
    save the most: on the first layer, of a transposed convolution on the last.

    Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1, 1936. With inputs:
    the kernel times the root of their covariance is truncated (reduced-rank regression; Izenman, Journal of
    Multivariate Analysis 5, 1975).
    """

    @property
    def name(self) -> str:
        """``"svd"``."""
        return "svd"

    @property
    def rank_names(self) -> tuple[str, ...]:
        """One rank."""
        return ("rank",)

    def refusal(self, shape: Shape) -> str:
        """Why not; empty if it can."""
        if shape.taps > 1:
            return f"its kernel has {shape.taps} positions, svd is for one: use tucker or spatial"
        return ""

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """The rank that a matrix of this shape may have."""
        return (min(shape.inputs, shape.outputs),)

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain ``in``, ``out``.

        Raises:
            OptionError: The rank is out of range.
        """
        check_ranks(self.name, self.rank_names, ranks, self.limits(shape))
        first, last = ((), shape.axes) if shape.transposed else (shape.axes, ())
        return Stage("in", first, shape.inputs, ranks[0]), Stage("out", last, ranks[0], shape.outputs)

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Decompose the kernel of every group; all groups have one rank."""
        kernel = working_copy(kernel)
        matrices = kernel.reshape(shape.groups, shape.inputs, shape.outputs)
        if inputs is None:
            terms = ranked_terms(matrices)
            left = terms.left
        else:
            root = patch_roots(inputs, shape)
            terms = ranked_terms(root.swapaxes(-1, -2) @ matrices)
            left = unwhitened(root, terms.left)
        places = (1,) * len(shape.sizes)

        def build(rank: int) -> tuple[Array, ...]:
            first, last = left[..., :rank], terms.right[:, :rank]
            return tuple(
                np.ascontiguousarray(part.reshape(shape.groups, *places, *part.shape[1:])) for part in (first, last)
            )

        return Series(
            self,
            shape,
            kernel,
            terms.energies.sum(axis=0),
            build,
            lambda: noise_rank(terms.energies, shape.inputs, shape.outputs),
            None if inputs is None else inputs.mean,
        )


__all__ = ["Svd"]
