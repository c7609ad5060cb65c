"""Two costs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kerasurgeon.costs.format import format_bytes, format_count, format_ratio
from kerasurgeon.costs.result import Cost
from kerasurgeon.costs.tables import render

_MEASURES = {
    "macs": ("MACs", format_count),
    "parameters": ("parameters", format_count),
    "trainable_parameters": ("trainable parameters", format_count),
    "weight_bytes": ("weights", format_bytes),
    "peak_activation_bytes": ("peak activations", format_bytes),
}


@dataclass(frozen=True, slots=True)
class CostComparison:
    """What is left of a cost. Ratios are kept / before: 0.25 means that a quarter is left.

    Attributes:
        before: The cost before.
        after: The cost after.
    """

    before: Cost
    after: Cost

    @property
    def macs_kept(self) -> float | None:
        """Ratio of MACs kept; ``None`` if there were none before."""
        return self.kept("macs")

    @property
    def parameters_kept(self) -> float | None:
        """Ratio of parameters kept; ``None`` if there were none before."""
        return self.kept("parameters")

    @property
    def weight_bytes_kept(self) -> float | None:
        """Ratio of bytes of weights kept; ``None`` if there were none before."""
        return self.kept("weight_bytes")

    @property
    def peak_activation_bytes_kept(self) -> float | None:
        """Ratio of the peak of activations kept; ``None`` if there was none before."""
        return self.kept("peak_activation_bytes")

    def kept(self, measure: str) -> float | None:
        """The ratio kept of one total of ``Cost``, by its name; ``None`` if it was 0 before."""
        before: int = getattr(self.before, measure)
        after: int = getattr(self.after, measure)
        return after / before if before else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold: per total, before, after and the ratio kept."""
        return {
            measure: {
                "before": getattr(self.before, measure),
                "after": getattr(self.after, measure),
                "kept": self.kept(measure),
            }
            for measure in _MEASURES
        }

    def table(self) -> Table:
        """A rich table of the totals."""
        unknown = len(self.before.unknown), len(self.after.unknown)
        table = Table(caption=f"unknown, left out: {unknown[0]} before, {unknown[1]} after" if any(unknown) else None)
        for head in ("", "before", "after", "kept"):
            table.add_column(head, justify="right" if head else "left")
        for measure, (label, written) in _MEASURES.items():
            values = (written(getattr(cost, measure)) for cost in (self.before, self.after))
            table.add_row(label, *values, format_ratio(self.kept(measure)))
        return table

    def __str__(self) -> str:
        return render(self.table())

    def __rich__(self) -> Table:
        return self.table()


def compare_costs(before: Cost, after: Cost) -> CostComparison:
    """What is left of ``before`` in ``after``."""
    return CostComparison(before, after)
