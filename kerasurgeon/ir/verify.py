"""Structural invariants of a graph: cheap enough to be checked after every pass.

I1 acyclic; I2 edges equal the operands; I3 every value names an existing output; I4 every layer is called and every
call's layer exists; I5 names are legal; I6 model inputs are ``InputLayer`` nodes and every ``InputLayer`` is a model
input; I7 weights are read-only; I8 weight references exist; I9 scopes of nodes exist; I10 weights that are one variable
have one value.
"""

from __future__ import annotations

import numpy as np

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, values_in
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.ir.values import Value, WeightRef


def verify_structure(graph: Graph) -> None:
    """Check that a graph holds together.

    Raises:
        VerificationError: An invariant does not hold; the message names it, the node and its neighbours.
    """
    try:
        nodes = graph.sorted_anew()
    except GraphError as error:
        raise VerificationError("I1: the graph has a cycle.", where=error.where) from error
    calls: dict[str, set[str]] = {}
    for name, node in graph.digraph.nodes(data="node"):
        if name != node.name:
            raise VerificationError(f"I5: node {name!r} is recorded as {node.name!r}.")
        calls.setdefault(node.layer, set()).add(name)
    for node in nodes:
        _verify_node(graph, node)
    for key, layer in graph.layers.items():
        if key not in calls:
            raise VerificationError(
                f"I4: layer {key!r} ({layer.kind}) is never called.",
                hint="remove its last node with graph.remove(), which drops the layer too",
            )
        recorded = {node.name for node in graph.calls(key)}
        if recorded != calls[key]:
            raise VerificationError(
                f"I4: layer {key!r} ({layer.kind}) is not called by the nodes that the graph lists.",
                expected=", ".join(sorted(calls[key])),
                got=", ".join(sorted(recorded)) or "none",
            )
        for path, weight in layer.weights.items():
            if weight.array.flags.writeable:
                raise VerificationError(f"I7: weight {path!r} of layer {key!r} can be written into.")
    _verify_ties(graph)
    _verify_signature(graph)


def _verify_ties(graph: Graph) -> None:
    for first, *others in graph.ties().values():
        array = graph.layers[first.layer].weights[first.key].array
        for other in others:
            twin = graph.layers[other.layer].weights[other.key].array
            if twin is not array and not (twin.dtype == array.dtype and np.array_equal(twin, array, equal_nan=True)):
                raise VerificationError(
                    f"I10: {first} and {other} are one variable, and have come to hold different values.",
                    hint="change both, or leave alone the layers that graph.tied_layers() names",
                )


def _verify_node(graph: Graph, node: Node) -> None:
    def fail(what: str, **parts: str) -> VerificationError:
        return VerificationError(what, where=f"node {node.name!r}", context=neighbourhood(graph, node.name), **parts)

    if node.layer not in graph.layers:
        raise VerificationError(f"I4: node {node.name!r} calls layer {node.layer!r}, which does not exist.")
    if "/" in graph.layer_of(node).name:
        raise fail(f"I5: layer name {graph.layer_of(node).name!r} contains '/'.")
    if node.scope and node.scope not in graph.scopes:
        raise fail(f"I9: the node belongs to scope {node.scope!r}, which does not exist.")
    if not node.outputs:
        raise fail("I3: the node has no outputs.")
    incoming = graph.digraph.in_edges(node.name, keys=True, data="output")
    edges = {(source, key, output) for source, _, key, output in incoming}
    operands = set()
    for position, leaf in enumerate(leaves(node.operands)):
        if isinstance(leaf, Value):
            operands.add((leaf.node, position, leaf.index))
            if not _exists(graph, leaf):
                raise fail(f"I3: operand {position} is {leaf}, which does not exist.")
        elif isinstance(leaf, WeightRef) and (
            leaf.layer not in graph.layers or leaf.key not in graph.layers[leaf.layer].weights
        ):
            raise fail(f"I8: operand {position} is the weight {leaf}, which does not exist.")
    if edges != operands:
        raise fail("I2: the edges do not agree with the operands.", expected=str(operands), got=str(edges))


def _exists(graph: Graph, value: Value) -> bool:
    return value.node in graph and 0 <= value.index < len(graph[value.node].outputs)


def _verify_signature(graph: Graph) -> None:
    inputs = values_in(graph.inputs)
    for what, values in (("input", inputs), ("output", values_in(graph.outputs))):
        if not values:
            raise VerificationError(f"I6: the model has no {what}.")
        for value in values:
            if not _exists(graph, value):
                raise VerificationError(f"I3: model {what} {value} does not exist.")
    for value in inputs:
        if graph.kind(value.node) != "InputLayer":
            raise VerificationError(f"I6: model input {value} is not an InputLayer.")
    strays = {node.name for node in graph.nodes() if graph.kind(node) == "InputLayer"} - {v.node for v in inputs}
    if strays:
        raise VerificationError(f"I6: InputLayer nodes that are no model input: {', '.join(sorted(strays))}.")
