"""The calls between symbolic tensors, walked from what they give to what they read."""

from __future__ import annotations

from typing import Any

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

    def nest_inputs(self, structure: Any) -> None:
        """Say how the inputs are nested: by their places, as ``Slot``."""
        self._inputs_struct = map_leaves(lambda slot: self.inputs[slot.index], structure)


def _node_of(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]
