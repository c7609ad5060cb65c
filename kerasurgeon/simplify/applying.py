"""Apply rules to a graph until none applies."""

from __future__ import annotations

from collections.abc import Sequence

from kerasurgeon.errors import PassError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.simplify.rules import Rule


def apply_rules(graph: Graph, rules: Sequence[Rule], context: Context) -> None:
    """Apply rules at every node, in place, until none applies, and remove what is then unused.

    Args:
        graph: The graph.
        rules: The rules; at each node the first that can be applied is.
        context: Where to log what was done and what was left alone.

    Raises:
        PassError: The rules do not come to an end, or one changed the graph and then left it alone.
    """
    limit = 4 * len(graph) + 10  # each step removes a node or one of a few things between two
    steps = 0
    while True:
        left: dict[str, list[str]] = {}
        before = steps
        nodes = graph.nodes()
        for position, node in enumerate(nodes):
            context.progress(position / len(nodes), f"Simplify: {node.name}")
            if node.name in graph:
                steps += _visit(graph, node.name, rules, context, left)
        unused = graph.remove_unused()
        for name in unused:
            context.changed(name, "removed: no output of the model depends on it")
        if steps == before and not unused:
            break
        if steps > limit:
            raise PassError(f"Simplify does not come to an end: it made {steps} changes.")
    for name, reasons in left.items():
        context.left(name, "; ".join(dict.fromkeys(reasons)))
    if not context.sites:
        context.left(graph.name, "it has nothing that the rules look at")


def _visit(graph: Graph, name: str, rules: Sequence[Rule], context: Context, left: dict[str, list[str]]) -> bool:
    """Apply the first rule that can be applied at a node. Returns whether one could."""
    for rule in rules:
        node = graph[name]
        if not rule.looks_at(graph, node):
            continue
        before = graph.revision
        try:
            done = rule.action(graph, node)
        except Skip as skip:
            if graph.revision != before:
                raise PassError(
                    f"A rule of Simplify changed the graph and then left it alone: {skip.reason}."
                ) from skip
            left.setdefault(name, []).append(skip.reason)
            continue
        left.pop(name, None)
        context.changed(name, done)
        return True
    return False


__all__ = ["apply_rules"]
