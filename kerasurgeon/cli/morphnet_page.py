"""The page of a run of ``kerasurgeon morphnet``: both networks, learning curves, widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasurgeon.exporting.outline import draw_both
from kerasurgeon.report.charts import chart, curve_charts, series
from kerasurgeon.report.numbers import format_count, format_kept
from kerasurgeon.report.page import table
from kerasurgeon.workflows.procedure.plot import read_curves


def page_of(folder: Path, result: Mapping[str, Any], models: Sequence[Any]) -> dict[str, Any]:
    """What a page shows of a run, as plain data: see ``kerasurgeon.report.page``.

    Args:
        folder: The run's, with the histories of its trainings.
        result: What it came to, as in ``results.json``.
        models: The network as it was trained, and what is left of it.
    """
    before, after, notes = draw_both(*models)
    first, last = result["initial_widths"], result["widths"]
    names = [name for name in first if name in last]
    widths = [
        series(label, enumerate(found[name] for name in names), "bars")
        for label, found in (("at the beginning", first), ("at the end", last))
    ]
    said = [
        *notes,
        result["warning"],
        result["note"],
        "gone altogether: " + ", ".join(result["vanished"]) if result["vanished"] else "",
    ]
    return {
        "title": f"{result['base_model']}: MorphNet",
        "before": before,
        "after": after,
        "passes": [],
        "notes": [text for text in said if text],
        "tables": [_networks(result), _settings(result)],
        "charts": [
            *curve_charts(read_curves(folder)),
            chart("Alive channels", widths, section="Widths", y="channels", names=names),
        ],
    }


def _networks(result: Mapping[str, Any]) -> dict[str, Any]:
    whole, small = result["initial_cost"], result["small_cost"]
    rows = [
        ("trained", f"{result['accuracy']:.2%}", format_count(whole), "100.0 %", format_count(result["parameters"])),
        (
            "cut" + ", trained on" * bool(result["tuning_epochs"]),
            f"{result['small_accuracy']:.2%}",
            format_count(small),
            format_kept(small / whole),
            format_count(result["small_parameters"]),
        ),
    ]
    heads = ("network", "accuracy", result["unit"], "kept", "parameters")
    return table("Networks", heads, rows, note=f"Accuracy on {result['test_images']} test images.")


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("data", "algorithm", "target", "hardware", "threshold", "strength", "l1_fraction", "ignore", "floors")
    rows = [(key, _shown(result[key])) for key in (*keys, "epochs", "tuning_epochs", "seed")]
    return table("Settings", ("option", "value"), [row for row in rows if row[1]], left=2)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


__all__ = ["page_of"]
