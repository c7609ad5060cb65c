"""A kernel's shape, and the chain of smaller layers that a factorisation makes of it: what each costs.

Kernels are seen in one form whatever layer they come from: ``(groups, *sizes, inputs, outputs)``, channels counted per
group; of a transposed convolution with its channel axes exchanged, of a Dense layer without position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any, final

import numpy as np

Array = np.ndarray[Any, Any]

Count = Any
"""A whole number, or an array of them: costs of many ranks are computed at once."""

Span = tuple[int, int]
"""Sizes of an axis before and after a layer."""


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a kernel that is to be factorised.

    Attributes:
        sizes: Its positions, axis by axis; empty for a Dense layer.
        inputs: Input channels of one group.
        outputs: Output channels of one group.
        groups: Number of groups.
        transposed: Whether it belongs to a transposed convolution.
    """

    sizes: tuple[int, ...]
    inputs: int
    outputs: int
    groups: int = 1
    transposed: bool = False

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return prod(self.sizes)

    @property
    def axes(self) -> tuple[int, ...]:
        """Numbers of all position axes."""
        return tuple(range(len(self.sizes)))

    @property
    def params(self) -> int:
        """Entries of the kernel."""
        return self.groups * self.taps * self.inputs * self.outputs

    def macs(self, spans: Sequence[Span]) -> int:
        """Multiply-accumulates of one call on one sample.

        Args:
            spans: For every position axis its size before and after the layer; of a Dense layer, of the axes between
                batch and channels.
        """
        return self.params * prod(before if self.transposed else after for before, after in spans)


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One layer of the chain that takes a kernel's place. All stages have the groups of the kernel.

    Attributes:
        role: What it is: its layer's name ends in it.
        axes: Position axes along which it has size, stride, dilation and padding of the original. Along the others it
            has one position and takes every one. No two stages of a chain have an axis in common.
        inputs: Input channels of one group.
        outputs: Output channels of one group; of a depthwise stage a multiple of the input channels.
        depthwise: Whether every input channel is convolved by itself.
    """

    role: str
    axes: tuple[int, ...]
    inputs: Count
    outputs: Count
    depthwise: bool = False


def stage_params(shape: Shape, stage: Stage) -> Count:
    """Entries of the kernel of one stage of a shape's factorisation."""
    taps = prod(shape.sizes[axis] for axis in stage.axes)
    return shape.groups * taps * stage.outputs * (1 if stage.depthwise else stage.inputs)


def chain_params(shape: Shape, stages: Sequence[Stage]) -> Count:
    """Entries of all kernels of a factorisation. Numbers of channels may be arrays."""
    return sum(stage_params(shape, stage) for stage in stages)


def chain_macs(shape: Shape, stages: Sequence[Stage], spans: Sequence[Span]) -> Count:
    """Multiply-accumulates of one call of a factorised layer on one sample. Numbers of channels may be arrays.

    Args:
        shape: What is factorised.
        stages: The chain.
        spans: As for ``Shape.macs``.
    """
    total, done = 0, set[int]()
    for stage in stages:
        now = set(stage.axes)
        # Which end of an axis counts: a convolution is computed per position that it gives, a transposed one per
        # position that it reads; along axes that a stage leaves alone, where they have got to.
        counted = prod(
            after if (axis in now and not shape.transposed) or axis in done else before
            for axis, (before, after) in enumerate(spans)
        )
        total += stage_params(shape, stage) * counted
        done |= now
    return total


def compose(stages: Sequence[Stage], kernels: Sequence[Array]) -> Array:
    """The kernel that a chain of stages computes with.

    Args:
        stages: The chain.
        kernels: Of each stage ``(groups, *sizes, inputs, outputs)``, with one position along the axes that are not its
            own; of a depthwise stage ``(groups, *sizes, channels, multiplier)``.

    Returns:
        ``(groups, *sizes, inputs, outputs)``.
    """

    # No axis belongs to two stages, so that their positions combine by broadcasting.
    def then(before: Array, step: tuple[Stage, Array]) -> Array:
        stage, kernel = step
        if not stage.depthwise:
            return np.asarray(np.matmul(before, kernel))
        products = before[..., None] * kernel[..., None, :, :]
        return np.asarray(products.reshape(*products.shape[:-2], -1))

    first, *rest = zip(stages, kernels, strict=True)
    start = first[1] if not first[0].depthwise else then(_identity(first[1]), first)
    return reduce(then, rest, start)


def _identity(kernel: Array) -> Array:
    channels = kernel.shape[-2]
    return np.eye(channels, dtype=kernel.dtype).reshape((1,) * (kernel.ndim - 2) + (channels, channels))


__all__ = [
    "Shape",
    "Span",
    "Stage",
    "chain_macs",
    "chain_params",
    "compose",
    "stage_params",
]
