"""Tensors that depend on no input of a model: constants, weights as operands, and what is computed from these."""

from __future__ import annotations

from typing import Any

import keras
import networkx as nx
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.running import Runner

Array = np.ndarray[Any, Any]


class Known:
    """What is known of a graph's tensors without data.

    Args:
        graph: The graph; it is only read, and must not change while this is in use.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        ends = [node.name for node in graph.nodes() if graph.kind(node) == "InputLayer"]
        self._fed = set(ends).union(*(nx.descendants(graph.digraph, name) for name in ends))
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
            needed = nx.ancestors(self.graph.digraph, value.node) | {value.node}
            tensors: dict[Value, Any] = {}
            for node in self.graph.nodes():
                if node.name in needed:
                    for index, output in enumerate(self._runner.call(node, tensors)):
                        tensors[Value(node.name, index)] = output
            self._arrays[value] = np.asarray(keras.ops.convert_to_numpy(tensors[value]), np.float64)
        return self._arrays[value]
