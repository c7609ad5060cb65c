"""Merge two linear layers with nothing between into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

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
    any_op,
    anything,
    infer,
)
from kerasurgeon.rules import may_be_linear
from kerasurgeon.simplify import merged


@final
@dataclass(frozen=True)
class MergeBlocks(RewritePass):
    """Merge two linear layers with nothing between into one that computes the same.

    ``W2 (W1 x + b1) + b2`` is ``(W2 W1) x + (W2 b1 + b2)``. For convolutions the kernels are composed tap by tap,
    strides and dilations included.

    Matches:
        Dense, Conv1D/2D/3D and DepthwiseConv1D/2D that read what another of them gives, and layers of your own whose
        rules say that they are as these.
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
        first = any_op(anything("x"), where=_is_linear).bind("first").shared_ok().many_uses_ok()
        return any_op(first, where=_is_linear).bind("second").shared_ok()

    def check(self, match: Match, graph: Graph) -> None:
        """Refuse two layers that are not one, or would cost more as one."""
        merged(graph, match.node("first"), match.node("second"))

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        """Merge one pair."""
        first, second = match.node("first"), match.node("second")
        layer = merged(graph, first, second)
        graph.set_operands(second, (first.inputs[0],), {})
        graph.update_layer(second.layer, layer)
        graph.remove(first)
        infer(graph)
        return f"merged with {first.name!r} before it into one {layer.kind}"


def _is_linear(node: Node, layer: Layer) -> bool:
    return may_be_linear(layer.kind)


__all__ = ["MergeBlocks"]
