"""Chains of factors with random kernels, and what they compute, put together by the tests' own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.factors import Factors, Shape, Stage
from tests.passes.checking import model_of

Array = np.ndarray[Any, Any]


def chains(shape: Shape) -> dict[str, tuple[Stage, ...]]:
    """Chains of every form that a shape allows, at small ranks."""
    inputs, outputs, axes = shape.inputs, shape.outputs, shape.axes
    found = {
        "three": (Stage("in", (), inputs, 2), Stage("core", axes, 2, 3), Stage("out", (), 3, outputs)),
        "first": (Stage("in", axes, inputs, 3), Stage("out", (), 3, outputs)),
        "last": (Stage("in", (), inputs, 2), Stage("core", axes, 2, outputs)),
        "one": (Stage("core", axes, inputs, outputs),),
    }
    if axes:
        middle = 2 * inputs
        found["separable"] = (Stage("depthwise", axes, inputs, middle, True), Stage("pointwise", (), middle, outputs))
        found["cp"] = (Stage("in", (), inputs, 3), Stage("depthwise", axes, 3, 3, True), Stage("out", (), 3, outputs))
    if len(axes) > 1:
        found["spatial"] = (Stage("vertical", axes[:1], inputs, 3), Stage("horizontal", axes[1:], 3, outputs))
        found["cp by axes"] = (
            Stage("in", (), inputs, 2),
            *(Stage(f"axis_{axis}", (axis,), 2, 2, True) for axis in axes),
            Stage("out", (), 2, outputs),
        )
    if len(axes) == 3:
        found["axis by axis"] = (Stage("a", (1,), inputs, 2), Stage("b", (0,), 2, 3), Stage("c", (2,), 3, outputs))
    return found


def random_factors(
    shape: Shape, stages: Sequence[Stage], *, residual: bool = False, bias: bool = False, seed: int = 0
) -> Factors:
    """Random kernels for a chain."""
    rng = np.random.default_rng(seed)
    kernels = []
    for stage in stages:
        sizes = [shape.sizes[axis] if axis in stage.axes else 1 for axis in shape.axes]
        outputs = stage.outputs // stage.inputs if stage.depthwise else stage.outputs
        kernels.append(rng.standard_normal((shape.groups, *sizes, stage.inputs, outputs)))
    whole = (shape.groups, *shape.sizes, shape.inputs, shape.outputs)
    return Factors(
        shape,
        "by hand",
        (),
        tuple(stages),
        tuple(kernels),
        rng.standard_normal(whole) if residual else None,
        rng.standard_normal(shape.groups * shape.outputs) if bias else None,
    )


def keras_kernel(factors: Factors) -> Array:
    """The kernel that factors stand for, as Keras stores it: position by position a product of matrices."""
    shape = factors.shape
    whole = np.zeros((*shape.sizes, shape.inputs, shape.groups * shape.outputs))
    for group in range(shape.groups):
        columns = slice(group * shape.outputs, (group + 1) * shape.outputs)
        for position in np.ndindex(*shape.sizes):
            product = np.eye(shape.inputs)
            for stage, kernel in zip(factors.stages, factors.kernels, strict=True):
                here = tuple(place if axis in stage.axes else 0 for axis, place in enumerate(position))
                product = product @ _matrix(stage, kernel[(group, *here)])
            if factors.residual is not None:
                product = product + factors.residual[(group, *position)]
            whole[(*position, slice(None), columns)] = product
    return np.swapaxes(whole, -1, -2) if shape.transposed else whole


def _matrix(stage: Stage, entries: Array) -> Array:
    if not stage.depthwise:
        return entries
    channels, multiplier = entries.shape
    matrix = np.zeros((channels, channels * multiplier))
    for channel in range(channels):
        matrix[channel, channel * multiplier : (channel + 1) * multiplier] = entries[channel]
    return matrix


def with_kernel(model: keras.Model, name: str, kernel: Array, bias: Array | None = None) -> keras.Model:
    """A copy of a model with another kernel in one layer, and something added to its bias."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    old = twin.get_layer(name).get_weights()
    added = [] if bias is None else [(old[1] if len(old) > 1 else 0.0) + bias]
    twin.get_layer(name).set_weights([kernel, *(added or old[1:])])
    return twin


def one_layer(layer: keras.layers.Layer, *shape: int | None) -> keras.Model:
    """A model of one layer that is not the output's."""
    inputs = keras.Input(shape, name="inputs")
    return model_of(inputs, keras.layers.Activation("linear", name="end")(layer(inputs)))
