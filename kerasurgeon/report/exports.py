"""Exported files: how far their outputs are from a model's, and how long they take. Rows are data, by name of field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.report.tables import columns


def parity_text(outputs: Sequence[Mapping[str, Any]]) -> str:
    """Differences of outputs, as ``asdict`` gives them of ``OutputParity``."""
    rows = [
        [
            output["name"],
            _number(output["max_abs_error"]),
            _number(output["relative_error"]),
            _number(output["rms_error"]),
            "-" if output["argmax_agreement"] is None else f"{output['argmax_agreement']:.1%}",
        ]
        for output in outputs
    ]
    return columns(["output", "max abs error", "relative error", "RMS error / deviation", "argmax agreement"], rows)


def latency_text(table: Mapping[str, Any]) -> str:
    """Latencies that were measured together, as ``LatencyTable.to_dict`` gives them."""
    head = f"batch {table['batch_size']}, {table['threads'] or 'default'} threads, median of {table['rounds']} rounds"
    rows = [
        [
            row["name"],
            row["kind"],
            f"{row['median_ms']:.3f}",
            f"{row['low_ms']:.3f}-{row['high_ms']:.3f}",
            f"{row['ratio']:.2f}",
        ]
        for row in table["rows"]
    ]
    return f"{head}\n{columns(['model', 'kind', 'ms', 'quartiles', 'ratio'], rows)}"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


__all__ = ["latency_text", "parity_text"]
