"""Pieces of a network without branches, which is a single region: what can be left out of a VGG or a MobileNet (V1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

from kerasurgeon.ir import Graph, Layer, Node, Value
from kerasurgeon.rewrite.regions import Region, cut_points, region_between
from kerasurgeon.rules.asking import is_elementwise, linear_form, normalisation_of, positions_of
from kerasurgeon.rules.positions import Border, Enlarged


def is_unbranched(graph: Graph, found: Sequence[Region]) -> bool:
    """Whether the regions of a graph are one chain of all that it computes."""
    whole = len(found) == 1 and found[0].kind == "chain"
    return whole and all(not node.inputs or node.name in found[0] for node in graph.nodes())


def pieces(graph: Graph) -> tuple[Region, ...]:
    """A network without branches in pieces: each a layer that mixes channels, and what follows up to the next such.

    A depthwise convolution goes with the layer that mixes its channels; what pads, enlarges or flattens goes with the
    layer behind it. What is before the first of these layers is in no piece. Each is named by its first and last node,
    as ``find_region`` reads it.
    """
    return tuple(
        replace(region, name=f"{region.nodes[0]}..{region.nodes[-1]}")
        for region in (region_between(graph, entry, exit) for entry, exit in pairwise(_borders(graph)))
    )


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


__all__ = ["is_unbranched", "pieces"]
