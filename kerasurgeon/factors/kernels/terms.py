"""What the methods with a single rank have in common: sums of terms, the most important first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks, rank_for_energy, tails
from kerasurgeon.factors.kernels.method import Factors, Method, Ranks
from kerasurgeon.factors.kernels.shape import Shape, compose

Array = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, slots=True)
class Series:
    """A kernel whose factorisation of rank r is the first r terms of one series: computed once, good for every rank.

    Attributes:
        method: The method.
        shape: The kernel's shape.
        kernel: The kernel.
        energies: What each term takes from the squared error, all groups together; their sum is the squared norm.
        build: The kernels of the stages at a rank.
        noise: The rank by variational Bayesian matrix factorisation.
        mean: Means of the patches ``(groups, taps * inputs)`` that are to go through unchanged, or ``None``.
    """

    method: Method
    shape: Shape
    kernel: Array
    energies: Array
    build: Callable[[int], tuple[Array, ...]]
    noise: Callable[[], int]
    mean: Array | None = None

    @property
    def squared_norm(self) -> float:
        """What squared errors are measured against."""
        return float(np.sum(self.energies))

    def squared_errors(self, ranks: Array) -> Array:
        """Squared errors at ranks ``(candidates, 1)``, exact."""
        wanted = np.asarray(ranks)
        check_ranks(self.method.name, self.method.rank_names, list(wanted.T), self.method.limits(self.shape))
        return np.asarray(tails(self.energies)[wanted[:, 0]])

    def for_energy(self, energy: float) -> Ranks:
        """The smallest rank that keeps this share of the squared norm."""
        return (rank_for_energy(self.energies, energy),)

    def for_noise(self) -> Ranks:
        """The rank by variational Bayesian matrix factorisation."""
        return (self.noise(),)

    def factors(self, ranks: Ranks, *, sweeps: int = 1) -> Factors:
        """The factorisation at a rank; it is a closed form, so that ``sweeps`` has no meaning.

        Raises:
            OptionError: The rank is out of range.
        """
        return finished(self.method, self.shape, ranks, self.kernel, lambda: self.build(ranks[0] or 0), self.mean)


def finished(
    method: Method,
    shape: Shape,
    ranks: Ranks,
    kernel: Array,
    build: Callable[[], tuple[Array, ...]],
    mean: Array | None,
) -> Factors:
    """Factors with checked ranks, and with the bias that keeps the output's mean where that of the input is known.

    Args:
        method: The method.
        shape: The kernel's shape.
        ranks: The ranks.
        kernel: The kernel.
        build: Makes the kernels of the stages.
        mean: Means of the patches ``(groups, taps * inputs)``, or ``None``.

    Raises:
        OptionError: A rank is out of range.
    """
    stages = method.stages(shape, ranks)  # checks the ranks
    kernels = build()
    bias = None
    if mean is not None:
        missed = (kernel - compose(stages, kernels)).reshape(shape.groups, -1, shape.outputs)
        bias = np.einsum("gd,gdn->gn", mean, missed).reshape(-1)
    return Factors(shape, method.name, tuple(ranks), stages, kernels, bias=bias)


__all__ = ["Series", "finished"]
