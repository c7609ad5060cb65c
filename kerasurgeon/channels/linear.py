"""Layers that are one sum over channels (or, depthwise, a product per channel): what they make of constant channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.convolution import channel_axis

Array = np.ndarray[Any, Any]

_CONVOLUTIONS = {"Conv1D", "Conv2D", "Conv3D"}
_TRANSPOSED = {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}
_DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
_SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
_LAST_AXIS = re.compile(r"([a-zA-Z]*(?:\.\.\.)?[a-zA-Z]*)([a-zA-Z]),\2([a-zA-Z])->\1\3")


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
    kind, config = layer.kind, layer.config
    if not set(layer.weights) <= {"kernel", "depthwise_kernel", "pointwise_kernel", "bias"}:
        return None
    bias = layer.array("bias")
    bias = None if bias is None else bias.astype(np.float64)
    if kind == "Dense":
        return Linear(*_matrices(_kernel(layer)), bias, True, -1)
    if kind == "EinsumDense":
        letters = last_axis_letters(layer)
        if letters is None or (bias is not None and config["bias_axes"] != letters[1]):
            return None
        return Linear(*_matrices(_kernel(layer)), bias, True, -1)
    if kind not in _CONVOLUTIONS | _TRANSPOSED | _DEPTHWISE | _SEPARABLE:
        return None
    axis = channel_axis(config)
    points = all(size == 1 for size in config["kernel_size"])
    even = points or config["padding"] == "valid"
    if kind in _TRANSPOSED:
        even = points and all(stride == 1 for stride in _several(config["strides"]))
        return Linear(*_matrices(np.swapaxes(_kernel(layer), -1, -2)), bias, even, axis)
    if kind in _DEPTHWISE:
        rows, sums = _matrices(_kernel(layer))
        return Linear(rows[0][:, None, :], sums[0][:, None, :], bias, even, axis, contracts=False)
    if kind in _SEPARABLE:
        return Linear(*_separable(layer), bias, even, axis)
    kernel, groups = _kernel(layer), int(config["groups"])
    rows, sums = _matrices(kernel)
    if groups > 1:
        rows, sums = (np.moveaxis(array[0].reshape(array.shape[1], groups, -1), 1, 0).copy() for array in (rows, sums))
    return Linear(rows, sums, bias, even, axis)


def last_axis_letters(layer: Layer) -> tuple[str, str] | None:
    """Of an EinsumDense over the last axis as Dense is, the letters of its kernel."""
    found = _LAST_AXIS.fullmatch(str(layer.config["equation"]).replace(" ", ""))
    return (found[2], found[3]) if found else None


def _kernel(layer: Layer, key: str = "kernel") -> Array:
    return layer.weights[key].array


def _several(entry: Any) -> tuple[int, ...]:
    return (entry,) if isinstance(entry, int) else tuple(entry)


def _matrices(kernel: Array) -> tuple[Array, Array]:
    positions = kernel.reshape(-1, *kernel.shape[-2:])
    return (positions != 0).any(axis=0)[None], positions.sum(axis=0, dtype=np.float64)[None]


def _separable(layer: Layer) -> tuple[Array, Array]:
    rows, sums = _matrices(_kernel(layer, "depthwise_kernel"))
    counts, weights = _matrices(_kernel(layer, "pointwise_kernel"))
    shape = (*rows.shape[1:], -1)
    made = (rows[0][:, :, None] & counts[0].reshape(shape)).any(axis=1)
    return made[None], np.einsum("cm,cmo->co", sums[0], weights[0].reshape(shape))[None]
