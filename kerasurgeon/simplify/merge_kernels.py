"""The kernel of two linear layers in a row.

A layer with taps at ``i * d`` (``d`` its dilation) and stride ``s``, followed by one with taps at ``j * e``, reads its
input at ``i * d + j * e * s``: the composed kernel has a tap at each of these places, the sum over all pairs that meet
there of the products of their matrices. Strides multiply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer as numbers.

    Attributes:
        kernel: ``(taps per axis ..., inputs of a group, outputs)``; where ``depthwise``, ``(taps ..., inputs, outputs
            of an input)``.
        bias: ``(outputs,)``.
        strides: One per spatial axis.
        dilations: One per spatial axis.
        groups: In how many groups of channels it works; 1 where ``depthwise``.
        depthwise: Whether each input has outputs of its own.
    """

    kernel: Array
    bias: Array
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    depthwise: bool = False

    @property
    def taps(self) -> tuple[int, ...]:
        """Sizes of the kernel."""
        return tuple(self.kernel.shape[:-2])

    @property
    def outputs(self) -> int:
        """How many channels it gives."""
        inputs, outputs = self.kernel.shape[-2:]
        return int(inputs * outputs if self.depthwise else outputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one output position: the entries of the kernel."""
        return int(self.kernel.size)

    def dense(self) -> Linear:
        """The same as a layer in which every input may reach every output."""
        *taps, inputs, outputs = self.kernel.shape
        if self.depthwise:
            kernel = np.zeros((*taps, inputs, inputs, outputs))
            places = np.arange(inputs)
            kernel[..., places, places, :] = self.kernel
            kernel = kernel.reshape(*taps, inputs, inputs * outputs)
        elif self.groups > 1:
            kernel = np.zeros((*taps, inputs * self.groups, outputs))
            width = outputs // self.groups
            for group in range(self.groups):
                into = slice(group * width, (group + 1) * width)
                kernel[..., group * inputs : (group + 1) * inputs, into] = self.kernel[..., into]
        else:
            kernel = self.kernel
        return replace(self, kernel=kernel, groups=1, depthwise=False)


def composed(first: Linear, second: Linear) -> Linear:
    """What the second layer makes of what the first gives, where neither pads.

    Two depthwise layers give a depthwise one; any others one in which every input may reach every output.
    """
    if not (first.depthwise and second.depthwise):
        first, second = first.dense(), second.dense()
    offsets, dilations = [], []
    for axis in range(len(first.taps)):
        ones = [index * first.dilations[axis] for index in range(first.taps[axis])]
        others = [index * second.dilations[axis] * first.strides[axis] for index in range(second.taps[axis])]
        strided = first.strides[axis] * second.strides[axis] > 1  # Keras has no layer with a stride and a dilation
        step = 1 if strided else gcd(*ones, *others) or 1
        offsets.append(([place // step for place in ones], [place // step for place in others]))
        dilations.append(step)
    strides = tuple(one * other for one, other in zip(first.strides, second.strides, strict=True))
    if max(strides, default=1) > 1 and max(dilations, default=1) > 1:  # of different axes: spread the taps instead
        offsets = [
            ([place * step for place in ones], [place * step for place in others])
            for (ones, others), step in zip(offsets, dilations, strict=True)
        ]
        dilations = [1] * len(dilations)
    sizes = [ones[-1] + others[-1] + 1 for ones, others in offsets]
    shape = _product(first.kernel[(0,) * len(sizes)], second.kernel[(0,) * len(sizes)], first).shape
    kernel = np.zeros((*sizes, *shape))
    for one in product(*map(range, first.taps)):
        for other in product(*map(range, second.taps)):
            place = _sums(offsets, one, other)
            kernel[place] += _product(first.kernel[one], second.kernel[other], first)
    bias = second.bias + _passed(first.bias, second)
    return Linear(kernel, bias, strides, tuple(dilations), depthwise=first.depthwise)


def _sums(offsets: Sequence[tuple[list[int], list[int]]], one: tuple[int, ...], other: tuple[int, ...]) -> Any:
    return tuple(ones[here] + others[there] for (ones, others), here, there in zip(offsets, one, other, strict=True))


def _product(one: Array, other: Array, first: Linear) -> Array:
    """One tap of the one with one tap of the other."""
    if not first.depthwise:
        return np.asarray(one @ other)
    inputs, middle = one.shape
    return np.asarray((one[:, :, None] * other.reshape(inputs, middle, -1)).reshape(inputs, -1))


def _passed(bias: Array, second: Linear) -> Array:
    """What a constant in front of a layer adds to its outputs, where it does not pad."""
    summed = second.kernel.sum(axis=tuple(range(len(second.taps))))
    if second.depthwise:
        return np.asarray((bias[:, None] * summed).reshape(-1))
    return np.asarray(bias @ summed)


def macs_of_both(first: Linear, second: Linear) -> int:
    """Multiply-accumulates of two layers in a row, for one position that the second gives."""
    return prod(second.strides) * first.macs + second.macs


__all__ = ["Linear", "composed", "macs_of_both"]
