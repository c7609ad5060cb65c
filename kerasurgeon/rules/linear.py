"""What a layer with kernels computes before its activation: which axes of which weights are read and made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.positions import Window

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One weight that what comes in is multiplied by.

    Attributes:
        key: Path of the weight.
        reads: The axes that are summed over with what comes in, counted from the end.
        makes: The axes that stand for what comes out, counted from the end; of a depthwise kernel the multiplier.
        groups: How many groups of channels do not meet; ``reads`` counts those of one group, ``makes`` all.
        depthwise: Whether every channel that is read gives channels of its own, ``makes`` of them.
    """

    key: str
    reads: Axes = (-2,)
    makes: Axes = (-1,)
    groups: int = 1
    depthwise: bool = False

    def seen(self, array: Array) -> Array:
        """The weight as ``(*positions, in, out)``; seen twice it is as it was."""
        return np.swapaxes(array, -1, -2) if (self.reads, self.makes) == ((-1,), (-2,)) else array


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A layer that sums products of its one operand with kernels, adds a bias, and applies its activation.

    Attributes:
        kernels: The kernels, in the order in which they work: one, or two of a separable convolution.
        by_channel: Whether what is read and what is made are the channels along one axis of operand and result.
        channels_first: Whether that axis is 1; it is else the last.
        window: What it reads along the spatial axes; ``None`` of a layer that works at each position alone.
        sums_over: Where it is not ``by_channel``: the axes of the operand that it sums over.
        new_bias: Entries of the config that give a layer without a bias one; ``None`` if it can have none.
        bias: Path of the bias, whether it is there or not.
    """

    kernels: tuple[Kernel, ...]
    by_channel: bool = True
    channels_first: bool = False
    window: Window | None = None
    sums_over: Axes = ()
    new_bias: Mapping[str, Any] | None = field(default_factory=lambda: {"use_bias": True})
    bias: str = "bias"

    @property
    def single(self) -> Kernel | None:
        """The only kernel, if there is one that is not depthwise."""
        return self.kernels[0] if len(self.kernels) == 1 and not self.kernels[0].depthwise else None

    @property
    def by_patches(self) -> bool:
        """Whether it multiplies patches of the operand by a matrix, one per group: Dense, and plain convolutions."""
        return self.by_channel and self.single is not None and not self.transposed

    @property
    def even(self) -> bool:
        """Whether a constant gives the same everywhere: padding makes a border."""
        return self.window is None or self.window.even

    @property
    def depthwise(self) -> bool:
        """Whether channels are not summed over."""
        return all(kernel.depthwise for kernel in self.kernels)

    @property
    def separable(self) -> bool:
        """Whether it is a depthwise convolution with one over channels behind it."""
        return len(self.kernels) > 1

    @property
    def pointwise(self) -> bool:
        """Whether every output position is computed from the input position at its place alone."""
        return self.window is None or all(size == 1 for size in self.window.size)

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return self.window is not None and self.window.transposed

    def axis(self, rank: int) -> int:
        """Which axis of operand and result holds the channels."""
        return 1 if self.channels_first else rank - 1

    def summed_axes(self, rank: int) -> set[int]:
        """The axes of the operand that are summed over."""
        return {self.axis(rank)} if self.by_channel else {axis % rank for axis in self.sums_over}


def plain_weights(layer: Layer, *kernels: str) -> None:
    """Refuse a layer that computes with more than some kernels and a bias.

    Raises:
        CannotTell: It has an adapter, is quantised, or lacks a kernel.
    """
    others = sorted(set(layer.weights) - {*kernels, "bias"})
    if others:
        raise CannotTell(f"it computes with more than a kernel and a bias: {', '.join(others)}")
    for key in kernels:
        if key not in layer.weights:
            raise CannotTell(f"it has no {key}")
        if layer.weights[key].array.dtype.kind in "iub":
            raise CannotTell("its kernel is quantised")
