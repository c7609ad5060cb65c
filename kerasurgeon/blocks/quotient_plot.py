"""A picture of knowledge quotients."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from kerasurgeon.blocks.quotients import Quotient, Quotients
from kerasurgeon.errors import OptionError, missing_extra

SUFFIXES = (".png", ".pdf", ".svg")
_COLOURS = {"drop": "#4477aa", "scale": "#66ccee", "affine": "#228833", "projection": "#ccbb44"}
_MOST_NAMES = 120


def plot_quotients(
    quotients: Quotients, path: str | Path, *, chosen: Collection[str] = (), depth: int | None = None
) -> Path:
    """Draw the quotients of regions, and below what each saves, in the order of the network.

    Args:
        quotients: The quotients; of a region with several, the least.
        path: Where to write: .png, .pdf or .svg.
        chosen: Names of regions to mark.
        depth: Leave out regions inside more than so many others.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: There is nothing to draw, or the suffix is another.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(
            "The picture cannot be written.", where=str(path), expected=f"a name ending in {', '.join(SUFFIXES)}"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot", "Plotting quotients") from error
    from kerasurgeon.atomic import staged

    rows = _best(quotients, depth)
    if not rows:
        raise OptionError("There are no quotients to draw.", got=repr(quotients))
    figure = Figure(figsize=(max(6.0, 0.28 * len(rows) + 2), 6.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw(above, [row.quotient for row in rows], rows, chosen)
    above.set_ylabel("knowledge quotient")
    above.axhline(0, color="black", linewidth=0.8)
    above.set_title(f"{quotients.model}: what each region is worth")
    measure, total = ("latency", quotients.latency) if quotients.latency else ("MACs", quotients.macs)
    saved = [
        100 * ((row.latency_saved or 0) if quotients.latency else row.macs_saved) / max(total or 1, 1e-12)
        for row in rows
    ]
    _draw(below, saved, rows, chosen)
    below.set_ylabel(f"{measure} saved, %")
    names = [row.region for row in rows] if len(rows) <= _MOST_NAMES else [""] * len(rows)
    below.set_xticks(range(len(rows)), names, rotation=90, fontsize=7)
    _legend(above, rows, chosen)
    with staged(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path


def _best(quotients: Quotients, depth: int | None) -> list[Quotient]:
    names = dict.fromkeys(row.region for row in quotients)
    rows = [quotients[name] for name in names]
    return [row for row in rows if depth is None or row.depth <= depth]


def _draw(axes: Any, heights: list[float], rows: list[Quotient], chosen: Collection[str]) -> None:
    axes.bar(
        range(len(rows)),
        heights,
        color=[_COLOURS.get(row.method, "#888888") for row in rows],
        edgecolor=["#ee6677" if row.region in chosen else "none" for row in rows],
        linewidth=1.8,
    )
    axes.grid(axis="y", linewidth=0.4)
    axes.set_axisbelow(True)


def _legend(axes: Any, rows: list[Quotient], chosen: Collection[str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour, label=f"instead: {'nothing' if method == 'drop' else method}")
        for method, colour in _COLOURS.items()
        if any(row.method == method for row in rows)
    ]
    if chosen:
        handles.append(Patch(facecolor="none", edgecolor="#ee6677", linewidth=1.8, label="chosen"))
    axes.legend(handles=handles, fontsize=8)


__all__ = ["SUFFIXES", "plot_quotients"]
