"""The linear part of a layer, run by Keras itself: without its bias, without its activation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.running import sizes
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight, sealed
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.running import call_layer, variant
from kerasurgeon.rules.asking import linear_form
from kerasurgeon.rules.layout import channel_axis

Array = np.ndarray[Any, Any]


def linear_part(graph: Graph, node: Node, *, squared: bool = False) -> Any:
    """A Keras layer that computes the linear part of what a node calls, in float32 or finer.

    Args:
        graph: The graph.
        node: A call of a layer that has a linear form (see ``rules.linear``).
        squared: With its kernels squared: what becomes of variances, if the inputs are independent.
    """
    layer = graph.layer_of(node)
    form = linear_form(layer)
    assert form is not None
    weights = {}
    for key, weight in layer.weights.items():
        array = weight.array if weight.array.dtype == np.float64 else weight.array.astype(np.float32, copy=False)
        if key == form.bias:
            array = np.zeros_like(array)
        array = np.square(array) if squared else array
        weights[key] = Weight(array if array is weight.array else sealed(array), trainable=None)
    dtype = "float64" if any(weight.array.dtype == np.float64 for weight in weights.values()) else "float32"
    without = {"activation": "linear"} if "activation" in layer.config else {}
    plain = replace(layer.with_config(**without, dtype=dtype), weights=weights)
    return variant(graph, node, plain)


def run_linear(graph: Graph, node: Node, made: Any, tensor: Any) -> Array:
    """What a layer made by ``linear_part`` gives for the node's one operand, as float64."""
    tensor = keras.ops.convert_to_tensor(tensor, dtype=made.compute_dtype)
    result = call_layer(graph, node, made, {node.inputs[0]: tensor})[0]
    return np.asarray(keras.ops.convert_to_numpy(result), np.float64)


def full_shape(graph: Graph, node: Node, value: Value) -> tuple[int, ...]:
    """The sizes of one sample of an operand of a node, with a first axis of one; of open ones see ``sizes``."""
    return (1, *sizes(graph, node, value)[1:])


def to_bias(layer: Layer, response: Array) -> Array:
    """The mean over all positions of a result, in the shape that the layer's bias has or would have."""
    form = linear_form(layer)
    bias = None if form is None else layer.array(form.bias)
    if bias is not None and bias.ndim > 1:  # of an EinsumDense
        shape = (1,) * (response.ndim - bias.ndim) + bias.shape
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
        return np.asarray(response.mean(axis=axes, keepdims=True).reshape(bias.shape))
    axis = channel_axis(layer.config, response.ndim) if form is None else form.axis(response.ndim)
    return np.asarray(response.mean(axis=tuple(place for place in range(response.ndim) if place != axis)))
