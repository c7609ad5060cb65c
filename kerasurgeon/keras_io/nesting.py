"""Put nested models together again: which scopes still form a model, and what belongs to which.

A scope can be emitted as a nested model while everything that enters it is an operand of its call, everything that
leaves it is one of its outputs, and no path leaves it and comes back. A scope that a pass has opened is flattened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node, Scope, in_scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import Value


@dataclass
class Level:
    """The calls of one model in order: nodes, and nested levels that are called as a whole."""

    scope: Scope | None
    items: list[Node | Level] = field(default_factory=list)

    @property
    def bound(self) -> list[Value]:
        """The enclosing graph's values that the model's inputs stand for."""
        assert self.scope is not None
        return [leaf for leaf in leaves(call_operand(self.scope)) if isinstance(leaf, Value)]


def call_operand(scope: Scope) -> Any:
    """The first operand of the call: what the nested model's inputs are bound to."""
    return scope.args[0] if scope.args else scope.kwargs.get("inputs")


def nest(graph: Graph) -> tuple[Level, tuple[str, ...]]:
    """Sort the nodes of a graph into nested levels. The graph may lose scopes that no longer form a model.

    Returns:
        The top level, and the paths of scopes that were flattened.
    """
    for path in [path for path, scope in graph.scopes.items() if scope.masked]:
        graph.drop_scope(path)
    flattened: list[str] = []
    while True:
        bad = _first_broken(graph)
        if bad is None:
            return _levels(graph), tuple(flattened)
        graph.drop_scope(bad)
        flattened.append(bad)


def _first_broken(graph: Graph) -> str | None:
    if not graph.scopes:
        return None
    output_values = set(values_in(graph.outputs))
    nodes = graph.nodes()
    for path in sorted(graph.scopes, key=lambda path: path.count("/")):
        scope = graph.scopes[path]
        inside = {node.name for node in nodes if in_scope(node.scope, path)}
        if not inside:
            return path
        entries = {value for name in inside for value in graph[name].inputs if value.node not in inside}
        exits = {
            Value(name, index)
            for name in inside
            for index in range(len(graph[name].outputs))
            if Value(name, index) in output_values
            or any(use.node not in inside for use in graph.uses(Value(name, index)))
        }
        bound = [leaf for leaf in leaves(call_operand(scope)) if isinstance(leaf, Value)]
        outputs = list(values_in(scope.outputs))
        if None in list(leaves(scope.outputs)):
            graph.set_scope(replace(scope, outputs=outputs))
        if (
            len(bound) != len(scope.inputs)
            or len(set(bound)) != len(bound)
            or not entries <= set(bound)
            or not outputs
            or len(set(outputs)) != len(outputs)
            or not exits <= set(outputs)
            or not {value.node for value in outputs} <= inside
            or any(value.node in inside for value in bound)
        ):
            return path
    return _not_convex(graph, nodes)


def _not_convex(graph: Graph, nodes: tuple[Node, ...]) -> str | None:
    """A scope such that some path leaves it and comes back, or ``None``."""
    for path in sorted(graph.scopes, key=lambda path: path.count("/")):
        inside = {node.name for node in nodes if in_scope(node.scope, path)}
        outside_after = set()
        for name in inside:
            outside_after |= {user.name for user in graph.users(name)} - inside
        reached = set(outside_after)
        for name in outside_after:
            reached |= nx.descendants(graph.digraph, name)
        if reached & inside:
            return path
    return None


def _levels(graph: Graph) -> Level:
    top = Level(None)
    levels: dict[str, Level] = {"": top}
    order = nx.DiGraph()
    if not graph.scopes:
        top.items = list(graph.nodes())
        return top
    nodes = graph.nodes()
    position = {node.name: index for index, node in enumerate(nodes)}
    for path in sorted(graph.scopes, key=lambda path: path.count("/")):
        levels[path] = Level(graph.scopes[path])

    # At each level, an item is a node or a scope one step down; items are sorted by what they need.
    def item_at(node_scope: str, name: str, level: str) -> str | None:
        if not in_scope(node_scope, level):
            return None
        if node_scope == level:
            return name
        rest = node_scope[len(level) :].lstrip("/")
        return "/scope/" + (f"{level}/" if level else "") + rest.split("/")[0]

    for path, level in levels.items():
        order = nx.DiGraph()
        first: dict[str, int] = {}
        for node in nodes:
            item = item_at(node.scope, node.name, path)
            if item is None:
                continue
            order.add_node(item)
            first[item] = min(first.get(item, len(nodes)), position[node.name])
            for value in node.inputs:
                source = item_at(graph[value.node].scope, value.node, path)
                if source is not None and source != item:
                    order.add_edge(source, item)
        for item in nx.lexicographical_topological_sort(order, key=first.__getitem__):
            level.items.append(levels[item.removeprefix("/scope/")] if item.startswith("/scope/") else graph[item])
    return top


def twins(graph: Graph, top: Level) -> dict[str, str]:
    """For each scope the first one that is a call of the same model: itself, unless the two are still alike."""
    known: dict[str, list[tuple[Any, str]]] = {}
    found: dict[str, str] = {}
    for item in _levels_in(top):
        assert item.scope is not None
        form, path = canonical(graph, item), item.scope.path
        forms = known.setdefault(item.scope.model, [])
        found[path] = next((first for other, first in forms if other == form), path)
        if found[path] == path:
            forms.append((form, path))
    return found


def _levels_in(level: Level) -> Iterator[Level]:
    """The levels in a level, each before those in it."""
    for item in level.items:
        if isinstance(item, Level):
            yield item
            yield from _levels_in(item)


def canonical(graph: Graph, level: Level) -> Any:
    """A level's content with its values numbered: equal for two calls of one unchanged model."""
    numbers: dict[Value, Any] = {value: ("in", index) for index, value in enumerate(level.bound)}

    def number(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return numbers.get(leaf, ("outer", str(leaf)))
        return ("constant", id(leaf)) if hasattr(leaf, "shape") else repr(leaf)

    content: list[Any] = []
    for index, item in enumerate(level.items):
        if isinstance(item, Level):
            assert item.scope is not None
            operands = map_leaves(number, (item.scope.args, dict(item.scope.kwargs)))
            content.append((canonical(graph, item), operands))
            outputs = list(values_in(item.scope.outputs))
        else:
            content.append((item.layer, map_leaves(number, (item.args, dict(item.kwargs)))))
            outputs = [Value(item.name, output) for output in range(len(item.outputs))]
        for output, value in enumerate(outputs):
            numbers[value] = (index, output)
    assert level.scope is not None
    return level.scope.model, content, map_leaves(number, level.scope.outputs)
