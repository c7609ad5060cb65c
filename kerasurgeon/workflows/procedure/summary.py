"""What a procedure comes to: what was saved, and how good the network was after each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kerasurgeon.costs import format_count

STAGES = (
    ("train_original", "original"),
    ("shunt", "shunts inserted, untrained"),
    ("train_shunt", "after training the shunts"),
    ("train_final", "after training the whole"),
)


def summarise(found: Mapping[str, Mapping[str, Any]], metric: str, name: str) -> dict[str, Any]:
    """What the steps found, in one place.

    Args:
        found: Facts by step.
        metric: What networks are measured by.
        name: Of the procedure.
    """
    rows = [{"stage": text, metric: found[step][metric], **_sizes(found[step])} for step, text in STAGES]
    first, last = rows[0], rows[-1]
    times = {row["name"]: row["median_ms"] for row in found.get("latency", {}).get("rows", [])}
    return {
        "name": name,
        "metric": metric,
        "rows": rows,
        "macs_saved": 1 - last["macs"] / first["macs"],
        "parameters_saved": 1 - last["parameters"] / first["parameters"],
        "lost": first[metric] - last[metric],
        "shunts": [[item["entry"], item["exit"]] for item in found["shunt"]["bridges"]],
        "latency_ms": times,
        "seconds": sum(facts.get("seconds", 0.0) for facts in found.values()),
    }


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A summary as a table."""
    table = Table(title=summary["name"], title_justify="left")
    columns = ("stage", summary["metric"], "MACs", "parameters")
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right")
    for row in summary["rows"]:
        table.add_row(
            row["stage"],
            f"{row[summary['metric']]:.2%}",
            format_count(row["macs"]),
            format_count(row["parameters"]),
        )
    return table


def summary_markdown(summary: Mapping[str, Any]) -> str:
    """A summary as a table in Markdown: what is the same on every machine, so without times."""
    metric = summary["metric"]
    rows = [
        f"| {row['stage']} | {row[metric]:.2%} | {format_count(row['macs'])} | {format_count(row['parameters'])} |"
        for row in summary["rows"]
    ]
    lines = [f"| stage | {metric.replace('_', ' ')} | MACs | parameters |", "|---|---|---|---|", *rows]
    return "\n".join([*lines, "", f"{_saved(summary)}."])


def summary_line(summary: Mapping[str, Any]) -> str:
    """What was saved and what was lost, in one line."""
    text = _saved(summary)
    times = summary["latency_ms"]
    if "original" in times and "final" in times:
        text += f", {times['original']:.2f} ms to {times['final']:.2f} ms"
    return text


def _saved(summary: Mapping[str, Any]) -> str:
    lost = 100 * summary["lost"]
    return (
        f"{summary['macs_saved']:.1%} of the MACs and {summary['parameters_saved']:.1%} of the parameters saved, "
        f"{abs(lost):.2f} points of {summary['metric'].replace('_', ' ')} {'gained' if lost < 0 else 'lost'}"
    )


def _sizes(facts: Mapping[str, Any]) -> dict[str, int]:
    return {"macs": facts["macs"], "parameters": facts["parameters"]}
