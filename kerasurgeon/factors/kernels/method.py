"""What a way to factorise kernels must offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np

from kerasurgeon.factors.kernels.shape import Shape, Stage, compose

Array = np.ndarray[Any, Any]

Ranks = tuple[int | None, ...]
"""One rank for every name in ``Method.rank_names``; ``None`` leaves that mode whole, without a stage of its own."""


@final
@dataclass(frozen=True, slots=True)
class Factors:
    """A factorised kernel.

    Attributes:
        shape: What was factorised.
        method: Name of the method.
        ranks: Its ranks.
        stages: The chain of layers.
        kernels: Their kernels, as ``compose`` takes them.
        residual: What is added to the chain's kernel, ``(groups, *sizes, inputs, outputs)``, mostly zeros; or ``None``.
        bias: What is added to the layer's bias, one number per output channel of all groups, or ``None``.
    """

    shape: Shape
    method: str
    ranks: Ranks
    stages: tuple[Stage, ...]
    kernels: tuple[Array, ...]
    residual: Array | None = None
    bias: Array | None = None

    def reconstruct(self) -> Array:
        """The kernel that chain and residual stand for, ``(groups, *sizes, inputs, outputs)``."""
        kernel = compose(self.stages, self.kernels)
        return kernel if self.residual is None else kernel + self.residual

    @property
    def kept(self) -> int:
        """Entries of the residual that are not zero."""
        return 0 if self.residual is None else int(np.count_nonzero(self.residual))


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """What a layer reads, as data shows it: weighs the error of its kernel by that of its output.

    Attributes:
        mean: Means of the patches ``(groups, taps * inputs)``, positions first.
        covariance: Their covariances ``(groups, taps * inputs, taps * inputs)``.
        channels: Covariances of the channels, all positions together ``(groups, inputs, inputs)``.
    """

    mean: Array
    covariance: Array
    channels: Array = field(repr=False)


class Prepared(Protocol):
    """A kernel with what all of its factorisations have in common already computed."""

    @property
    def squared_norm(self) -> float:
        """What squared errors are measured against."""

    def squared_errors(self, ranks: Array) -> Array:
        """Squared errors at many ranks, without factorising: exact, or an estimate from above.

        Args:
            ranks: ``(candidates, ranks of one)``, whole numbers; a rank that is full costs nothing.

        Returns:
            One number per candidate.
        """

    def for_energy(self, energy: float) -> Ranks:
        """The smallest ranks that keep this share of the squared singular values, mode by mode."""

    def for_noise(self) -> Ranks:
        """The ranks by variational Bayesian matrix factorisation of the unfoldings, mode by mode."""

    def factors(self, ranks: Ranks, *, sweeps: int = 1) -> Factors:
        """The factorisation at some ranks.

        Args:
            ranks: Ranks within the limits.
            sweeps: Sweeps of an iteration that starts from the closed form, for methods that have one.
        """


class Method(Protocol):
    """A way to factorise kernels."""

    @property
    def name(self) -> str:
        """What options call it."""

    @property
    def rank_names(self) -> tuple[str, ...]:
        """What its ranks are called in reports."""

    def refusal(self, shape: Shape) -> str:
        """Why a kernel of this shape cannot be factorised so; empty if it can."""

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """The largest rank of each: there the factorisation is exact."""

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain of layers at some ranks: numbers, ``None``, or arrays of numbers."""

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Look at a kernel ``(groups, *sizes, inputs, outputs)``.

        Args:
            kernel: Its entries, in float32 or float64.
            shape: Its shape.
            inputs: What the layer reads, to minimise the error of its output; else that of the kernel is.
        """


__all__ = ["Factors", "Inputs", "Method", "Prepared", "Ranks"]
