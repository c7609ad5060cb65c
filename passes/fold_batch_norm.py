"""Fold batch normalisation into the linear layer before or behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import (
    EXACT,
    Context,
    Graph,
    Match,
    Pattern,
    Preserves,
    RewritePass,
    anything,
    layers,
    substitute,
)
from kerasurgeon.simplify import folded


@final
@dataclass(frozen=True)
class FoldBatchNorm(RewritePass):
    """Fold batch normalisation into the linear layer before it, or behind it where that is exact.

    Matches:
        ``BatchNormalization`` behind Conv1D/2D/3D, their transposed forms, DepthwiseConv1D/2D, SeparableConv1D/2D or
        Dense; and before those, where no zero padding comes between (or the batch norm shifts nothing). A global
        average pooling may stand between a batch norm and the Dense behind it.
    Leaves alone:
        * shared layers, batch norms called in training mode, outputs used elsewhere;
        * an activation, or another axis, between the batch norm and the linear layer.
    Preserves:
        Outputs in inference, up to rounding. In training the folded model has no batch statistics any more.

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        CVPR 2018, section 3.2 (the form behind a linear layer).
    """

    preserves: ClassVar[Preserves] = EXACT

    def pattern(self) -> Pattern:
        """Every batch norm; ``check`` looks at what is around it."""
        return layers.BatchNormalization(anything("x"), ...).bind("bn")

    def check(self, match: Match, graph: Graph) -> None:
        """Refuse a batch norm that has no linear layer to go to."""
        folded(graph, match.node("bn"))

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        """Fold one batch norm."""
        norm = match.node("bn")
        linear, layer, where = folded(graph, norm)
        graph.update_layer(linear.layer, layer)
        substitute(graph, norm, norm.inputs[0])
        return f"folded into {linear.name!r} {where} it"


__all__ = ["FoldBatchNorm"]
