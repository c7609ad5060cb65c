"""Estimate the statistics of batch norms anew from the data that the pipeline was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves, check_count
from kerasurgeon.recover import recalibrate_graph


@final
@dataclass(frozen=True)
class RecalibrateBatchNorm(Pass):
    """Give every batch norm the statistics of the pipeline's data, one run without training.

    Worth it behind passes that change what batch norms see: pruning, Tucker splits, anything approximate. Put it last
    among them, and in front of FoldBatchNorm, which needs the statistics.

    Matches:
        Every ``BatchNormalization``; one with several calls gets the statistics over all of them.
    Leaves alone:
        Batch norms whose statistics hardly change; those inside wrappers; those whose weights another layer holds too.
    Preserves:
        Nothing: outputs change as the statistics do.

    Args:
        batch_size: Samples per batch. Batch norms normalise by the statistics of each batch while the data is run, so
            that larger batches come closer to exact.
        batches: How many batches to use at most; by default all.

    Reference:
        Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020.
    """

    batch_size: int = 128
    batches: int | None = None

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        check_count(self.name, "batch_size", self.batch_size)
        if self.batches is not None:
            check_count(self.name, "batches", self.batches)

    def run(self, graph: Graph, context: Context) -> None:
        """Run the data through once and set all statistics."""
        if not any(graph.kind(node) == "BatchNormalization" for node in graph.nodes()):
            context.left(graph.name, "it has no batch norm")
            return
        if context.data is None:
            raise OptionError(
                f"{self.name} needs data.",
                expected="inputs as for predict, or (inputs, labels)",
                hint="apply_passes(model, passes, data=train_images)",
            )
        moved = recalibrate_graph(graph, context.data, batch_size=self.batch_size, batches=self.batches)
        for key, (shift, growth) in moved.items():
            name = graph.calls(key)[0].name
            if shift < _LITTLE and abs(growth - 1) < _LITTLE:
                context.left(name, "its statistics are those of the data")
            else:
                context.changed(
                    name, f"mean moved by {shift:.3g} standard deviations, these are {growth:.3g} times as large"
                )
        for node in graph.nodes():
            if graph.kind(node) == "BatchNormalization" and node.layer not in moved:
                context.left(node.name, "another layer holds its weights too")


# Rounding moves statistics by less.
_LITTLE = 1e-4
