"""What ``cost`` found: totals and one row per call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from kerasurgeon.costs.left_out import LeftOut, left_out
from kerasurgeon.report.costs import cost_line, cost_table
from kerasurgeon.report.tables import Printed


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one call costs.

    Attributes:
        name: The node.
        kind: What it calls.
        shape: Shape of its first output, for the batch size of the cost.
        macs: Multiply-accumulates for one sample; ``None`` if they cannot be told.
        parameters: Elements of the layer's weights; 0 on every call of a layer but its first.
        trainable_parameters: Those of them that training changes.
        weight_bytes: Bytes of the layer's weights; 0 on every call of a layer but its first.
        activation_bytes: Bytes of its outputs; ``None`` if a size is unknown.
        live_bytes: Bytes of all tensors alive while it runs, its operands and outputs included; those of
            unknown size left out.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    macs: int | None
    parameters: int
    trainable_parameters: int
    weight_bytes: int
    activation_bytes: int | None
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be told, and is left out of the totals.

    Attributes:
        name: The node.
        kind: What it calls.
        what: ``"macs"`` or ``"activations"``.
        reason: Why.
        estimate: Of MACs: what they are by ``estimated_macs``; ``None`` where nothing can be said.
    """

    name: str
    kind: str
    what: str
    reason: str
    estimate: int | None = None


@dataclass(frozen=True, slots=True)
class Cost(Printed):
    """What a model costs, shown as a table by ``print``, rich and notebooks.

    What the numbers mean is written in ``kerasurgeon.costs``.

    Attributes:
        name: Name of the model.
        batch_size: Samples at once that the activations are for.
        rows: One row per call, in the order in which they run.
        unknown: Calls whose MACs or sizes cannot be told: the totals leave them out.
        sizes: The sizes of the inputs that were asked for, without the batch, by their names; empty for the model's
            own.
    """

    name: str
    batch_size: int
    rows: tuple[CostRow, ...]
    unknown: tuple[Unknown, ...]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def left_out(self) -> LeftOut:
        """The calls whose MACs ``macs`` leaves out, and what can be said of their share."""
        held = {row.name: row.parameters for row in self.rows}
        calls = [(item.name, item.estimate, held[item.name]) for item in self.unknown if item.what == "macs"]
        return left_out(calls, self.macs, self.parameters)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, those of ``unknown`` calls left out."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def parameters(self) -> int:
        """Elements of all weights, each layer counted once."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable_parameters(self) -> int:
        """Elements of the weights that training changes."""
        return sum(row.trainable_parameters for row in self.rows)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, each layer counted once."""
        return sum(row.weight_bytes for row in self.rows)

    @property
    def peak_activation_bytes(self) -> int:
        """Most bytes of tensors alive at once, weights left out."""
        return max((row.live_bytes for row in self.rows), default=0)

    @property
    def peak_at(self) -> str:
        """The first node at which that many are alive; empty for a model without nodes."""
        return max(self.rows, key=lambda row: row.live_bytes).name if self.rows else ""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        return {
            "name": self.name,
            "batch_size": self.batch_size,
            "sizes": {name: list(shape) for name, shape in self.sizes.items()},
            "macs": self.macs,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "weight_bytes": self.weight_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "peak_at": self.peak_at,
            "rows": [
                {**{key: getattr(row, key) for key in CostRow.__slots__}, "shape": list(row.shape)} for row in self.rows
            ],
            "unknown": [asdict(item) for item in self.unknown],
            "left_out": self.left_out.to_dict(),
        }

    def table(self, *, every: bool = False) -> Table:
        """A rich table. Calls without MACs and weights are left out of it unless ``every`` is set."""
        return cost_table(self.to_dict(), every=every)

    def summary(self) -> str:
        """The totals in one line."""
        return cost_line(self.to_dict())
