"""Run the layer of one node on arrays, in float64 where the layer can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io import derive
from kerasurgeon.keras_io.injection import brief_variables
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.samples import FREE_SIZE
from kerasurgeon.rules.asking import positions_of
from kerasurgeon.rules.positions import Border, Window

Array = np.ndarray[Any, Any]


def sizes(graph: Graph, node: Node, value: Value, batch: int = 1) -> tuple[int, ...]:
    """The shape of an operand of a node, with numbers for sizes that are unknown until run time.

    They are 16, or where the node's windows or croppings take more, twice what these take.
    """
    positions, taken = positions_of(graph, node), 1
    if isinstance(positions, Window):
        taken = max((size - 1) * rate + 1 for size, rate in zip(positions.size, positions.dilation, strict=True))
    elif isinstance(positions, Border) and positions.cuts:
        taken = max(map(sum, positions.sides))
    free = max(FREE_SIZE, 2 * taken)
    shape = graph.spec(value).shape
    return tuple((batch if axis == 0 else free) if size is None else size for axis, size in enumerate(shape))


def run_layer(graph: Graph, node: Node, *several: Mapping[Value, Array]) -> list[tuple[Array, ...]]:
    """Run what a node calls, in inference, on one set of operands after the other.

    Args:
        graph: The graph.
        node: The node.
        *several: Arrays in place of the node's inputs, all sets of equal shapes.

    Returns:
        The outputs for each set.

    Raises:
        Exception: Whatever Keras raises where the layer cannot be made or called.
    """
    layer = _wide(graph.layer_of(node))

    def constant(leaf: Any) -> Any:
        if isinstance(leaf, WeightRef):
            leaf = graph.layers[leaf.layer].weights[leaf.key].array
        return _widened(leaf) if isinstance(leaf, np.ndarray) else leaf

    def operands(tensors: Mapping[Value, Any]) -> Any:
        return map_leaves(lambda leaf: tensors[leaf] if isinstance(leaf, Value) else constant(leaf), node.operands)

    first = {value: keras.KerasTensor(array.shape, dtype=str(array.dtype)) for value, array in several[0].items()}
    results = []
    with brief_variables():
        made = derive.built_layer(layer, *operands(first), parts=derive.built_parts(graph, layer))
        for arrays in several:
            args, kwargs = operands({value: keras.ops.convert_to_tensor(array) for value, array in arrays.items()})
            if "training" in layer.call_parameters:
                kwargs["training"] = False
            with on_this_machine(f"{graph.kind(node)} {node.name!r}"):
                outputs = made(*args, **kwargs)
            results.append(tuple(np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(outputs)))
    return results


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if keras.backend.is_float_dtype(str(array.dtype)) else array


def _wide(layer: Layer) -> Layer:
    if layer.prototype is not None or layer.parts or "dtype" not in layer.config:
        return layer
    weights = {key: Weight(_widened(weight.array), weight.trainable) for key, weight in layer.weights.items()}
    return replace(layer.with_config(dtype="float64"), weights=weights)
