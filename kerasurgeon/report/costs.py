"""Costs as tables: of one model, and of two side by side. The data is what ``Cost.to_dict`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kerasurgeon.report.numbers import format_bytes, format_count, format_ratio, format_shape
from kerasurgeon.report.tables import grid

_NAMED = 3  # calls that are named per reason
_TOTALS = {
    "macs": ("MACs", format_count),
    "parameters": ("parameters", format_count),
    "trainable_parameters": ("trainable parameters", format_count),
    "weight_bytes": ("weights", format_bytes),
    "peak_activation_bytes": ("peak activations", format_bytes),
}


def cost_table(cost: Mapping[str, Any], *, every: bool) -> Table:
    """Rows, totals, then what is unknown.

    Args:
        cost: A cost as data.
        every: Show calls without MACs and weights too.
    """
    unknown = {item["name"] for item in cost["unknown"]}
    rows = [row for row in cost["rows"] if every or row["macs"] or row["parameters"] or row["name"] in unknown]
    text = ("node", "kind", "output")
    table = grid(
        (*text, "MACs", "parameters", "weights", "output size", "alive"),
        left=text,
        title=f"cost of {cost['name']}",
        caption=_caption(cost, len(rows)),
    )
    for row in rows:
        table.add_row(*_cells(row), end_section=row is rows[-1])
    table.add_row(*_total(cost))
    return table


def cost_line(cost: Mapping[str, Any]) -> str:
    """The totals in one line."""
    more = f", {len(cost['unknown'])} unknown" if cost["unknown"] else ""
    return (
        f"{cost['name']}: {format_count(cost['macs'])} MACs, {format_count(cost['parameters'])} parameters, "
        f"weights {format_bytes(cost['weight_bytes'])}, "
        f"peak activations {format_bytes(cost['peak_activation_bytes'])}{more}"
    )


def comparison_table(totals: Mapping[str, Mapping[str, Any]], unknown: tuple[int, int]) -> Table:
    """Totals before and after.

    Args:
        totals: What ``CostComparison.to_dict`` gives.
        unknown: How many calls' costs are unknown before and after.
    """
    rows = [
        (label, shown(totals[name]["before"]), shown(totals[name]["after"]), format_ratio(totals[name]["kept"]))
        for name, (label, shown) in _TOTALS.items()
    ]
    caption = f"unknown, left out: {unknown[0]} before, {unknown[1]} after" if any(unknown) else None
    return grid(("", "before", "after", "kept"), rows, caption=caption)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        row["kind"],
        format_shape(row["shape"]),
        "?" if row["macs"] is None else format_count(row["macs"]),
        format_count(row["parameters"]),
        format_bytes(row["weight_bytes"]),
        "?" if row["activation_bytes"] is None else format_bytes(row["activation_bytes"]),
        format_bytes(row["live_bytes"]),
    )


def _total(cost: Mapping[str, Any]) -> tuple[str, ...]:
    unknown = {item["what"] for item in cost["unknown"]}
    return (
        *("total", "", ""),
        format_count(cost["macs"]) + (" + ?" if "macs" in unknown else ""),
        format_count(cost["parameters"]),
        format_bytes(cost["weight_bytes"]),
        "",
        f"peak {format_bytes(cost['peak_activation_bytes'])}" + (" + ?" if "activations" in unknown else ""),
    )


def _caption(cost: Mapping[str, Any], shown: int) -> str:
    lines = [f"MACs of one sample; sizes for a batch of {cost['batch_size']}; most alive at {cost['peak_at']!r}"]
    if hidden := len(cost["rows"]) - shown:
        lines.append(f"calls without MACs and weights, not shown: {hidden}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for item in cost["unknown"]:
        reasons.setdefault((item["what"], item["reason"]), []).append(repr(item["name"]))
    for (what, reason), names in reasons.items():
        named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        lines.append(f"? {what} of {named}: {reason}")
    return "\n".join(lines)


__all__ = ["comparison_table", "cost_line", "cost_table"]
