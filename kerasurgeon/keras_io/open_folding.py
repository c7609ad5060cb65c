"""Put opened layers together again: where nothing in the scope of one has changed, the layer itself is emitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np

from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Opened, Scope, Slot, in_scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.nesting import call_operand
from kerasurgeon.keras_io.ties import new_tie

Moved = dict[tuple[str, str], tuple[str, str]]


def recorded(graph: Graph, scope: Scope, opened: Opened) -> Opened:
    """What ``folded`` will compare with, of a scope as it is now."""
    nodes = graph.nodes_in(scope.path)
    return replace(
        opened,
        content=_content(graph, scope),
        layers={node.layer: graph.layers[node.layer] for node in nodes},
    )


def folded(graph: Graph) -> tuple[Graph, Moved]:
    """The graph with every opened layer closed again in which nothing has changed but values of weights.

    Returns:
        The graph itself where there is none; and where weights of the graph, by layer and path, are in the other one.
    """
    found = (scope for scope in graph.scopes.values() if scope.opened is not None)
    scopes = sorted((scope for scope in found if graph.nodes_in(scope.path)), key=_depth)
    if not scopes:
        return graph, {}
    chosen: dict[str, Opened] = {}
    for scope in scopes:
        assert scope.opened is not None
        if not any(in_scope(scope.path, path) for path in chosen) and _is_unchanged(graph, scope, scope.opened):
            chosen[scope.path] = scope.opened
    while lacking := [path for path, opened in chosen.items() if not _has_masks(opened, chosen)]:
        for path in lacking:
            del chosen[path]
    if not chosen:
        return graph, {}
    twin = graph.copy()
    places: dict[WeightRef, list[tuple[str, str]]] = {}
    for path, opened in chosen.items():
        parts = {attribute: key for attribute, key in opened.layer.parts.items() if _is_called(graph, key, chosen)}
        key = _fold(twin, graph, twin.scopes[path], replace(opened, layer=replace(opened.layer, parts=parts)))
        for weight, ref in opened.weights.items():
            if (key, weight) not in places.setdefault(ref, []):
                places[ref].append((key, weight))
    _tie(twin, places)
    moved = {(ref.layer, ref.key): several[0] for ref, several in places.items() if ref.layer not in twin.layers}
    return twin, moved


def _has_masks(opened: Opened, chosen: Iterable[str]) -> bool:
    """Whether the layers whose masks a layer takes are closed again too."""
    return all(any(in_scope(need, path) for path in chosen) for need in opened.needs)


def _is_called(graph: Graph, key: str, chosen: Iterable[str]) -> bool:
    """Whether a layer is called outside of some scopes."""
    return not all(any(in_scope(node.scope, path) for path in chosen) for node in graph.calls(key))


def _depth(scope: Scope) -> int:
    return scope.path.count("/")


def _bound(scope: Scope) -> list[Value]:
    return [leaf for leaf in leaves(call_operand(scope)) if isinstance(leaf, Value)]


def _content(graph: Graph, scope: Scope) -> Any:
    """The nodes of a scope with their values numbered, what enters it, and what it gives."""
    bound = _bound(scope)
    numbers: dict[Value, Any] = {value: ("bound", index) for index, value in enumerate(bound)}
    content: list[Any] = []

    def number(leaf: Any) -> Any:
        return numbers.get(leaf, ("outer", str(leaf))) if isinstance(leaf, Value) else leaf

    for place, node in enumerate(graph.nodes_in(scope.path)):
        content.append((node.layer, map_leaves(number, node.operands)))
        for index in range(len(node.outputs)):
            numbers[Value(node.name, index)] = ("inside", place, index)
    shapes = [(spec.shape[1:], spec.dtype) for spec in map(graph.spec, bound)]
    return content, shapes, map_leaves(number, scope.outputs)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        )
    if one is other:
        return True
    return type(one) is type(other) and not hasattr(one, "shape") and bool(one == other)


def _is_unchanged(graph: Graph, scope: Scope, opened: Opened) -> bool:
    if any(ref.layer not in graph.layers for ref in opened.weights.values()):
        return False
    for key, layer in opened.layers.items():
        if key not in graph.layers or not _same_layer(graph.layers[key], layer):
            return False
    if not _same(_content(graph, scope), opened.content):
        return False
    inside = {node.name for node in graph.nodes_in(scope.path)}
    given = set(values_in(scope.outputs))
    for name in inside:
        for index in range(len(graph[name].outputs)):
            value = Value(name, index)
            seen = graph.is_output(value) or any(use.node not in inside for use in graph.uses(value))
            if seen and value not in given:
                return False
    for key in opened.layers:
        if all(node.name in inside for node in graph.calls(key)):  # it goes, unless somebody else needs it
            holders = [other for other, layer in graph.layers.items() if key in layer.parts.values()]
            users = [*graph.weight_users(key), *(node.name for other in holders for node in graph.calls(other))]
            if not inside.issuperset(users):
                return False
    entering = {value.node for value in _bound(scope)}
    if entering & inside:
        return False
    behind = {user.name for name in inside for user in graph.users(name)} - inside
    return not any(name in entering or nx.descendants(graph.digraph, name) & entering for name in behind)


def _same_layer(layer: Layer, before: Layer) -> bool:
    if layer is before:
        return True
    return (
        layer.cls is before.cls
        and layer.name == before.name
        and _same(dict(layer.config), dict(before.config))
        and {path: weight.shape for path, weight in layer.weights.items()}
        == {path: weight.shape for path, weight in before.weights.items()}
    )


def _fold(twin: Graph, graph: Graph, scope: Scope, opened: Opened) -> str:
    """Put one call of the layer in place of the nodes of its scope, with weights of ``graph``. Returns its key."""
    inside = twin.nodes_in(scope.path)
    checked = not any(node.name in twin.unchecked for node in inside)
    key = scope.model
    if key not in twin.layers:
        twin.add_layer(replace(opened.layer, weights=_weights(graph, opened)), key)
    bound = _bound(scope)
    if opened.operands is None:
        args, kwargs = scope.args, dict(scope.kwargs)
    else:
        args, kwargs = map_leaves(lambda leaf: bound[leaf.index] if isinstance(leaf, Slot) else leaf, opened.operands)
    outputs = values_in(scope.outputs)
    specs = [twin.spec(value) for value in outputs]
    name = twin.unique_name(scope.path) if scope.path in twin else scope.path
    node = twin.add_node(
        key, args, kwargs, outputs=specs, name=name, scope=scope.parent, origin=(name,), near=inside[-1].name
    )
    names = {each.name for each in inside}
    for index, value in enumerate(outputs):
        if value.node in names:
            twin.replace_uses(value, Value(name, index), keep=names)
    _remove(twin, [each.name for each in reversed(inside)])
    for path in sorted((path for path in twin.scopes if in_scope(path, scope.path)), key=len, reverse=True):
        twin.drop_scope(path)
    if checked:
        twin.mark_checked(node.name)
    return key


def _remove(twin: Graph, names: list[str]) -> None:
    """Remove nodes that nothing else reads; those whose weights others of them read come last."""
    while names:
        left = []
        for name in names:
            try:
                twin.remove(name)
            except GraphError:
                left.append(name)
        if len(left) == len(names):
            twin.remove(names[0])
        names = left


def _weights(graph: Graph, opened: Opened) -> dict[str, Any]:
    """The weights of the closed layer with the values that they have in the graph now."""
    weights = dict(opened.layer.weights)
    for path, ref in opened.weights.items():
        now, own = graph.layers[ref.layer].weights[ref.key], weights[path]
        array = now.array if now.shape == own.shape else np.reshape(now.array, own.shape)  # scalars are held as one
        weights[path] = replace(own, array=array, trainable=now.trainable, tie=now.tie)
    return weights


def _tie(twin: Graph, places: Mapping[WeightRef, list[tuple[str, str]]]) -> None:
    """Let weights that the closed layers share, with each other or with what is still there, be one variable."""
    for ref, several in places.items():
        everywhere = several + ([(ref.layer, ref.key)] if ref.layer in twin.layers else [])
        if len(everywhere) < 2:
            continue
        found = (twin.layers[key].weights[path].tie for key, path in everywhere)
        ties = {tie for tie in found if tie is not None}
        tie = min(ties) if ties else new_tie()
        for key, path in everywhere:
            layer = twin.layers[key]
            weight = replace(layer.weights[path], tie=tie)
            twin.update_layer(key, replace(layer, weights={**layer.weights, path: weight}))


__all__ = ["Moved", "folded", "recorded"]
