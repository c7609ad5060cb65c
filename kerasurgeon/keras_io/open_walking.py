"""The calls between symbolic tensors, walked from what they give to what they read."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from kerasurgeon.ir.structure import leaves, map_leaves


class Walked:
    """The calls between tensors, as Keras has them of a functional model, but that names may repeat.

    Args:
        inputs: The tensors that come in.
        outputs: What is computed from them, nested.

    Attributes:
        nodes: The calls, in an order in which they can run; those of the inputs first.
    """

    def __init__(self, inputs: list[Any], outputs: Any) -> None:
        self.inputs, self.outputs = inputs, list(leaves(outputs))
        self._inputs_struct, self._outputs_struct = inputs, outputs
        nodes = [tensor._keras_history.operation._inbound_nodes[0] for tensor in inputs]
        done = {id(node) for node in nodes}
        waiting = [(_node_of(tensor), False) for tensor in reversed(self.outputs)]
        while waiting:
            node, after = waiting.pop()
            if id(node) in done:
                continue
            if after:
                done.add(id(node))
                nodes.append(node)
            else:
                waiting.append((node, True))
                waiting += [(_node_of(tensor), False) for tensor in reversed(node.input_tensors)]
        self.nodes = nodes
        self._nodes_by_depth = {-place: [node] for place, node in enumerate(nodes)}
        self.operations: list[Any] = list({id(node.operation): node.operation for node in nodes}.values())

    @property
    def constants(self) -> list[Any]:
        """The arrays among the operands of the calls, and in ops."""
        return [
            leaf
            for leaf in self._fixed()
            if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, (KerasTensor, keras.Variable))
        ]

    def _fixed(self) -> list[Any]:
        found = [leaf for node in self.nodes for leaf in leaves((node.arguments.args, node.arguments.kwargs))]
        return found + [
            leaf for one in self.operations if not isinstance(one, keras.Layer) for leaf in leaves(vars(one))
        ]

    def computes_with(self, other: Walked) -> bool:
        """Whether its arrays and numbers have the values of those of another trace."""
        pairs = list(zip(self.constants, other.constants, strict=False))
        numbers = [[leaf for leaf in each._fixed() if type(leaf) in (int, float)] for each in (self, other)]
        return (
            len(self.constants) == len(other.constants)
            and numbers[0] == numbers[1]
            and all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)
        )

    def nest_inputs(self, structure: Any) -> None:
        """Say how the inputs are nested: by their places, as ``Slot``."""
        self._inputs_struct = map_leaves(lambda slot: self.inputs[slot.index], structure)


def _node_of(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]
