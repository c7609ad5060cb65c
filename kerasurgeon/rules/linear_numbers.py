"""Kernels and biases of linear layers, scaled and shifted: the arithmetic of folding. All in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer, sealed
from kerasurgeon.rules.linear import Kernel, LinearForm

Array = np.ndarray[Any, Any]


def kernel_of(layer: Layer, kernel: Kernel) -> Array:
    """A kernel as ``(*positions, in, out)``."""
    return kernel.seen(layer.weights[kernel.key].array.astype(np.float64))


def bias_of(layer: Layer, form: LinearForm) -> Array | float:
    """The bias; 0 where there is none."""
    bias = layer.array(form.bias)
    return 0.0 if bias is None else bias.astype(np.float64)


def summed_taps(kernel: Array) -> Array:
    """A kernel summed over its positions: ``(in, out)``."""
    return np.asarray(kernel.sum(axis=tuple(range(kernel.ndim - 2))))


def scaled_outputs(layer: Layer, form: LinearForm, scale: Array) -> dict[str, Array]:
    """The kernel of a layer that makes its channels, for outputs (without a bias) that are ``scale`` times as large."""
    last = form.kernels[-1]
    array = last.seen(layer.weights[last.key].array)
    factors = np.asarray(scale.reshape(array.shape[-2:]) if last.depthwise else scale, np.float64)
    if array.dtype != np.float32:
        return {last.key: last.seen(array.astype(np.float64) * factors)}
    # The products are of float64 here too, a few at a time, and rounded as they come.
    return {last.key: last.seen(sealed(np.multiply(array, factors, out=np.empty_like(array), casting="same_kind")))}


def scaled_inputs(layer: Layer, form: LinearForm, scale: Array, shift: Array) -> tuple[dict[str, Array], Array]:
    """The kernel of a layer that reads channels, for inputs ``scale`` times as small, and what ``shift`` gives.

    Args:
        layer: The layer.
        form: Its linear form.
        scale: ``(channels,)``.
        shift: ``(channels,)``: the second result is what inputs of this size, the same everywhere, add to each output
            where no window reaches into padding.
    """
    first = form.kernels[0]
    array = kernel_of(layer, first)
    if first.depthwise:
        added = summed_taps(array * shift[:, None]).reshape(-1)
        arrays = {first.key: first.seen(array * scale[:, None])}
        return arrays, added @ summed_taps(kernel_of(layer, form.kernels[1])) if form.separable else added
    inputs, outputs = array.shape[-2:]

    def met(vector: Array) -> Array:
        """The entries of a vector that meet each kernel entry: output o of group g reads inputs of group g only."""
        return np.repeat(vector.reshape(first.groups, inputs).T, outputs // first.groups, axis=1)

    return {first.key: first.seen(array * met(scale))}, summed_taps(array * met(shift)).sum(axis=0)


def with_numbers(layer: Layer, form: LinearForm, arrays: dict[str, Array], bias: Array) -> Layer:
    """The layer with other kernels and another bias, a new one if it has none, in its own precision."""
    if layer.array(form.bias) is None:
        assert form.new_bias is not None
        layer = layer.with_config(**form.new_bias)
    dtype = layer.weights[form.kernels[0].key].array.dtype
    return layer.with_weights(**arrays, **{form.bias: bias.astype(dtype)})
