"""Knowledge quotients as a table and as a picture. The data is what ``Quotients.to_dict`` gives."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from kerasurgeon.errors import OptionError
from kerasurgeon.report.numbers import format_count
from kerasurgeon.report.pictures import picture
from kerasurgeon.report.tables import grid

_COLOURS = {"drop": "#4477aa", "scale": "#66ccee", "affine": "#228833", "projection": "#ccbb44"}
_CHOSEN = "#ee6677"
_MOST_NAMES = 120
Row = Mapping[str, Any]


def quotient_table(found: Mapping[str, Any], note: str = "") -> Table:
    """A row for every region and what was put in its place, in the order of the network, inner ones indented.

    Args:
        found: The quotients as data.
        note: What stands below.
    """
    timed = found["latency"] is not None
    value = math.nan if found["value"] is None else found["value"]
    left = ("region", "kind", "instead")
    table = grid(
        (*left, "x", "quotient", "MACs saved", "parameters saved", *(["latency saved"] if timed else [])),
        left=left,
        title=f"{found['model']}: knowledge quotients, 1 - x / {value:.6g}",
        caption=note or None,
    )
    for row in found["rows"]:
        cells = [
            "  " * row["depth"] + row["region"],
            row["kind"],
            row["method"],
            f"{row['value']:.6g}",
            f"{row['quotient']:+.4f}",
            _saved(row["macs_saved"], found["macs"]),
            _saved(row["parameters_saved"], found["parameters"]),
        ]
        if timed:
            cells.append("?" if row["latency_saved"] is None else f"{row['latency_saved']:.4g}")
        table.add_row(*cells)
    for region, reason in found["left"].items():
        table.add_row(region, "", "-", "", "", "", reason)
    return table


def plot_quotients(
    found: Mapping[str, Any],
    path: str | Path,
    *,
    chosen: Collection[str] = (),
    depth: int | None = None,
    overwrite: bool = True,
) -> Path:
    """Draw the quotients of regions, and below what each saves, in the order of the network.

    Args:
        found: The quotients; of a region with several, the least is drawn.
        path: Where to write: .png, .pdf or .svg.
        chosen: Names of regions to mark.
        depth: Leave out regions inside more than so many others.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: There is nothing to draw, or the suffix is another.
        FileError: The file cannot be written, or another is there and may not be replaced.
    """
    best: dict[str, Row] = {}
    for row in found["rows"]:
        if row["region"] not in best or row["quotient"] < best[row["region"]]["quotient"]:
            best[row["region"]] = row
    rows = [row for row in best.values() if depth is None or row["depth"] <= depth]
    measure, total = ("latency", found["latency"]) if found["latency"] else ("MACs", found["macs"])
    width = max(6.0, 0.28 * len(rows) + 2)
    with picture(path, "Plotting quotients", width, 6.5, dpi=150, overwrite=overwrite) as figure:
        if not rows:
            raise OptionError("There are no quotients to draw.", got=f"{len(best)} regions of {found['model']!r}")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _bars(above, [row["quotient"] for row in rows], rows, chosen)
        above.set_ylabel("knowledge quotient")
        above.axhline(0, color="black", linewidth=0.8)
        above.set_title(f"{found['model']}: what each region is worth")
        saved = [row["latency_saved"] if found["latency"] else row["macs_saved"] for row in rows]
        _bars(below, [100 * (part or 0) / max(total or 1, 1e-12) for part in saved], rows, chosen)
        below.set_ylabel(f"{measure} saved, %")
        names = [row["region"] for row in rows] if len(rows) <= _MOST_NAMES else [""] * len(rows)
        below.set_xticks(range(len(rows)), names, rotation=90, fontsize=7)
        _legend(above, rows, chosen)
    return Path(path)


def _saved(count: int, total: int) -> str:
    return f"{format_count(count)} ({count / total:.1%})" if total else format_count(count)


def _bars(axes: Any, heights: list[float], rows: list[Row], chosen: Collection[str]) -> None:
    axes.bar(
        range(len(rows)),
        heights,
        color=[_COLOURS.get(row["method"], "#888888") for row in rows],
        edgecolor=[_CHOSEN if row["region"] in chosen else "none" for row in rows],
        linewidth=1.8,
    )
    axes.grid(axis="y", linewidth=0.4)
    axes.set_axisbelow(True)


def _legend(axes: Any, rows: list[Row], chosen: Collection[str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour, label=f"instead: {'nothing' if method == 'drop' else method}")
        for method, colour in _COLOURS.items()
        if any(row["method"] == method for row in rows)
    ]
    if chosen:
        handles.append(Patch(facecolor="none", edgecolor=_CHOSEN, linewidth=1.8, label="chosen"))
    axes.legend(handles=handles, fontsize=8)


__all__ = ["plot_quotients", "quotient_table"]
