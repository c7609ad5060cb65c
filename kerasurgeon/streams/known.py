"""Tensors that depend on no input of a model: constants, weights as operands, and what is computed from these."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.rules import rule_for

Array = np.ndarray[Any, Any]


class Known:
    """What is known of a graph's tensors without data.

    Args:
        graph: The graph; it is only read, and must not change while this is in use.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._fed: set[str] = set()
        for node in graph.nodes():
            given = graph.kind(node) == "InputLayer" or any(value.node in self._fed for value in node.inputs)
            if given and not _reads_shape_only(graph, node):
                self._fed.add(node.name)
        self._arrays: dict[Value, Array] = {}
        self._runner: Runner | None = None

    def is_known(self, leaf: Any) -> bool:
        """Whether an operand is the same whatever the model is given."""
        if isinstance(leaf, Value):
            return leaf.node not in self._fed
        number = isinstance(leaf, (int, float)) and not isinstance(leaf, bool)
        return number or isinstance(leaf, WeightRef) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))

    def array(self, leaf: Any) -> Array:
        """A known operand, in float64."""
        if isinstance(leaf, Value):
            return self._computed(leaf)
        if isinstance(leaf, WeightRef):
            leaf = self.graph.layers[leaf.layer].weights[leaf.key].array
        return np.asarray(leaf, np.float64)

    def is_zero(self, value: Value) -> bool:
        """Whether a tensor is known to be zero, whatever the weights are."""
        if not self.is_known(value) or any(self.graph.layer_of(name).weights for name in self._needed(value.node)):
            return False
        return not self.array(value).any()

    def readers(self, key: str) -> list[tuple[Node, Any]]:
        """Calls, on tensors of the model, of what a layer's weights are turned into; each with that operand."""
        found: list[tuple[Node, Any]] = []
        waiting: list[tuple[Node, Any]] = []
        for name in self.graph.weight_users(key):
            node = self.graph[name]
            waiting += [
                (node, leaf) for leaf in leaves(node.operands) if isinstance(leaf, WeightRef) and leaf.layer == key
            ]
        while waiting:
            node, leaf = waiting.pop()
            if node.name in self._fed:
                found.append((node, leaf))
                continue
            for user in self.graph.users(node):
                waiting += [(user, other) for other in user.inputs if other.node == node.name]
        return found

    def _computed(self, value: Value) -> Array:
        if value not in self._arrays:
            self._runner = self._runner or Runner(self.graph)
            needed = self._needed(value.node)
            tensors: dict[Value, Any] = {}
            for node in self.graph.nodes():
                if node.name in needed:
                    for operand in node.inputs:
                        if operand not in tensors:  # of which only the shape matters
                            spec = self.graph.spec(operand)
                            tensors[operand] = keras.ops.zeros([size or 1 for size in spec.shape], spec.dtype)
                    for index, output in enumerate(self._runner.call(node, tensors)):
                        tensors[Value(node.name, index)] = output
            self._arrays[value] = np.asarray(keras.ops.convert_to_numpy(tensors[value]), np.float64)
        return self._arrays[value]

    def _needed(self, name: str) -> set[str]:
        """What a node is computed by, as far as values matter."""
        needed, waiting = {name}, [name]
        while waiting:
            node = self.graph[waiting.pop()]
            read = set() if _reads_shape_only(self.graph, node) else {value.node for value in node.inputs}
            waiting += read - needed
            needed |= read
        return needed


def _reads_shape_only(graph: Graph, node: Node) -> bool:
    layer = graph.layer_of(node)
    return rule_for(layer.kind).reads_shape_only(layer)
