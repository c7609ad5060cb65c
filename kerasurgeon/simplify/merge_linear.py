"""Linear layers of Keras as numbers, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.linear_numbers import bias_of, kernel_of
from kerasurgeon.simplify.merge_kernels import Linear

# For layers of other than Keras' own classes, which may not have these options.
_DEFAULTS = {"initializer": "glorot_uniform", "bias_initializer": "zeros"}


def as_numbers(layer: Layer, form: LinearForm, rank: int) -> Linear:
    """A layer as numbers in float64.

    Args:
        layer: The layer, a plain or depthwise convolution or a matrix.
        form: Its linear form.
        rank: Spatial axes to give it, for a layer without a window: it has one tap along each.
    """
    (kernel,) = form.kernels
    array, ones = kernel_of(layer, kernel), (1,) * rank
    outputs = prod(array.shape[-2:]) if kernel.depthwise else array.shape[-1]
    bias = bias_of(layer, form) + np.zeros(outputs)
    if form.window is None:
        return Linear(array.reshape(*ones, *array.shape), bias, ones, ones)
    return Linear(array, bias, form.window.strides, form.window.dilation, kernel.groups, kernel.depthwise)


def spatial_rank(form: LinearForm) -> int:
    """How many spatial axes a layer works along; 0 for one without a window."""
    return 0 if form.window is None else len(form.window.size)


def as_layer(numbers: Linear, pair: Sequence[tuple[Layer, LinearForm]], padding: str) -> Layer:
    """The layer that computes with some numbers, in the place of two.

    It has the second one's name, activation and settings of training; it is of the kind that the numbers are of.

    Args:
        numbers: What it computes with.
        pair: The layer before and the one behind, with their forms.
        padding: How it pads.
    """
    (first, one), (second, other) = pair
    rank = max(spatial_rank(one), spatial_rank(other))
    dtype = second.weights[other.kernels[0].key].array.dtype
    biased = any(form.bias in layer.weights for layer, form in pair)
    trainable = bool(first.config.get("trainable", True) or second.config.get("trainable", True))
    shared = {
        key: second.config[key] for key in ("dtype", "activation", "activity_regularizer") if key in second.config
    }
    config: dict[str, Any] = {"name": second.name, "trainable": trainable, "use_bias": biased, **shared}
    for option in ("bias_initializer", "bias_regularizer", "bias_constraint"):
        config[option] = second.config.get(option, _DEFAULTS.get(option))
    kernel = numbers.kernel
    if rank == 0:
        cls: Any = keras.layers.Dense
        config["units"] = numbers.outputs
    else:
        spatial = second if spatial_rank(other) else first
        config |= {
            "kernel_size": numbers.taps,
            "strides": numbers.strides,
            "dilation_rate": numbers.dilations,
            "padding": padding,
            "data_format": spatial.config["data_format"],
        }
        if numbers.depthwise:
            cls = getattr(keras.layers, f"DepthwiseConv{rank}D")
            config |= {"depth_multiplier": kernel.shape[-1]}
        else:
            cls = getattr(keras.layers, f"Conv{rank}D")
            config |= {"filters": numbers.outputs}
    own, theirs = (
        ("depthwise" if numbers.depthwise else "kernel"),
        ("depthwise" if other.depthwise else "kernel"),
    )
    for option in ("initializer", "regularizer", "constraint"):
        name = f"{own}_{option}"
        config[name] = second.config.get(f"{theirs}_{option}", _DEFAULTS.get(option))
    if rank == 0:
        kernel = kernel.reshape(kernel.shape[-2:])
    weights = {"kernel": Weight(kernel.astype(dtype), trainable=None)}
    if biased:
        weights["bias"] = Weight(numbers.bias.astype(dtype), trainable=None)
    made = layer_from_keras(cls.from_config(config))
    return replace(made, weights=weights, parent_path=second.parent_path, custom_objects=second.custom_objects)


__all__ = ["as_layer", "as_numbers", "spatial_rank"]
