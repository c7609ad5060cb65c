"""The operands of a node as a pattern sees them: a flat list in the order of the parameters of ``call``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir import Graph, Node, Value, WeightRef
from kerasurgeon.ir.structure import leaf_paths


@dataclass(frozen=True, slots=True)
class Slot:
    """One operand of a node.

    Attributes:
        parameter: The parameter of ``call`` that it belongs to.
        position: Its place among all leaves of the node's operands, as ``Use.position`` counts them.
        leaf: The operand: a value, a weight reference, or what was given as it is.
    """

    parameter: str
    position: int
    leaf: Any

    def __str__(self) -> str:
        return f"operand {self.parameter!r}"


def slots_of(graph: Graph, node: Node) -> tuple[Slot, ...]:
    """The tensors, weights and constants that a node reads, in the order of the parameters.

    Flags, strings, slices and what is absent (``None``) are not operands here.
    """
    names = call_parameters(graph.layer_of(node).cls)
    slots = list(_in_order_of_use(node, names))
    if node.kwargs:
        order = {name: index for index, name in enumerate(names)}
        slots.sort(key=lambda slot: order.get(slot.parameter, len(order)))
    return tuple(slots)


def constant_array(graph: Graph, leaf: Any, *, weights: bool) -> np.ndarray[Any, Any] | None:
    """A constant operand as an array, or ``None`` if it is no number or array."""
    if isinstance(leaf, WeightRef):
        return graph.layers[leaf.layer].weights[leaf.key].array if weights else None
    if isinstance(leaf, (int, float, complex, np.ndarray, np.generic)):
        return np.asarray(leaf)
    if not isinstance(leaf, Value) and keras.ops.is_tensor(leaf):
        return np.asarray(keras.ops.convert_to_numpy(leaf))
    return None


def has_value(array: np.ndarray[Any, Any], wanted: Any, tolerance: float) -> bool:
    """Whether a constant is the wanted one up to a tolerance; ``None`` wants none in particular."""
    if wanted is None:
        return True
    value = np.asarray(wanted)
    if array.size == value.size == 1:
        array, value = array.reshape(()), value.reshape(())
    return array.shape == value.shape and bool(np.allclose(array, value, rtol=tolerance, atol=tolerance))


def call_parameters(cls: Any) -> tuple[str, ...]:
    """Names of the parameters of a class's ``call``, in order, without ``self``."""
    return _call_parameters(cls)


@cache
def _call_parameters(cls: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(cls.call).parameters if name != "self")


def _in_order_of_use(node: Node, names: tuple[str, ...]) -> Iterator[Slot]:
    last = names[-1] if names else ""
    for position, (path, leaf) in enumerate(leaf_paths(node.operands)):
        if not _is_operand(leaf):
            continue
        if path[0] == 1:
            yield Slot(str(path[1]), position, leaf)
        else:  # more arguments than parameters belong to a last *args
            yield Slot(names[path[1]] if path[1] < len(names) else last, position, leaf)


def _is_operand(leaf: Any) -> bool:
    if leaf is None or isinstance(leaf, (bool, str, slice)):
        return False
    known = (Value, WeightRef, int, float, complex, np.ndarray, np.generic)
    return isinstance(leaf, known) or bool(keras.ops.is_tensor(leaf))
