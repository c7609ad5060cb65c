"""Layers that are a weighted sum of their operands."""

from __future__ import annotations

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node

_SCALED = "custom:keras.src.applications.inception_resnet_v2.CustomScaleLayer"
SUMS = frozenset({"Add", "ops.add", _SCALED})
"""Those that only add: the first operand as it is."""


def sum_factors(graph: Graph, node: Node) -> tuple[float, ...] | None:
    """By what each of a node's inputs is multiplied in the sum that it gives, ``None`` if it gives no sum of these.

    Args:
        graph: The graph.
        node: The node.
    """
    kind, count = graph.kind(node), len(node.inputs)
    if kind in ("Add", "ops.add"):
        return (1.0,) * count
    if kind == "Average":
        return (1 / count,) * count
    if count == 2 and kind in ("Subtract", "ops.subtract"):
        return 1.0, -1.0
    if count == 2 and kind == _SCALED:
        return 1.0, float(graph.layer_of(node).config.get("scale", 1.0))
    return None
