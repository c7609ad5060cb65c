"""What an earlier factorisation left in a model: factors and residuals, told by their names and how they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.rules.asking import is_sum, may_be_linear

ROLES = ("in", "core", "out", "vertical", "horizontal", "depthwise", "pointwise", "separable", "residual")
"""What names of factors and residuals end in."""

_NAME = re.compile(rf"(?P<base>.+)_(?P<role>{'|'.join(ROLES)})(_\d+)?")


def left_by(graph: Graph, calls: tuple[Node, ...]) -> str:
    """Why a layer is taken for a factor or a residual of an earlier factorisation; empty if it is not.

    To factorise it again would undo its ranks or fill its residual. It is one if its name ends in a role and a layer
    right before it, right behind it, or added to it is named after the same layer, with nothing but channels between
    them: no activation, no other user. Names alone say too little, and so does the structure: networks have linear
    bottlenecks of their own.

    Args:
        graph: The graph.
        calls: The calls of the layer.
    """
    for node in calls:
        base, role = _named(graph, node)
        own = base or graph.layer_of(node).name
        for other in _beside(graph, node):
            part = may_be_linear(graph.kind(other)) or is_sum(graph, other)
            if not part or other.scope != node.scope:
                continue
            # What gives the model's output has the name of the original.
            theirs, _ = _named(graph, other)
            if theirs == own or (base and graph.layer_of(other).name == base):
                what = "residual" if role == "residual" else "factor"
                return f"it is a {what} that an earlier factorisation of {own!r} left: {other.name!r} is another part"
    return ""


def is_linear(layer: Layer) -> bool:
    """Whether a layer has no activation of its own."""
    return layer.config.get("activation") in (None, "linear")


def _named(graph: Graph, node: Node) -> tuple[str, str]:
    """The layer that a factor is named after, and its role; empty where a name is no factor's."""
    found = _NAME.fullmatch(graph.layer_of(node).name)
    return (found["base"], found["role"]) if found else ("", "")


def _beside(graph: Graph, node: Node) -> Iterator[Node]:
    """Layers that a node is linked to as factors are: before it, behind it, or added to it."""
    for value in node.inputs[:1]:
        before = graph.producer(value)
        if _leads_on(graph, before):
            yield before
    if not _leads_on(graph, node):
        return
    behind = graph.users(node)[0]
    yield behind
    if is_sum(graph, behind):
        for value in behind.inputs:
            if value.node != node.name and _leads_on(graph, graph.producer(value)):
                yield graph.producer(value)


def _leads_on(graph: Graph, node: Node) -> bool:
    """Whether what a node computes goes, as it is, to a single other one."""
    users = graph.users(node)
    return len(users) == 1 and not graph.is_output(node.value) and is_linear(graph.layer_of(node))


__all__ = ["ROLES", "is_linear", "left_by"]
