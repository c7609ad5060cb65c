"""Merge two linear layers with nothing between into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    EXACT,
    Context,
    Graph,
    Layer,
    Match,
    Node,
    Pattern,
    Preserves,
    RewritePass,
    Skip,
    anything,
    infer,
    layers,
)
from kerasurgeon.simplify.merge_kernels import Linear, composed, macs_of_both
from kerasurgeon.simplify.merge_linear import LINEAR, as_layer, as_numbers, linear_layer, spatial_rank
from kerasurgeon.simplify.rules import require_merged


@final
@dataclass(frozen=True)
class MergeBlocks(RewritePass):
    """Merge two linear layers with nothing between into one that computes the same.

    ``W2 (W1 x + b1) + b2`` is ``(W2 W1) x + (W2 b1 + b2)``. For convolutions the kernels are composed tap by tap,
    strides and dilations included.

    Matches:
        Dense, Conv1D/2D/3D and DepthwiseConv1D/2D that read what another of them gives.
    Leaves alone:
        * layers that would take more multiply-accumulates together than the two do: low-rank factors, most depthwise
          convolutions before pointwise ones;
        * borders where padding makes a difference: the second pads a first that has a bias, both have windows of more
          than one position and one pads, or a padded first is read with a stride;
        * a first layer with an activation, or whose result is used elsewhere; shared layers.
    Preserves:
        Outputs, up to rounding. In training one layer takes the place of two.

    Shapes:
        kernels ``(k, c, m)`` and ``(j, m, n)`` -> ``(k + j - 1, c, n)`` without strides and dilations.

    Example:
        >>> smaller = apply_passes(model, [DropBlock("block_5_*", correction="affine"), MergeBlocks()])
    """

    preserves: ClassVar[Preserves] = EXACT

    def pattern(self) -> Pattern:
        """Two linear layers in a row; ``check`` looks at the rest."""
        first = layers.one_of(*LINEAR)(anything("x")).bind("first").shared_ok().many_uses_ok()
        return layers.one_of(*LINEAR)(first).bind("second").shared_ok()

    def check(self, match: Match, graph: Graph) -> None:
        """Refuse two layers that are not one, or would cost more as one."""
        _merged(graph, match.node("first"), match.node("second"))

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        """Merge one pair."""
        first, second = match.node("first"), match.node("second")
        merged = _merged(graph, first, second)
        graph.set_operands(second, (first.inputs[0],), {})
        graph.update_layer(second.layer, merged)
        graph.remove(first)
        infer(graph)
        return f"merged with {first.name!r} before it into one {merged.kind}"


def _merged(graph: Graph, first: Node, second: Node) -> Layer:
    """The layer that computes what two compute."""
    one, other = linear_layer(graph, first), linear_layer(graph, second)
    require_merged(graph, first, second)
    if one.config.get("activation", "linear") not in (None, "linear"):
        raise Skip(f"{first.name!r} has an activation of its own")
    if one.config.get("activity_regularizer") is not None:
        raise Skip(f"{first.name!r} has an activity regulariser")
    if one.config.get("dtype") != other.config.get("dtype"):
        raise Skip(f"{first.name!r} computes in another precision")
    rank = max(spatial_rank(one), spatial_rank(other))
    formats = {layer.config["data_format"] for layer in (one, other) if spatial_rank(layer)}
    mixed = rank and "Dense" in (one.kind, other.kind)
    if len(formats) > 1 or (mixed and "channels_first" in formats):
        raise Skip(f"{first.name!r} has its channels on another axis")
    if mixed and len(second.spec.shape) != rank + 2:
        raise Skip(f"{first.name!r} works along other axes")
    before, behind = as_numbers(one, rank), as_numbers(other, rank)
    padding = _padding(first.name, one, other, before, behind)
    result = composed(before, behind)
    two = macs_of_both(before, behind)
    if result.macs > two:
        raise Skip(f"one layer would take {result.macs:,} MACs a position, {first.name!r} and it take {two:,}")
    return as_layer(result, one, other, padding)


def _padding(name: str, one: Layer, other: Layer, before: Linear, behind: Linear) -> str:
    """How the merged layer pads, where one can pad as the two do."""
    wide_first, wide_second = (any(size > 1 for size in numbers.taps) for numbers in (before, behind))
    # Without a window there is nothing to pad.
    first = one.config.get("padding", "valid") if wide_first else "valid"
    second = other.config.get("padding", "valid") if wide_second else "valid"
    if first == second == "valid":
        return "valid"
    if wide_first and wide_second:
        raise Skip(f"a layer with a window pads what {name!r}, another one, reads or gives")
    if first != "valid":
        if any(stride > 1 for stride in behind.strides):
            raise Skip(f"it has a stride, and {name!r} pads: a window with the product of the strides pads elsewhere")
        return str(first)
    if np.any(before.bias != 0):
        raise Skip(f"it pads with zeros, where {name!r} would give its bias")
    if any(stride > 1 for stride in before.strides):
        raise Skip(f"it pads what {name!r} gives, which has a stride")
    return str(second)


__all__ = ["MergeBlocks"]
