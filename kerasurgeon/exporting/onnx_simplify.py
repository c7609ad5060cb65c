"""What is taken out of a graph before it is written: batch norms that a linear layer can take up."""

from __future__ import annotations

from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.calls import substitute
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.asking import affine_of
from kerasurgeon.simplify import folded


def simplified(graph: Graph) -> Graph:
    """Fold batch norms into the linear layers around them.

    Args:
        graph: A graph that is nobody else's; it is changed.

    Returns:
        The graph.
    """
    for name in [node.name for node in graph.nodes() if affine_of(graph.layer_of(node)) is not None]:
        node = graph[name]  # as it is now: what it reads may have been folded
        try:
            linear, layer, _ = folded(graph, node)
        except Skip:
            continue
        graph.update_layer(linear.layer, layer)
        substitute(graph, node, node.inputs[0])
    return graph
