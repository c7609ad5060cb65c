"""The page of a run: both networks, learning curves, quotients, what each step did, segmentations."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.exporting.outline import draw_both
from kerasurgeon.file_errors import reading
from kerasurgeon.report.charts import curve_charts, quotient_charts, stage_chart
from kerasurgeon.report.numbers import format_count, format_partial, format_saved
from kerasurgeon.report.page import table
from kerasurgeon.report.procedure import summary_line
from kerasurgeon.report.segmentations import hex_colour, pictures
from kerasurgeon.workflows.procedure.folder import RunFolder
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.plot import histories, read_curves
from kerasurgeon.workflows.procedure.segmentations import HEADS, pictures_in

_TRAININGS = {"train_original": "original", "train_shunt": "shunt", "train_final": "final"}


def page_of(folder: RunFolder, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a page shows of a run that is done, as plain data: see ``kerasurgeon.report.page``.

    Args:
        folder: The run's.
        summary: Its summary.

    Raises:
        ModelFileError: A model cannot be loaded.
        PlanError: A file of the run cannot be read.
    """
    found, metric = folder.done(), summary["metric"]
    before, after, notes = draw_both(folder.load_model("trained"), folder.load_model("final"))
    left = {node["name"] for node in after["nodes"]}
    path = folder.path / "quotients.json"
    quotients = Quotients.load(path).to_dict() if os.path.isfile(path) else {"rows": ()}
    gone = [row["region"] for row in quotients["rows"] if left.isdisjoint(set(row["nodes"][:-1]) or row["nodes"])]
    curves = read_curves(folder.path) if histories(folder.path) else ()
    charts = [stage_chart(summary["rows"], metric), *curve_charts(curves), *quotient_charts(quotients, gone)]
    return {
        "title": f"{summary['name']}: the shunt procedure",
        "before": before,
        "after": after,
        "passes": [],
        "notes": [summary_line(summary), *notes, *summary.get("warnings", ())],
        "tables": [_stages(summary), _steps(found, metric), *_times(found)],
        "charts": charts,
        "pictures": _pictures(folder.path, found["data"]["classes"]),
    }


def _stages(summary: Mapping[str, Any]) -> dict[str, Any]:
    metric = summary["metric"]
    rows = [
        (
            row["stage"],
            f"{row[metric]:.2%}",
            format_partial(row["macs"], "macs_unknown" in row),
            format_count(row["parameters"]),
        )
        for row in summary["rows"]
    ]
    return table("Stages", ("stage", metric.replace("_", " "), "MACs", "parameters"), rows, note="On the test data.")


def _steps(found: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any]:
    rows = []
    for number, step in enumerate((step for step in STEPS if step in found), start=1):
        seconds = "" if step == "summary" else f"{found[step].get('seconds', 0.0):.1f}"  # it has that of all steps
        rows.append((f"{number}. {step}", _said(step, found[step], metric), seconds))
    return table("Steps", ("step", "what it came to", "seconds"), rows, left=2)


def _said(step: str, facts: Mapping[str, Any], metric: str) -> str:
    """What a step did, in a line."""
    if step == "data":
        sizes = ", ".join(f"{count} {part}" for part, count in facts["samples"].items() if count is not None)
        return f"{facts['name']}: {facts['task']}, {facts['classes']} classes; {sizes}"
    if step == "quotients":
        if not facts.get("regions"):
            return "not measured"
        least = "; ".join(f"{region} {value:+.4f}" for region, value in facts["least"])
        return f"{facts['regions']} measured, the least: {least}"
    if step == "shunt":
        places = ", ".join(f"{item['entry']} to {item['exit']}" for item in facts["bridges"])
        return f"{len(facts['bridges'])} put in: {places}; {_measured(facts, metric)}"
    if step == "latency":
        return "see below" if facts.get("rows") else "not timed"
    if step == "summary":
        points = f"{100 * abs(facts['lost']):.2f} points of {metric.replace('_', ' ')}"
        lost = f"{points} {'gained' if facts['lost'] < 0 else 'lost'}"
        return f"{format_saved(facts['macs_saved'], 'MACs')}, {lost}"
    return _measured(facts, metric) if metric in facts else ""


def _measured(facts: Mapping[str, Any], metric: str) -> str:
    return f"{metric.replace('_', ' ')} {facts[metric]:.2%}, {format_count(facts['macs'])} MACs"


def _times(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    facts = found.get("latency", {})
    wanted = ("name", "median_ms", "low_ms", "high_ms")
    rows = [row for row in facts.get("rows", ()) if isinstance(row, Mapping) and set(wanted) <= row.keys()]
    if not rows:
        return []
    cells = [(row["name"], *(f"{row[key]:.3f}" for key in wanted[1:])) for row in rows]
    note = f"Milliseconds, batch {facts.get('batch_size', '?')}, both side by side on this machine."
    return [table("Latency", ("network", "median", "lower quartile", "upper quartile"), cells, note=note)]


def _pictures(folder: Path, classes: int) -> list[dict[str, Any]]:
    rows = pictures_in(folder)
    if not rows:
        return []
    colours = [(f"class {index}", hex_colour(index)) for index in range(classes)]
    note = "Images of the test data; grey does not count."
    return [pictures("Segmentations", HEADS, [[_uri(path) for path in row] for row in rows], names=colours, note=note)]


def _uri(path: Path) -> str:
    with reading(path, "picture"):
        return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


__all__ = ["page_of"]
