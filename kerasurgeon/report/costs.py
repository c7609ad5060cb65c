"""Costs as tables: of one model, and of two side by side. The data is what ``Cost.to_dict`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kerasurgeon.report.numbers import format_bytes, format_count, format_kept, format_partial, format_shape
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
    unknown = {item["what"] for item in cost["unknown"]}
    calls = len({item["name"] for item in cost["unknown"]})
    more = f", ?: unknown for {calls} calls" if calls > 1 else ", ?: unknown for 1 call" if calls else ""
    peak = format_partial(cost["peak_activation_bytes"], "activations" in unknown, format_bytes)
    return (
        f"{cost['name']}: {format_partial(cost['macs'], 'macs' in unknown)} MACs, "
        f"{format_count(cost['parameters'])} parameters, weights {format_bytes(cost['weight_bytes'])}, "
        f"peak activations {peak}{_of_sizes(cost)}{more}"
    )


def comparison_table(before: Mapping[str, Any], after: Mapping[str, Any], kept: Mapping[str, float | None]) -> Table:
    """Totals before and after.

    Args:
        before: A cost as data.
        after: Another.
        kept: What is left, by total; of totals that are known in part, of what is known.
    """
    rows = []
    for name, (label, shown) in _TOTALS.items():
        partial = [_in_part(cost, name) for cost in (before, after)]
        cells = [format_partial(cost[name], some, shown) for cost, some in zip((before, after), partial, strict=True)]
        known = " of what is known" if any(partial) and kept[name] is not None else ""
        rows.append((label, *cells, format_kept(kept[name]) + known))
    unknown = [len(cost["unknown"]) for cost in (before, after)]
    notes = [_of_sizes(before, "for inputs of")] if before["sizes"] else []
    notes += [f"unknown, left out: {unknown[0]} before, {unknown[1]} after"] if any(unknown) else []
    return grid(("", "before", "after", "kept"), rows, caption="\n".join(notes) or None)


def _in_part(cost: Mapping[str, Any], total: str) -> bool:
    what = {"macs": "macs", "peak_activation_bytes": "activations"}.get(total)
    return any(item["what"] == what for item in cost["unknown"])


def _of_sizes(cost: Mapping[str, Any], before: str = ", inputs") -> str:
    """For which sizes of the inputs a cost is, where these were asked for."""
    shapes = ", ".join(f"{name} {format_shape(shape)}" for name, shape in cost["sizes"].items())
    return f"{before} {shapes}" if shapes else ""


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
        format_partial(cost["macs"], "macs" in unknown),
        format_count(cost["parameters"]),
        format_bytes(cost["weight_bytes"]),
        "",
        f"peak {format_partial(cost['peak_activation_bytes'], 'activations' in unknown, format_bytes)}",
    )


def _caption(cost: Mapping[str, Any], shown: int) -> str:
    sample = f"MACs of one sample{_of_sizes(cost)}"
    lines = [f"{sample}; sizes for a batch of {cost['batch_size']}; most alive at {cost['peak_at']!r}"]
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
