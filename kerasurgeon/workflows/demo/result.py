"""What the demo found: one row a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from kerasurgeon.report import Printed, format_bytes, format_count, grid


@dataclass(frozen=True)
class Row:
    """One model of the demo.

    Attributes:
        name: What it is.
        file: Name of its file.
        accuracy: Share of the test images that it gets right.
        parameters: Elements of its weights, before any quantisation.
        macs: Multiply-accumulates for one image.
        bytes: Size of the file.
        latency_ms: Milliseconds for one image on one thread, median of interleaved rounds; Keras models run
            compiled by their backend.
    """

    name: str
    file: str
    accuracy: float
    parameters: int
    macs: int
    bytes: int
    latency_ms: float


@dataclass(frozen=True)
class DemoResult(Printed):
    """What the demo found.

    Attributes:
        folder: Where the files are.
        rows: One per model; the first is the original.
        seed: What all random choices followed from.
        test_images: How many images the accuracies are of.
        seconds: How long it took.
        reports: What the passes did, run by run, as data.
    """

    folder: Path
    rows: tuple[Row, ...]
    seed: int
    test_images: int
    seconds: float
    reports: tuple[dict[str, Any], ...]

    def at(self, folder: Path) -> DemoResult:
        """The same, with the files elsewhere."""
        return replace(self, folder=folder)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            **asdict(self),
            "folder": str(self.folder),
            "rows": [asdict(row) for row in self.rows],
            "reports": list(self.reports),
        }

    def table(self) -> Table:
        """One row a model; sizes also as a share of the original's."""
        first = self.rows[0]
        table = grid(
            ("model", "file", "accuracy", "parameters", "MACs", "file size", "latency"),
            left=("model", "file"),
            title=f"digits: accuracy on {self.test_images} test images, latency of one image",
        )
        for row in self.rows:
            table.add_row(
                row.name,
                row.file,
                f"{row.accuracy:.1%}",
                _kept(format_count(row.parameters), row.parameters, first.parameters),
                _kept(format_count(row.macs), row.macs, first.macs),
                _kept(format_bytes(row.bytes), row.bytes, first.bytes),
                f"{row.latency_ms:.3f} ms",
            )
        return table


def _kept(text: str, value: float, first: float) -> str:
    return text if value == first else f"{text} ({value / first:.0%})"
