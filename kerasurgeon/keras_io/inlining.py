"""Which nested models can be inlined, and the order of the calls in a functional graph."""

from __future__ import annotations

from typing import Any

import keras
import networkx as nx

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io.internals import functional_graph, has_functional_constructor, keras_mask, nodes_of


def has_plain_constructor(model: Any) -> bool:
    """Whether a model is made again from its layers alone."""
    return isinstance(model, keras.Sequential) or has_functional_constructor(type(model))


def inlinable(operation: Any, calls: list[Any], *, any_class: bool) -> Any:
    """The graph of a nested model that can be inlined and put together again, or ``None``."""
    if not isinstance(operation, keras.Model):
        return None
    inner = functional_graph(operation)
    if inner is None or not (any_class or has_plain_constructor(operation)):
        return None
    outputs = [id(tensor) for tensor in inner.outputs]
    inputs = {id(tensor) for tensor in inner.inputs}
    # A model that hands an input through, or one tensor out twice, cannot be told from its inlined nodes again.
    if len(set(outputs)) != len(outputs) or inputs & set(outputs):
        return None
    for node in calls:
        operands = list(leaves(node.arguments.args[0] if node.arguments.args else node.arguments.kwargs.get("inputs")))
        # A functional model casts and squeezes what it is called on; inlined nodes would not.
        if len(operands) != len(inner.inputs) or not all(
            isinstance(given, keras.KerasTensor)
            and given.dtype == taken.dtype
            and len(given.shape) == len(taken.shape)
            and is_sparse(given) == bool(taken.sparse)
            for given, taken in zip(operands, inner.inputs, strict=True)
        ):
            return None
        if len({id(given) for given in operands}) != len(operands):
            return None  # one tensor for two inputs: see above
        if len(node.arguments.args) > 1 or not _own_masks(operands, node.arguments.kwargs.get("mask")):
            return None
    return inner


def _own_masks(operands: list[Any], mask: Any) -> bool:
    """Whether a call is given no masks but those that its tensors carry anyway, also to nodes that are inlined."""
    given = [leaf for leaf in leaves(mask) if leaf is not None]
    return not given or {id(leaf) for leaf in given} <= {id(keras_mask(tensor)) for tensor in operands}


def is_sparse(tensor: Any) -> bool:
    """Whether a tensor is sparse at run time, which takes more than Keras calling it so: see ``specs_of``."""
    waiting, seen = [tensor] if tensor.sparse else [], set()
    while waiting:
        operation, node_index, _ = waiting.pop()._keras_history
        if getattr(operation, "sparse", False):
            return True
        if (id(operation), node_index) not in seen:
            seen.add((id(operation), node_index))
            waiting.extend(each for each in operation._inbound_nodes[node_index].input_tensors if each.sparse)
    return False


def ordered(functional: Any) -> list[Any]:
    """The calls in an order in which each follows its operands and the earlier calls of its layer."""
    found = list(nodes_of(functional))
    by_call = {(id(node.operation), index): position for position, (node, index) in enumerate(found)}
    if len({operation for operation, _ in by_call}) == len(found):
        return [node for node, _ in found]
    order = nx.DiGraph()
    order.add_nodes_from(range(len(found)))
    for position, (node, index) in enumerate(found):
        for tensor in node.input_tensors:
            history = tensor._keras_history
            source = by_call.get((id(history.operation), history.node_index))
            if source is not None:
                order.add_edge(source, position)
        earlier = [by_call[id(node.operation), i] for i in range(index) if (id(node.operation), i) in by_call]
        order.add_edges_from((first, position) for first in earlier)
    return [found[position][0] for position in nx.lexicographical_topological_sort(order)]


def own_dtype(model: Any) -> Any:
    """A model's own dtype policy, serialised, or ``None`` where it is the default."""
    policy = getattr(model, "dtype_policy", None)
    return None if policy is None else keras.dtype_policies.serialize(policy)


__all__ = ["has_plain_constructor", "inlinable", "is_sparse", "ordered", "own_dtype"]
