"""Answers that rules give: how several tensors become one, how elements move, what is known of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kerasurgeon.ir.layer import Layer


@dataclass(frozen=True, slots=True)
class Sum:
    """A weighted sum of the operands.

    Attributes:
        factors: What each operand is multiplied by.
    """

    factors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """The product of the operands."""


@dataclass(frozen=True, slots=True)
class Join:
    """The operands one after the other.

    Attributes:
        axis: Along which axis; negative ones count from the end.
    """

    axis: int


Combination: TypeAlias = Sum | Product | Join


@dataclass(frozen=True, slots=True)
class Regrouped:
    """The same elements in the same order, in another shape.

    Attributes:
        by_count: Whether the result's shape follows from the number of elements alone.
        keeps_batch: Whether the batch is left alone, whatever the sizes.
    """

    by_count: bool
    keeps_batch: bool


@dataclass(frozen=True, slots=True)
class Permuted:
    """The axes in another order.

    Attributes:
        order: Which axis of the operand each axis of the result was.
        entry: The entry of the config that a new order goes to; ``None`` where the config cannot say every order.
        leading: How many leading axes that entry leaves out.
    """

    order: tuple[int, ...]
    entry: str | None = None
    leading: int = 0

    def config(self, order: tuple[int, ...]) -> Mapping[str, Any] | None:
        """What another order changes in the config; ``None`` where the config cannot say it."""
        if self.entry is None or order[: self.leading] != tuple(range(self.leading)):
            return None
        return {self.entry: order[self.leading :]}


@dataclass(frozen=True, slots=True)
class Moved:
    """Elements are put elsewhere, repeated, dropped, or zeros between them.

    Attributes:
        also: What it does beside a regrouping, where it is nearly one: "moves the channels ...".
    """

    also: str = ""


Movement: TypeAlias = Regrouped | Permuted | Moved


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """One number per channel times what comes in, plus another: a batch norm in inference.

    Attributes:
        scale: ``(channels,)``, in float64.
        shift: ``(channels,)``, in float64.
        axis: Where the channels are; negative axes count from the end.
        scale_key: Path of the weight that scales.
        shift_key: Path of the weight that is added last.
    """

    scale: Any
    shift: Any
    axis: int
    scale_key: str
    shift_key: str


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What comes in, divided by the root of its mean square over one axis, or of its variance.

    Attributes:
        axis: The axis; negative ones count from the end.
        epsilon: What is added to the mean square.
        centred: Whether the mean is taken away first.
        scale: Path of the weight that scales; of an op, its second operand does.
        shift: Path of the weight that is added last; of an op, its third operand is.
    """

    axis: int
    epsilon: float
    centred: bool
    scale: str = ""
    shift: str = ""


@dataclass(frozen=True, slots=True)
class Mixing:
    """A layer whose kernels alone meet channels: what it reads of them goes into sums, what it makes of them comes out.

    Attributes:
        reads: The kernels that sum over channels, each with the bias that what they give is added to.
        makes: Whether what it makes comes out of a kernel and a bias, with nothing behind them.
        even: Whether a constant that is read gives the same everywhere: padding makes a border.
        new_bias: Entries of the config that give a layer without a bias one; ``None`` if it can have none.
    """

    reads: Mapping[str, str]
    makes: bool
    even: bool = True
    new_bias: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What is known of a result whatever goes in: means and variances, in shapes that broadcast against it."""

    mean: Any
    variance: Any


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A recurrence over (batch, steps, features) as products.

    In every step it adds what it reads times one kernel to its state times another; both end in one block of units for
    each gate.

    Attributes:
        layer: The layer that makes the steps, with its weights: an LSTM, or one direction of a layer that has two.
        prefix: What stands before ``kernel``, ``recurrent_kernel`` and ``bias`` in the names of its weights.
        around: What stands before these in those of the layer around it; empty without one.
        gates: How many blocks the kernels have.
        apart: How many of them, the last ones, do something to one product before the other is added.
        backwards: Whether it begins with the last step.
    """

    layer: Layer
    prefix: str
    around: str
    gates: int
    apart: int
    backwards: bool
