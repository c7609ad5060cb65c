"""Code that looks at ``training``: whether what it does in training is what it does otherwise, but for dropout."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.structure import leaf_paths, leaves
from kerasurgeon.keras_io.internals import nodes_of
from kerasurgeon.keras_io.open_redirects import takes_training
from kerasurgeon.keras_io.open_walking import Walked


def same_but_for_idle(one: Walked, other: Walked, parts: set[int]) -> bool:
    """Whether two graphs compute the same, where layers that do nothing when a model does not train are passed over.

    Args:
        one: A graph.
        other: The other.
        parts: Ids of layers that are the same object in both.
    """
    table: dict[Any, int] = {}
    return _numbers(one, table, parts) == _numbers(other, table, parts)


def _numbers(function: Walked, table: dict[Any, int], parts: set[int]) -> list[Any]:
    """What a graph gives, each tensor as a number that stands in ``table`` for how it is computed."""
    numbers: dict[int, Any] = {id(tensor): ("operand", index) for index, tensor in enumerate(function.inputs)}
    for node, _ in nodes_of(function):
        if all(id(tensor) in numbers for tensor in node.outputs):
            continue
        if _is_idle(node):
            numbers[id(node.outputs[0])] = numbers[id(node.input_tensors[0])]
            continue
        operands = (node.arguments.args, node.arguments.kwargs)
        key = (_said(node.operation, parts), _key(operands, numbers))
        number = table.setdefault(key, len(table))
        for index, tensor in enumerate(node.outputs):
            numbers[id(tensor)] = (number, index)
    return [numbers[id(tensor)] for tensor in leaves(function.outputs)]


def _said(operation: Any, parts: set[int]) -> Any:
    """What a layer or op is: a layer of the model itself, else its kind and options."""
    if id(operation) in parts:
        return id(operation)
    if isinstance(operation, keras.Layer):
        options = operation.get_config()
    else:
        options = {name: value for name, value in vars(operation).items() if not name.startswith("_")}
    return type(operation), _key({name: value for name, value in options.items() if name != "name"}, {})


def _key(structure: Any, numbers: dict[int, Any]) -> Any:
    def said(leaf: Any) -> Any:
        if isinstance(leaf, keras.KerasTensor):
            return numbers[id(leaf)]
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            array = np.asarray(keras.ops.convert_to_numpy(leaf))
            return array.shape, str(array.dtype), array.tobytes()
        return leaf if isinstance(leaf, (str, int, float, bool)) else repr(leaf)

    return tuple((path, type(leaf), said(leaf)) for path, leaf in leaf_paths(structure))


def _is_idle(node: Any) -> bool:
    layer = node.operation
    if not isinstance(layer, keras.Layer) or layer.weights or not takes_training(layer) or len(node.input_tensors) != 1:
        return False
    tensor = keras.KerasTensor(node.input_tensors[0].shape, dtype=node.input_tensors[0].dtype)
    try:
        return layer.call(tensor, training=False) is tensor
    except Exception:  # noqa: BLE001 - it does something with the tensor
        return False


__all__ = ["same_but_for_idle"]
