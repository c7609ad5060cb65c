"""The summary of a procedure: as a table, in Markdown, in one line. The data is what its ``summary.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kerasurgeon.report.numbers import format_count, format_partial, format_saved
from kerasurgeon.report.tables import grid, markdown


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A summary as a table."""
    return grid(("stage", summary["metric"], "MACs", "parameters"), _rows(summary), title=summary["name"])


def summary_markdown(summary: Mapping[str, Any]) -> str:
    """A summary as a table in Markdown: what is the same on every machine, so without times."""
    heads = ("stage", summary["metric"].replace("_", " "), "MACs", "parameters")
    return f"{markdown(heads, _rows(summary))}\n\n{_saved(summary)}."


def summary_line(summary: Mapping[str, Any]) -> str:
    """What was saved and what was lost, in one line."""
    text = _saved(summary)
    times = summary["latency_ms"]
    if "original" in times and "final" in times:
        text += f", {times['original']:.2f} ms to {times['final']:.2f} ms"
    return text


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            row["stage"],
            f"{row[summary['metric']]:.2%}",
            format_partial(row["macs"], "macs_unknown" in row),
            format_count(row["parameters"]),
        )
        for row in summary["rows"]
    ]


def _saved(summary: Mapping[str, Any]) -> str:
    lost = 100 * summary["lost"]
    known = " that are known" * any("macs_unknown" in row for row in summary["rows"])
    return (
        f"{format_saved(summary['macs_saved'], f'MACs{known}')}, "
        f"{format_saved(summary['parameters_saved'], 'parameters')}, "
        f"{abs(lost):.2f} points of {summary['metric'].replace('_', ' ')} {'gained' if lost < 0 else 'lost'}"
    )


__all__ = ["summary_line", "summary_markdown", "summary_table"]
