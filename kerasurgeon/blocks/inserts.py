"""Blocks that can be inserted anywhere without changing what a network computes: residual branches that give zero.

The last batch norm of the branch begins with a gamma of zero, so that the sum is what enters. Training lets it grow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasurgeon.blocks.geometry import POLICIES, channel_axis
from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.samples import draw_array


def identity(spec: TensorSpec, data_format: str, seed: int) -> keras.Model:
    """One ``Identity`` layer: a place to hang something on."""
    inputs = keras.Input(batch_shape=spec.shape, dtype=spec.dtype)
    layer = keras.layers.Identity(name="identity", dtype=POLICIES.get(spec.dtype))
    return keras.Model(inputs, layer(inputs), name="identity")


def residual(spec: TensorSpec, data_format: str, seed: int) -> keras.Model:
    """A bottleneck: to a quarter of the channels, a window of three, back again; of vectors two Dense layers."""
    channels = _channels(spec, data_format)
    return _residual(spec, data_format, seed, inner=max(channels // 4, 1), depthwise=False)


def inverted_residual(spec: TensorSpec, data_format: str, seed: int) -> keras.Model:
    """An inverted bottleneck of images: to four times the channels, a depthwise window of three, back again."""
    if len(spec.shape) != 4:
        raise GraphError("An inverted residual is made for images.", expected="a tensor of 4 axes", got=str(spec))
    return _residual(spec, data_format, seed, inner=4 * _channels(spec, data_format), depthwise=True)


INSERTS: dict[str, Callable[[TensorSpec, str, int], keras.Model]] = {
    "identity": identity,
    "residual": residual,
    "inverted-residual": inverted_residual,
}
"""Blocks by name, each called with what enters, the layout of images and a seed. None changes what enters."""


def passes_through(network: Graph, spec: TensorSpec) -> bool:
    """Whether a network gives back what it is given, tried on random numbers.

    Args:
        network: A graph of one input.
        spec: What it is given.
    """
    given = draw_array(spec, np.random.default_rng(0))
    with on_this_machine(f"block {network.name!r}"):
        result = keras.tree.flatten(emit(network, compile=False)(given, training=False))
    if len(result) != 1:
        return False
    array = np.asarray(keras.ops.convert_to_numpy(result[0]))
    return bool(array.shape == given.shape and np.array_equal(array, given.astype(array.dtype)))


def _residual(spec: TensorSpec, data_format: str, seed: int, *, inner: int, depthwise: bool) -> keras.Model:
    rank, channels = len(spec.shape) - 2, _channels(spec, data_format)
    layout = data_format if rank == 2 else "channels_last"
    axis = 1 if layout == "channels_first" and rank == 2 else -1
    policy = POLICIES[spec.dtype]
    inputs = keras.Input(batch_shape=spec.shape, dtype=spec.dtype)

    def norm(x: Any, name: str, gamma: str = "ones") -> Any:
        return keras.layers.BatchNormalization(axis=axis, gamma_initializer=gamma, name=f"{name}_bn", dtype=policy)(x)

    def relu(x: Any, name: str) -> Any:
        return keras.layers.ReLU(name=f"{name}_relu", dtype=policy)(x)

    def linear(x: Any, outputs: int, size: int, name: str, number: int) -> Any:
        options: dict[str, Any] = {"use_bias": False, "name": name, "dtype": policy}
        start = keras.initializers.HeNormal(seed=seed + number)
        if rank == 0:
            return keras.layers.Dense(outputs, kernel_initializer=start, **options)(x)
        options |= {"padding": "same", "data_format": layout}
        if size > 1 and depthwise:
            return keras.layers.DepthwiseConv2D(size, depthwise_initializer=start, **options)(x)
        layer = getattr(keras.layers, f"Conv{rank}D")
        return layer(outputs, size, kernel_initializer=start, **options)(x)

    x = relu(norm(linear(inputs, inner, 1, "reduce" if not depthwise else "expand", 0), "first"), "first")
    if rank:
        x = relu(norm(linear(x, inner, 3, "window", 1), "window"), "window")
    x = norm(linear(x, channels, 1, "project", 2), "project", "zeros")
    x = keras.layers.Add(name="add", dtype=policy)([inputs, x])
    return keras.Model(inputs, x, name="inverted_residual" if depthwise else "residual")


def _channels(spec: TensorSpec, data_format: str) -> int:
    if not 2 <= len(spec.shape) <= 5 or spec.dtype not in POLICIES or spec.sparse:
        raise GraphError(
            "A residual block cannot be made for this tensor.",
            expected="a dense tensor of numbers with 2 to 5 axes",
            got=str(spec),
        )
    axis = channel_axis(data_format) if len(spec.shape) == 4 else len(spec.shape) - 1
    channels = spec.shape[axis]
    if channels is None:
        raise GraphError("A residual block needs a known number of channels.", got=str(spec))
    return channels


__all__ = ["INSERTS", "identity", "inverted_residual", "passes_through", "residual"]
