"""Put the layers of a factorised kernel in the place of the layer that had it."""

from __future__ import annotations

from typing import Any

from kerasurgeon.factors.split_layers import Part, SplitLayers
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.rewrite.calls import call, substitute


def put(graph: Graph, key: str, layers: SplitLayers) -> None:
    """Let the layers take the place of all calls of a layer.

    The new layers are named after it: its name and their role. Where the model returns its result, what computes that
    now takes over its name.

    Args:
        graph: The graph.
        key: Key of the layer.
        layers: What ``build_layers`` made for it.
    """
    made: dict[str, Node] = {}
    base, names = graph.layers[key].name, [node.name for node in graph.calls(key)]
    for name in names:
        node = graph[name]  # as it is now: a later call may read an earlier one

        def run(part: Part, *operands: Any, node: Node = node) -> Value:
            first = made.get(part.role)
            if first is None:
                role = f"{base}_{part.role}"
                value = call(graph, part.layer, *operands, weights=part.weights or None, name=role, like=node)
                made[part.role] = graph[value.node]
                return value
            return _call_again(graph, first, operands, node)

        value = source = node.inputs[0]
        for part in layers.chain:
            value = run(part, value)
        if layers.residual is not None:
            value = run(layers.behind[0], [value, run(layers.residual, source)])
        for part in layers.behind[1:]:
            value = run(part, value)
        substitute(graph, node, value)
    if len(names) > 1:
        infer(graph)


def _call_again(graph: Graph, first: Node, operands: tuple[Any, ...], like: Node) -> Value:
    """Another call of a layer that was made for the first call of a shared one."""
    name = None
    if first.scope != like.scope:
        own = first.layer.rpartition("/")[2]
        name = graph.unique_name(f"{like.scope}/{own}" if like.scope else own)
    # The specs of the first call are a stand-in: its input may be of another size. put() derives them in the end.
    again = graph.add_node(
        first.layer,
        operands,
        outputs=first.outputs,
        name=name,
        scope=like.scope,
        origin=like.origin,
        near=like.name,
    )
    return again.value


__all__ = ["put"]
