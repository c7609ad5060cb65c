"""Two linear layers with nothing between, as one."""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.simplify.linear_layers import linear_layer, require_no_activation
from kerasurgeon.simplify.merge_kernels import Linear, composed, macs_of_both
from kerasurgeon.simplify.merge_linear import as_layer, as_numbers, spatial_rank
from kerasurgeon.simplify.rules import require_merged


def merged(graph: Graph, first: Node, second: Node) -> Layer:
    """The layer that computes what two compute, the second of which reads the first.

    Raises:
        Skip: There is none, or it would cost more than the two.
    """
    pair = [_composable(graph, node) for node in (first, second)]
    (one, form), (other, behind_form) = pair
    require_merged(graph, first, second)
    require_no_activation(one, first.name)
    if one.config.get("dtype") != other.config.get("dtype"):
        raise Skip(f"{first.name!r} computes in another precision")
    ranks = [spatial_rank(each) for _, each in pair]
    rank = max(ranks)
    formats = {each.channels_first for _, each in pair if each.window is not None}
    mixed = rank and 0 in ranks
    if len(formats) > 1 or (mixed and True in formats):
        raise Skip(f"{first.name!r} has its channels on another axis")
    if mixed and len(second.spec.shape) != rank + 2:
        raise Skip(f"{first.name!r} works along other axes")
    before, behind = as_numbers(one, form, rank), as_numbers(other, behind_form, rank)
    padding = _padding(first.name, form, behind_form, before, behind)
    result = composed(before, behind)
    two = macs_of_both(before, behind)
    if result.macs > two:
        raise Skip(f"one layer would take {result.macs:,} MACs a position, {first.name!r} and it take {two:,}")
    return as_layer(result, pair, padding)


def _composable(graph: Graph, node: Node) -> tuple[Layer, LinearForm]:
    layer, form = linear_layer(graph, node)
    if form.transposed or form.separable:
        raise Skip(f"{node.name!r} is {layer.kind}, which is no product of its patches with one kernel")
    return layer, form


def _padding(name: str, one: LinearForm, other: LinearForm, before: Linear, behind: Linear) -> str:
    """How the merged layer pads, where one can pad as the two do."""
    # Without a window there is nothing to pad.
    first, second = ("valid" if form.pointwise or not form.window else form.window.padding for form in (one, other))
    if first == second == "valid":
        return "valid"
    if not one.pointwise and not other.pointwise:
        raise Skip(f"a layer with a window pads what {name!r}, another one, reads or gives")
    if first != "valid":
        if any(stride > 1 for stride in behind.strides):
            raise Skip(f"it has a stride, and {name!r} pads: a window with the product of the strides pads elsewhere")
        return first
    if np.any(before.bias != 0):
        raise Skip(f"it pads with zeros, where {name!r} would give its bias")
    if any(stride > 1 for stride in before.strides):
        raise Skip(f"it pads what {name!r} gives, which has a stride")
    return second
