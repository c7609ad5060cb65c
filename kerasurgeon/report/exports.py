"""Exported files: how far their outputs are from a model's, and how long they take. Rows are data, by name of field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.report.numbers import format_bytes, format_ratio
from kerasurgeon.report.page import table
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


def file_tables(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tables of a page about files that were written, as ``ExportReport.to_dict`` gives them."""
    written = [
        (item["path"], item["format"], item["quantize"] or "float32", format_bytes(item["bytes"]), _seconds(item))
        for item in files
    ]
    compared = [
        (
            f"{item['path']}: {output['name']}",
            _number(output["max_abs_error"]),
            _number(output["relative_error"]),
            _number(output["rms_error"]),
            format_ratio(output["argmax_agreement"]),
        )
        for item in files
        for output in item["outputs"]
    ]
    notes = "; ".join(f"{item['path']}: {note}" for item in files for note in item["notes"])
    heads = ("output", "largest difference", "relative", "RMS / deviation", "same argmax")
    tables = [table("Files", ("file", "format", "numbers", "size", "written in"), written, note=notes)] if files else []
    return tables + ([table("Outputs of files, compared with the model's", heads, compared)] if compared else [])


def latency_table(found: Mapping[str, Any]) -> dict[str, Any]:
    """A table of a page of latencies that were measured together, as ``LatencyTable.to_dict`` gives them."""
    rows = [
        (row["name"], row["kind"], f"{row['median_ms']:.3f}", f"{row['low_ms']:.3f}-{row['high_ms']:.3f}", row["ratio"])
        for row in found["rows"]
    ]
    said = f"batch {found['batch_size']}, {found['threads'] or 'default'} threads, median of {found['rounds']} rounds"
    return table("Latency", ("model", "kind", "ms", "quartiles", "ratio"), rows, note=said)


def _seconds(item: Mapping[str, Any]) -> str:
    return f"{item['seconds']:.1f} s"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


__all__ = ["file_tables", "latency_table", "latency_text", "parity_text"]
