"""Where blocks end: the tensors between which a cut leaves whole blocks.

Of the tensors that everything flows through, those that a layer with weights, or several layers, read; not those
in front of the first convolution, in front of a batch norm or an activation, or inside a depthwise-separable unit,
which are

* behind a depthwise convolution, in front of the 1x1 convolution that belongs to it;
* in front of a depthwise convolution with a projection to fewer channels behind it: expansions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.regions import cut_points
from kerasurgeon.rules.asking import combination_of, linear_form, positions_of
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.positions import Border, Each


def block_ends(graph: Graph) -> frozenset[Value]:
    """The tensors at which blocks end, the inputs of the model left out."""
    spine = cut_points(graph)
    linear = [_linear(graph, value) for value in spine]
    ends = []
    for place, value in enumerate(spine):
        users = {use.node for use in graph.uses(value)}
        node = graph[value.node]
        padded = isinstance(positions_of(graph, node), Border)
        if not node.inputs or padded or not users or all(_finishes(graph, graph[name]) for name in users):
            continue
        before = next((kind for kind in reversed(linear[: place + 1]) if kind is not None), None)
        behind = (kind for kind in linear[place + 1 :] if kind is not None)
        if before is not None and not _inside_a_unit(before, behind, _channels(graph, value)):
            ends.append(value)
    return frozenset(ends)


class _Linear(NamedTuple):
    """A convolution."""

    depthwise: bool
    pointwise: bool
    channels: int


def _finishes(graph: Graph, node: Node) -> bool:
    """Whether a node finishes the layer before it: an activation, a norm, a dropout. No block ends in front of it."""
    if len(node.inputs) != 1 or graph.kind(node) == "Softmax" or combination_of(graph, node) is not None:
        return False
    return isinstance(positions_of(graph, node), Each) and linear_form(graph.layer_of(node)) is None


def _linear(graph: Graph, value: Value) -> _Linear | None:
    form = linear_form(graph.layer_of(value.node))
    if form is None or form.window is None:
        return None
    return _Linear(form.depthwise, form.pointwise and not form.depthwise, _channels(graph, value))


def _inside_a_unit(before: _Linear, behind: Iterator[_Linear], channels: int) -> bool:
    following, after = next(behind, None), next(behind, None)
    if following is None:
        return False
    if before.depthwise and following.pointwise:
        return True
    return following.depthwise and after is not None and not after.depthwise and after.channels < channels


def _channels(graph: Graph, value: Value) -> int:
    # On one spine the layout is the same throughout; the product of the other sizes does not matter where it shrinks.
    shape = graph.spec(value).shape
    return (shape[channel_axis(graph.layer_of(value.node).config)] or 0) if len(shape) > 1 else 0
