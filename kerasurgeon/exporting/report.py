"""What an export tells about the file it wrote."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasurgeon.exporting.parity import OutputParity
from kerasurgeon.report.exports import parity_text
from kerasurgeon.report.numbers import format_bytes


@dataclass(frozen=True, slots=True)
class ExportReport:
    """An exported file, and how far its outputs are from the Keras model's.

    Args:
        path: The file.
        format: ``keras``, ``tflite`` or ``onnx``.
        bytes: The file's size in bytes.
        seconds: How long the export took, the check included.
        quantize: How the file was quantised; None if it is float32.
        samples: How many samples the check ran.
        outputs: The differences, one entry per output; see `OutputParity` for the definitions. None where this machine
            cannot run the Keras model: a note says so then.
        notes: What the user should know about the file.
    """

    path: Path
    format: str
    bytes: int
    seconds: float
    quantize: str | None
    samples: int
    outputs: tuple[OutputParity, ...]
    notes: tuple[str, ...] = ()

    @property
    def relative_error(self) -> float:
        """The largest relative error of all outputs; NaN where they were not compared."""
        return max((output.relative_error for output in self.outputs), default=math.nan)

    def to_dict(self) -> dict[str, Any]:
        """The report as data that JSON can hold."""
        return asdict(self) | {
            "path": str(self.path),
            "outputs": [asdict(output) for output in self.outputs],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        kind = self.quantize or "float32"
        head = f"{self.path}: {self.format}, {kind}, {format_bytes(self.bytes)}, written in {self.seconds:.1f} s"
        notes = "".join(f"\nnote: {note}" for note in self.notes)
        if not self.outputs:
            return f"{head}{notes}"
        differences = parity_text([asdict(output) for output in self.outputs])
        return f"{head}\ncompared with the Keras model on {self.samples} samples:\n{differences}{notes}"
