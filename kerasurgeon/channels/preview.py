"""What a plan would do to a model, shown before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.api import CutReport, cut_channels
from kerasurgeon.channels.counts import chosen_units
from kerasurgeon.channels.importance import Evidence, criterion_for
from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.costs import compare_costs, cost
from kerasurgeon.costs.compare import CostComparison
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.report.tables import Printed, grid
from kerasurgeon.rules import Sizes


@dataclass(frozen=True)
class Preview(Printed):
    """What a plan would do. Prints as a table.

    Attributes:
        name: The model's name.
        widths: Channels before and after, of every layer that would lose some, whether the plan names it or not.
        named: The layers that the plan names.
        criteria: By what channels were chosen, of the layers of which the plan gives a number.
        report: What the cut would report.
        costs: The cost before and after.
    """

    name: str
    widths: dict[str, tuple[int, int]]
    named: frozenset[str]
    criteria: dict[str, str]
    report: CutReport
    costs: CostComparison

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        return {
            "model": self.name,
            "layers": {
                name: {
                    "before": before,
                    "after": after,
                    "named": name in self.named,
                    "chosen": self.criteria.get(name, ""),
                }
                for name, (before, after) in self.widths.items()
            },
            "removed": self.report.removed,
            "kept": self.report.kept,
            "inexact": self.report.inexact,
            "cost": self.costs.to_dict(),
        }

    def table(self) -> Table:
        """A rich table of the layers that would lose channels."""
        table = grid(("layer", "channels", "kept", ""), left=("layer", ""), title=f"what would go from {self.name}")
        for name, (before, after) in self.widths.items():
            note = self.report.kept.get(name) or self.criteria.get(
                name, "" if name in self.named else "goes with the others"
            )
            table.add_row(name, str(before), str(after), note)
        for node, what in self.report.removed.items():
            table.add_row(node, "-", "-", what)
        for layer, reason in self.report.inexact.items():
            table.add_row(layer, "-", "-", f"inexact: {reason}")
        return table

    def __str__(self) -> str:
        return f"{Printed.__str__(self)}\n{self.costs}"


def preview(
    plan: KeptChannels, model: Any, importance: Any, data: Any, loss: Any, sizes: Sizes | None = None
) -> Preview:
    """See ``ChannelPlan.show``."""
    graph = model if isinstance(model, Graph) else lift(model)
    trial = graph.copy()
    channels = analyse(graph)
    gone = chosen_units(plan, criterion_for(importance), Evidence(channels, data, loss))
    report = cut_channels(trial, gone, channels)
    by = importance if isinstance(importance, str) else getattr(importance, "__name__", type(importance).__name__)
    criteria = {name: f"which ones: by {by}" for name, wanted in plan.kept.items() if isinstance(wanted, int)}
    costs = compare_costs(cost(graph, sizes=sizes), cost(trial, sizes=sizes))
    return Preview(graph.name, report.widths, frozenset(plan.kept), criteria, report, costs)
