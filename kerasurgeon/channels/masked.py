"""The masked twin of a cut: the whole model, with what the cut channels contribute removed at every consumer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import sealed
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.tensors import new_array
from kerasurgeon.rewrite.calls import splice
from kerasurgeon.rules.labels import Factor

Array = np.ndarray[Any, Any]


def mask_units(graph: Graph, channels: Channels, gone: Array) -> None:
    """Remove the contribution of some units from a graph, in place, without changing any shape.

    Weights are zeroed along the axes that a layer sums over. Where a layer sums over channels without a weight (a
    product of two tensors), a multiplication by zeros and ones is put before it.

    Args:
        graph: The graph that was analysed, unchanged since.
        channels: Its analysis.
        gone: For every unit whether it goes.
    """
    mask_weights(graph, channels, gone)
    alive = ~gone[channels.unit]
    for name, call in channels.calls.items():
        for position, factor in call.masks:
            if not alive[factor.ids].all():
                _multiply(graph, name, position, factor, alive)


def mask_weights(graph: Graph, channels: Channels, gone: Array) -> None:
    """Zero what layers that sum over channels with a weight read of some units, in place."""
    alive = ~gone[channels.unit]
    for (key, name), several in channels.weights.items():
        array = graph.layers[key].weights[name].array
        changed = array
        for held in several:
            if held.contracted and not alive[held.ids].all():
                mask = _mask(alive, Factor(held.axes, held.ids), array.ndim, array.dtype)
                fresh = new_array(array.shape, array.dtype) if changed is array else changed
                changed = np.multiply(changed, mask, out=fresh)
        if changed is not array:
            graph.set_weight(key, name, sealed(changed))


def _mask(alive: Array, factor: Factor, rank: int, dtype: Any) -> Array:
    shape = [1] * rank
    for axis, size in zip(factor.axes, factor.ids.shape, strict=True):
        shape[axis] = size
    return alive[factor.ids].astype(dtype).reshape(shape)


def _multiply(graph: Graph, name: str, position: int, factor: Factor, alive: Array) -> None:
    node = graph[name]
    flat = list(leaves(node.operands))
    tensors = [
        place
        for place, leaf in enumerate(flat)
        if isinstance(leaf, (Value, WeightRef)) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))
    ]
    operand = flat[tensors[position]]
    if not isinstance(operand, Value):
        return
    spec = graph.spec(operand)
    mask = _mask(alive, factor, len(spec.shape), spec.dtype)
    flat[tensors[position]] = splice(graph, lambda tensor: keras.ops.multiply(tensor, mask), operand, like=node)
    args, kwargs = unflatten(node.operands, flat)
    graph.set_operands(name, args, kwargs)
