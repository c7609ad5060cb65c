"""Two costs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kerasurgeon.costs.result import Cost
from kerasurgeon.report.costs import comparison_table
from kerasurgeon.report.tables import Printed

_MEASURES = ("macs", "parameters", "trainable_parameters", "weight_bytes", "peak_activation_bytes")


@dataclass(frozen=True, slots=True)
class CostComparison(Printed):
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
        """Everything as plain data that JSON can hold: totals before and after, ratios, what is left out."""
        totals = {
            measure: {
                "before": getattr(self.before, measure),
                "after": getattr(self.after, measure),
                "kept": self.kept(measure),
            }
            for measure in _MEASURES
        }
        left = {"before": self.before.left_out.to_dict(), "after": self.after.left_out.to_dict()}
        return {**totals, "left_out": left, "sizes": self.before.to_dict()["sizes"]}

    def table(self) -> Table:
        """A rich table of the totals."""
        kept = {measure: self.kept(measure) for measure in _MEASURES}
        return comparison_table(self.before.to_dict(), self.after.to_dict(), kept)


def compare_costs(before: Cost, after: Cost) -> CostComparison:
    """What is left of ``before`` in ``after``."""
    return CostComparison(before, after)
