"""Pieces of a network without branches, which is a single region: what can be left out of a VGG or a MobileNet (V1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod

from kerasurgeon.ir import Graph, Layer, Node, Value
from kerasurgeon.rewrite.regions import Region, cut_points, region_between, regions
from kerasurgeon.rules.asking import is_elementwise, linear_form, normalisation_of, positions_of
from kerasurgeon.rules.positions import Border, Enlarged


def regions_and_pieces(graph: Graph, *, min_nodes: int = 2) -> tuple[Region, ...]:
    """The regions of a graph; of a network without branches, which is a single one, that and its pieces.

    A piece is a layer that mixes channels, and what follows up to the next such. A depthwise convolution goes with the
    layer that mixes its channels; what pads, enlarges or flattens goes with the layer behind it. What is before the
    first of these layers is in no piece. Each is named by its first and last node.

    Args:
        graph: The graph.
        min_nodes: The fewest nodes of a region. A piece may be a single layer unless this is above 2.
    """
    found = regions(graph, min_nodes=min_nodes)
    if len(found) != 1 or found[0].kind != "chain":
        return found
    (whole,) = found
    if any(node.inputs and node.name not in whole for node in graph.nodes()):
        return found
    parts = [region_between(graph, entry, exit) for entry, exit in pairwise(_borders(graph))]
    named = tuple(
        replace(part, name=f"{part.nodes[0]}..{part.nodes[-1]}", parent=whole.name, depth=1)
        for part in (parts if len(parts) > 1 else ())
    )
    listed = (part for part in named if min_nodes <= 2 or len(part) >= min_nodes)
    return replace(whole, children=named), *listed


def _borders(graph: Graph) -> Iterator[Value]:
    complete = True  # whether the next layer with weights begins a piece
    border: Value | None = None  # where it would begin
    values = cut_points(graph)
    for before, value in pairwise(values):
        node = graph[value.node]
        if border is None and (_weighs(graph, node) or _leads_on(graph, before, value)):
            border = before
        if not _weighs(graph, node):
            continue
        if complete and border is not None:
            yield border
        complete, border = _mixes(graph.layer_of(node)), None
    yield values[-1]


def _weighs(graph: Graph, node: Node) -> bool:
    """Whether a node has weights that are more than those of a norm or an activation."""
    weights = graph.layer_of(node).weights
    return bool(weights) and not is_elementwise(graph, node) and normalisation_of(graph, node) is None


def _mixes(layer: Layer) -> bool:
    """Whether channels meet in a layer with weights."""
    form = linear_form(layer)
    return form is None or not all(kernel.depthwise for kernel in form.kernels)


def _leads_on(graph: Graph, before: Value, value: Value) -> bool:
    """Whether a node only prepares what the next layer reads: its result is larger, or has another number of axes."""
    shape, made = graph.spec(before).shape, graph.spec(value).shape
    does = positions_of(graph, graph[value.node])
    if len(shape) != len(made) or isinstance(does, Enlarged) or (isinstance(does, Border) and not does.cuts):
        return True
    known = [(size, new) for size, new in zip(shape, made, strict=True) if size is not None and new is not None]
    return prod(new for _, new in known) > prod(size for size, _ in known)


__all__ = ["regions_and_pieces"]
