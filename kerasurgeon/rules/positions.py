"""What a layer does along the spatial axes: between the batch and the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Ints = tuple[int, ...]
Sides = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Each:
    """Every position of the result is computed from the positions at its place."""


@dataclass(frozen=True, slots=True)
class Window:
    """Every position of the result is computed from a window: convolutions and poolings. One number per spatial axis.

    Attributes:
        size: Taps.
        strides: Positions from one window to the next.
        dilation: Positions from one tap to the next.
        padding: ``"valid"``, ``"same"`` or ``"causal"``.
        takes: What becomes of the positions of a window: a weighted sum, their mean or their maximum.
        transposed: Whether it is the other way round: every position read gives a window of the result.
    """

    size: Ints
    strides: Ints
    dilation: Ints
    padding: str
    takes: Literal["sum", "mean", "max"] = "sum"
    transposed: bool = False

    @property
    def even(self) -> bool:
        """Whether all results are computed alike: no window reaches into padding."""
        if all(size == 1 for size in self.size):
            return not self.transposed or all(stride == 1 for stride in self.strides)
        return not self.transposed and self.padding == "valid"


@dataclass(frozen=True, slots=True)
class Border:
    """Zeros are put around, or positions cut off: in front and behind, per spatial axis.

    Attributes:
        sides: How many.
        key: The entry of the config that says so: ``"padding"`` or ``"cropping"``.
    """

    sides: Sides
    key: str

    @property
    def cuts(self) -> bool:
        """Whether positions are cut off."""
        return self.key == "cropping"


@dataclass(frozen=True, slots=True)
class Gone:
    """The positions are gone, or mixed: global poolings, reductions, adaptive poolings.

    Attributes:
        takes: What a channel becomes: the mean or the maximum over all positions, or something else.
    """

    takes: Literal["mean", "max", "other"] = "other"


@dataclass(frozen=True, slots=True)
class Enlarged:
    """Every position becomes several, per spatial axis."""

    factors: Ints


@dataclass(frozen=True, slots=True)
class Resized:
    """The result has a grid of its own, whatever that of the operand: resizing."""


Positions: TypeAlias = Each | Window | Border | Gone | Enlarged | Resized
