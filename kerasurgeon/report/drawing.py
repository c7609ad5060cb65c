"""A graph as plain data to be drawn: nodes with what they cost and how they changed, edges, folds.

A drawing is a dictionary that JSON can hold::

    {"name": str, "nodes": [node, ...], "edges": [[from, to], ...], "totals": {"macs": int, ...}}

where ``from`` and ``to`` are places in ``nodes``, and a node is a dictionary with

- ``name``, ``kind``, ``folds``: what it is called, what it calls, and the folds around it, outermost first;
- ``shape``: its first output, batch size 1, unknown sizes as null;
- ``macs``, ``parameters``, ``weight_bytes``, ``activation_bytes``: what it costs; null where it cannot be told;
- ``options``, ``weights``: plain options of the layer, and its weights as shape and dtype;
- ``unknown``: why a cost cannot be told; ``origin``: what it came from, where that is another;
- ``status`` and ``changes``, once ``mark`` has compared two drawings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.report.folding import folds_of

Drawing = dict[str, Any]
"""See the module."""

COSTS = ("macs", "parameters", "weight_bytes", "activation_bytes")
_TOTALS = ("macs", "parameters", "weight_bytes", "peak_activation_bytes")
_OBVIOUS = frozenset({"name", "trainable", "dtype", "batch_shape", "ragged", "sparse"})
_LONGEST = 120  # characters of an option


def draw(graph: Graph, cost: Mapping[str, Any], *, folds: Drawing | None = None) -> Drawing:
    """What is drawn of a graph.

    Args:
        graph: The graph.
        cost: Its cost as data, as ``Cost.to_dict`` gives it.
        folds: A drawing whose folds are kept, where nodes are named as there or come from there.
    """
    rows = {row["name"]: row for row in cost["rows"]}
    unknown: dict[str, str] = {}
    for item in cost["unknown"]:
        unknown.setdefault(item["name"], item["reason"])
    nodes = [_node(node, graph.layers[node.layer], rows[node.name], unknown.get(node.name)) for node in graph.nodes()]
    reads = {node.name: list(dict.fromkeys(value.node for value in node.inputs)) for node in graph.nodes()}
    scopes = {node.name: node.scope for node in graph.nodes()}
    return assemble(graph.name, nodes, reads, {total: cost[total] for total in _TOTALS}, scopes, folds)


def assemble(
    name: str,
    nodes: Sequence[dict[str, Any]],
    reads: Mapping[str, Sequence[str]],
    totals: Mapping[str, Any],
    scopes: Mapping[str, str],
    folds: Drawing | None = None,
) -> Drawing:
    """A drawing of nodes that are there: edges and folds are added.

    Args:
        name: What the graph is called.
        nodes: The nodes, each after those that it reads.
        reads: For every node those that it reads.
        totals: Costs of the whole graph.
        scopes: For every node the path of the nested model that it is in.
        folds: As for ``draw``.
    """
    names = [node["name"] for node in nodes]
    place = {each: number for number, each in enumerate(names)}
    kept = {} if folds is None else {node["name"]: tuple(node["folds"]) for node in folds["nodes"]}
    known = [node for node in nodes if _known(node, kept)]
    found = folds_of(names, reads, scopes) if len(known) < len(nodes) / 2 else {}
    for node in nodes:
        source = _known(node, kept)
        if not found:  # what is new lies where it came from, or else beside what it reads
            before = next((found_at for found_at in reads[node["name"]] if found_at in kept), None)
            kept[node["name"]] = kept[source or before] if source or before else ()
        node["folds"] = list(found.get(node["name"], kept.get(node["name"], ())))
    edges = [[place[each], number] for number, node in enumerate(names) for each in reads[node]]
    return {"name": name, "nodes": list(nodes), "edges": edges, "totals": dict(totals)}


def _known(node: Mapping[str, Any], kept: Mapping[str, Any]) -> str | None:
    """The node of the other drawing that lies where this one does."""
    return next((name for name in (node["name"], *node.get("origin", ())) if name in kept), None)


def mark(
    before: Drawing,
    after: Drawing,
    reweighed: Collection[str] = (),
    parts: Sequence[str] = ("kind", "options", "weights", "shape"),
) -> None:
    """Say of every node of two drawings what became of it: ``same``, ``resized``, ``changed``, ``new`` or ``gone``.

    A node is resized where nothing but the sizes of its output differ.

    Args:
        before: The first drawing; its nodes that the second has not are gone.
        after: The second.
        reweighed: Nodes of both whose weights have other values.
        parts: What of nodes is compared.
    """
    old = {node["name"]: node for node in before["nodes"]}
    new = {node["name"]: node for node in after["nodes"]}
    for name, node in old.items():
        if name not in new:
            node["status"], node["changes"] = "gone", []
            continue
        other = new[name]
        different = [part for part in parts if node[part] != other[part]]
        resized = ["shape"] if "shape" in different else []
        changes = [part for part in different if part != "shape"]
        if name in reweighed and "weights" not in changes:
            changes.append("values of weights")
        status = "changed" if changes else "resized" if resized else "same"
        for each in (node, other):
            each["status"], each["changes"] = status, changes + resized
    for name, node in new.items():
        if name not in old:
            node["status"], node["changes"] = "new", []


def reweighed(before: Graph, after: Graph) -> set[str]:
    """The nodes of two graphs whose layers have weights of the same shapes and other values."""
    different: dict[tuple[str, str], bool] = {}
    found = set()
    for node in after.nodes():
        if node.name in before:
            pair = before[node.name].layer, node.layer
            if pair not in different:
                different[pair] = _differ(before.layers[pair[0]], after.layers[pair[1]])
            if different[pair]:
                found.add(node.name)
    return found


def _differ(one: Layer, other: Layer) -> bool:
    if one is other or one.weights.keys() != other.weights.keys():
        return False
    arrays = [(one.weights[key].array, other.weights[key].array) for key in one.weights]
    pairs = [(a, b) for a, b in arrays if a is not b and a.shape == b.shape]
    # Most of what differs does so from its beginning on.
    return any(not np.array_equal(a[:1], b[:1]) if a.ndim else False for a, b in pairs) or any(
        not np.array_equal(a, b) for a, b in pairs
    )


def _node(node: Node, layer: Layer, row: Mapping[str, Any], unknown: str | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": node.name,
        "kind": layer.kind,
        "shape": list(row["shape"]),
        **{key: row[key] for key in COSTS},
        "options": {key: plain for key, value in layer.config.items() if (plain := _option(key, value)) is not None},
        "weights": {key: [list(weight.shape), str(weight.array.dtype)] for key, weight in layer.weights.items()},
    }
    if unknown:
        data["unknown"] = unknown
    if node.origin and node.origin != (node.name,):
        data["origin"] = list(node.origin)
    return data


def _option(key: str, value: Any) -> Any:
    """An option as plain data; None where it says nothing, or is more than a plain value."""
    if key in _OBVIOUS or key.endswith(("_initializer", "_regularizer", "_constraint")):
        return None
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
    if isinstance(value, (list, tuple)) and all(isinstance(each, (bool, int, float, str)) for each in value):
        return list(value) if len(str(value)) <= _LONGEST else f"{len(value)} values"
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        return value["class_name"]
    return None


__all__ = ["COSTS", "Drawing", "assemble", "draw", "mark", "reweighed"]
