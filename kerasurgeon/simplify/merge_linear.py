"""Linear layers of Keras as numbers, and back."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.simplify.merge_kernels import Linear

DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
LINEAR = ("Dense", *CONVOLUTIONS, *DEPTHWISE)
_WEIGHTS = frozenset({"kernel", "bias"})


def linear_layer(graph: Graph, node: Node) -> Layer:
    """The layer of a node, which computes with nothing but a kernel and a bias.

    Raises:
        Skip: It is called elsewhere too, its weights are used elsewhere, or it computes something else.
    """
    layer = graph.layer_of(node)
    calls = len(graph.calls(node.layer))
    if calls > 1:
        raise Skip(f"layer {node.layer!r} is shared: it is called {calls} times")
    if node.layer in graph.tied_layers():
        raise Skip(f"the weights of {node.layer!r} are used elsewhere too")
    if not set(layer.weights) <= _WEIGHTS or "kernel" not in layer.weights:
        others = ", ".join(sorted(set(layer.weights) - _WEIGHTS))
        raise Skip(f"{node.name!r} computes with more than a kernel and a bias: {others}")
    sizes = node.spec.shape
    if layer.config.get("data_format") == "channels_first" and sizes[1] == sizes[-1] != 1:
        # keras.ops.add takes the bias for one of the last axis then (Keras 3.15, backend/tensorflow/numpy.py).
        raise Skip(f"Keras adds the bias of {node.name!r} along the wrong axis: it has as many channels as columns")
    return layer


def as_numbers(layer: Layer, rank: int) -> Linear:
    """A layer as numbers in float64.

    Args:
        layer: One of ``LINEAR``.
        rank: Spatial axes to give it, for a Dense layer: it has one tap along each.
    """
    kernel, config = layer.weights["kernel"].array.astype(np.float64), layer.config
    if layer.kind == "Dense":
        ones = (1,) * rank
        return Linear(kernel.reshape(*ones, *kernel.shape), _bias(layer, kernel.shape[-1]), ones, ones)
    depthwise = layer.kind in DEPTHWISE
    outputs = prod(kernel.shape[-2:]) if depthwise else kernel.shape[-1]
    return Linear(
        kernel,
        _bias(layer, outputs),
        tuple(config["strides"]),
        tuple(config["dilation_rate"]),
        1 if depthwise else int(config.get("groups", 1)),
        depthwise,
    )


def spatial_rank(layer: Layer) -> int:
    """How many spatial axes a layer works along; 0 for a Dense layer."""
    return 0 if layer.kind == "Dense" else layer.weights["kernel"].array.ndim - 2


def as_layer(numbers: Linear, first: Layer, second: Layer, padding: str) -> Layer:
    """The layer that computes with some numbers, in the place of two.

    It has the second one's name, activation and settings of training; it is of the kind that the numbers are of.

    Args:
        numbers: What it computes with.
        first: The layer before.
        second: The layer behind.
        padding: How it pads.
    """
    rank = max(spatial_rank(first), spatial_rank(second))
    dtype = second.weights["kernel"].array.dtype
    biased = any("bias" in layer.weights for layer in (first, second))
    trainable = bool(first.config.get("trainable", True) or second.config.get("trainable", True))
    shared = {
        key: second.config[key] for key in ("dtype", "activation", "activity_regularizer") if key in second.config
    }
    config: dict[str, Any] = {"name": second.name, "trainable": trainable, "use_bias": biased, **shared}
    for option in ("bias_initializer", "bias_regularizer", "bias_constraint"):
        config[option] = second.config[option]
    kernel = numbers.kernel
    if rank == 0:
        cls: Any = keras.layers.Dense
        config["units"] = numbers.outputs
    else:
        spatial = second if spatial_rank(second) else first
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
        ("depthwise" if second.kind in DEPTHWISE else "kernel"),
    )
    for option in ("initializer", "regularizer", "constraint"):
        config[f"{own}_{option}"] = second.config[f"{theirs}_{option}"]
    if rank == 0:
        kernel = kernel.reshape(kernel.shape[-2:])
    weights = {"kernel": Weight(kernel.astype(dtype), trainable=None)}
    if biased:
        weights["bias"] = Weight(numbers.bias.astype(dtype), trainable=None)
    made = layer_from_keras(cls.from_config(config))
    return replace(made, weights=weights, parent_path=second.parent_path, custom_objects=second.custom_objects)


def _bias(layer: Layer, outputs: int) -> Any:
    bias = layer.array("bias")
    return np.zeros(outputs) if bias is None else bias.astype(np.float64)


__all__ = ["LINEAR", "as_layer", "as_numbers", "linear_layer", "spatial_rank"]
