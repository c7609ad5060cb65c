"""Layers that are one sum over channels (or, depthwise, a product per channel): what they make of constant channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.asking import channel_form

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A layer as matrices from channels to channels, one for each group.

    Attributes:
        rows: ``(groups, in, out)``: whether a channel counts at all in a result.
        sums: ``(groups, in, out)``: the kernel summed over its positions, in float64.
        bias: In float64, or ``None``.
        even: Whether a constant gives the same everywhere. Zero padding makes a border.
        axis: Where the channels are: 1 or -1.
        contracts: Whether it sums over channels; a depthwise convolution does not.
    """

    rows: Array
    sums: Array
    bias: Array | None
    even: bool
    axis: int
    contracts: bool = True

    @property
    def reads(self) -> int:
        """How many channels go in."""
        return int(self.rows.shape[0] * self.rows.shape[1])

    def counted(self, inputs: Array) -> Array:
        """Whether any of some input channels counts, for every output channel."""
        grouped = inputs.reshape(self.rows.shape[0], -1)
        return np.asarray((self.rows & grouped[:, :, None]).any(axis=1).ravel())

    def counts(self, outputs: Array) -> Array:
        """Whether an input channel counts in any of some output channels, for every input channel."""
        grouped = outputs.reshape(self.rows.shape[0], -1)
        return np.asarray((self.rows & grouped[:, None, :]).any(axis=2).ravel())

    def response(self, constants: Array) -> Array:
        """What constant input channels add to every output channel."""
        grouped = constants.reshape(self.rows.shape[0], -1)
        return np.asarray(np.einsum("gi,gio->go", grouped, self.sums).ravel())


def linear(layer: Layer) -> Linear | None:
    """The matrices of a layer, ``None`` if it is no such layer."""
    form = channel_form(layer)
    if form is None:
        return None
    bias = layer.array(form.bias)
    bias = None if bias is None else bias.astype(np.float64)
    axis = 1 if form.channels_first else -1
    arrays = [kernel.seen(layer.weights[kernel.key].array) for kernel in form.kernels]
    if form.separable:
        return Linear(*_separable(*arrays), bias, form.even, axis)
    rows, sums = _matrices(arrays[0])
    if form.depthwise:
        return Linear(rows[0][:, None, :], sums[0][:, None, :], bias, form.even, axis, contracts=False)
    groups = form.kernels[0].groups
    if groups > 1:
        rows, sums = (np.moveaxis(array[0].reshape(array.shape[1], groups, -1), 1, 0).copy() for array in (rows, sums))
    return Linear(rows, sums, bias, form.even, axis)


def _matrices(kernel: Array) -> tuple[Array, Array]:
    positions = kernel.reshape(-1, *kernel.shape[-2:])
    return (positions != 0).any(axis=0)[None], positions.sum(axis=0, dtype=np.float64)[None]


def _separable(depthwise: Array, pointwise: Array) -> tuple[Array, Array]:
    rows, sums = _matrices(depthwise)
    counts, weights = _matrices(pointwise)
    shape = (*rows.shape[1:], -1)
    made = (rows[0][:, :, None] & counts[0].reshape(shape)).any(axis=1)
    return made[None], np.einsum("cm,cmo->co", sums[0], weights[0].reshape(shape))[None]
