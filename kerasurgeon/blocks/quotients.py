"""Knowledge quotients: how much each region of a network matters, as a table that can be saved and plotted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from rich.table import Table

from kerasurgeon.blocks.choose import Chosen, choose_regions
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.costs import LeftOut
from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.report.quotients import plot_quotients, quotient_table
from kerasurgeon.report.tables import Printed

_OPTIONAL_NUMBER = (float, int, type(None))
PLAN = PlanFile(
    "quotients",
    "table of quotients",
    {
        "model": str,
        "value": _OPTIONAL_NUMBER,
        "macs": int,
        "parameters": int,
        "latency": _OPTIONAL_NUMBER,
        "fingerprint": str,
        "rows": list,
        "left": dict,
        "left_out": dict,
        "sizes": dict,
        "warning": str,
    },
)


@final
@dataclass(frozen=True)
class Quotients(Printed):
    """The quotients of a network's regions, in the order of the network, each region before those inside it.

    Attributes:
        model: Name of the model.
        value: What the evaluation gives for the whole model.
        macs: Multiply-accumulates of the whole model, for one sample.
        parameters: Its parameters.
        latency: Its latency, where it was measured, in the unit of ``latency_of``.
        rows: One for each region and method.
        left: Regions without a quotient, and why.
        fingerprint: Of the model, the data and the options.
        left_out: The calls whose multiply-accumulates cannot be told: ``macs`` and what rows save leave them out.
        sizes: The sizes of the inputs that multiply-accumulates are for, by their names; empty for the model's own.
        warning: What is said of a network that has not learned what it is judged by; else empty.
    """

    model: str
    value: float
    macs: int
    parameters: int
    latency: float | None = None
    rows: tuple[Quotient, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    warning: str = ""

    def __iter__(self) -> Iterator[Quotient]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, region: str) -> Quotient:
        """The best row of a region: the one with the least quotient.

        Raises:
            GraphError: There is none.
        """
        found = [row for row in self.rows if row.region == region]
        if not found:
            names = {row.region for row in self.rows}
            why = self.left.get(region)
            if why:
                raise GraphError(f"Region {region!r} has no quotient: {why}.")
            raise GraphError(f"There is no quotient of a region {region!r}.", hint=did_you_mean(region, names))
        return min(found, key=lambda row: row.quotient)

    def ranked(self) -> tuple[Quotient, ...]:
        """The rows by quotient: what matters least comes first."""
        return tuple(sorted(self.rows, key=lambda row: row.quotient))

    def choose(self, **target: Any) -> Chosen:
        """The best set of regions for a budget: see ``choose_regions``."""
        return choose_regions(self, **target)

    def table(self) -> Table:
        """A rich table."""
        return quotient_table(self.to_dict(), self.left_out.said)

    def lines(self) -> list[str]:
        """The warning, if there is one."""
        return [self.warning] if self.warning else []

    def plot(self, path: str | Path, **options: Any) -> Path:
        """A picture of the quotients and of what they save: see ``report.quotients.plot_quotients``."""
        return plot_quotients(self.to_dict(), path, **options)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data that JSON can hold."""
        return {
            "format": PLAN.format,
            "model": self.model,
            "value": _number(self.value),
            "macs": self.macs,
            "parameters": self.parameters,
            "latency": self.latency,
            "fingerprint": self.fingerprint,
            "rows": [asdict(row) | {"nodes": list(row.nodes), "run": list(row.run)} for row in self.rows],
            "left": dict(self.left),
            "left_out": self.left_out.to_dict(),
            "sizes": {name: list(shape) for name, shape in self.sizes.items()},
            "warning": self.warning,
        }

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            FileError: It cannot be written, or a file is there and ``overwrite`` is false.
        """
        PLAN.save(path, self.to_dict(), overwrite=overwrite)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str | None = None) -> Quotients:
        """What ``to_dict`` gave.

        Args:
            content: The data.
            where: The file that it is from, for messages.

        Raises:
            PlanError: It is something else.
        """
        data = PLAN.entries_of(content, where)
        with PLAN.part(where):
            left_out = LeftOut(**{**data["left_out"], "names": tuple(data["left_out"]["names"])})
            sizes = {name: tuple(shape) for name, shape in data["sizes"].items()}
            rows = [Quotient(**{**row, "nodes": tuple(row["nodes"]), "run": tuple(row["run"])}) for row in data["rows"]]
        value = math.nan if data["value"] is None else float(data["value"])
        return cls(**{**data, "value": value, "rows": tuple(rows), "left_out": left_out, "sizes": sizes})

    @classmethod
    def load(cls, path: str | Path) -> Quotients:
        """Read them from a file.

        Raises:
            PlanError: The file is missing or holds none.
        """
        return cls.from_dict(PLAN.load(path), str(path))

    def __repr__(self) -> str:
        return f"Quotients({self.model!r}, {len(self.rows)} rows)"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["Quotients"]
