"""Charts of a page, as plain data: learning curves, quotients, what was tried in a search.

A chart is ``{"section", "title", "x", "y", "series", "names", "note"}``; a series ``{"name", "kind", "points",
"labels"}``, its points pairs of numbers, its labels what else is said of each. Where there are ``names``, bars stand at
0, 1, ... above them. What is not finite is left out of the drawing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from kerasurgeon.report.numbers import format_count
from kerasurgeon.report.pictures import Curve

Chart = dict[str, Any]
KINDS = ("line", "steps", "points", "bars")


def series(
    name: str, points: Iterable[Sequence[float | None]], kind: str = "line", labels: Iterable[str] = ()
) -> dict[str, Any]:
    """What a chart draws in one colour.

    Args:
        name: What it is called.
        points: Pairs of x and y.
        kind: One of ``KINDS``.
        labels: What is said of each point where it is pointed at.
    """
    return {"name": name, "kind": kind, "points": [list(point) for point in points], "labels": list(labels)}


def chart(
    title: str,
    several: Iterable[Mapping[str, Any]],
    *,
    section: str,
    x: str = "",
    y: str = "",
    names: Iterable[str] = (),
    note: str = "",
) -> Chart:
    """A chart of a page.

    Args:
        title: What stands above.
        several: What is drawn, as ``series`` makes it.
        section: The heading that charts share.
        x: What goes to the right.
        y: What goes up.
        names: Of bars.
        note: What stands below.
    """
    made = {"title": title, "section": section, "x": x, "y": y, "note": note}
    return {**made, "series": list(several), "names": list(names)}


def curve_charts(curves: Iterable[Curve], section: str = "Learning curves") -> list[Chart]:
    """A chart for each learning curve: training and validation after each epoch."""
    found = []
    curves = list(curves)
    taken = {(curve.training, curve.field) for curve in curves}
    for curve in curves:
        sides = (("training", curve.train), ("validation", curve.validation))
        several = [series(name, enumerate(values, start=1)) for name, values in sides if values]
        short = curve.field.removeprefix(f"{curve.training}_")  # where no other curve has that name
        field = (curve.field if (curve.training, short) in taken else short).replace("_", " ")
        found.append(chart(f"{curve.training}: {field}", several, section=section, x="epoch", y=field))
    return found


def quotient_charts(found: Mapping[str, Any], chosen: Collection[str] = ()) -> list[Chart]:
    """Knowledge quotients: by region, and against what each region saves.

    Args:
        found: The quotients as ``Quotients.to_dict`` gives them; of a region with several, the least is drawn.
        chosen: Names of regions that were chosen.
    """
    best: dict[str, Mapping[str, Any]] = {}
    for row in found["rows"]:
        if row["region"] not in best or row["quotient"] < best[row["region"]]["quotient"]:
            best[row["region"]] = row
    if not best:
        return []
    rows, section = list(best.values()), "What regions are worth"
    sides: list[tuple[str, list[int]]] = [("left in place", []), ("chosen", [])]
    for place, row in enumerate(rows):
        sides[row["region"] in chosen][1].append(place)
    if not chosen:
        sides = [("all regions", sides[0][1])]
    bars, points = [], []
    for name, places in sides:
        labels = [f"{rows[at]['region']}, instead: {rows[at]['method']}" for at in places]
        bars.append(series(name, [(at, rows[at]["quotient"]) for at in places], "bars", labels))
        points.append(series(name, [_share(rows[at], found) for at in places], "points", labels))
    front = series("the least for what is saved", front_of([_share(row, found) for row in rows]), "steps")
    left = "the share of the evaluation that is lost without a region"
    return [
        chart(
            "Knowledge quotient of each region", bars, section=section, y="quotient",
            names=[row["region"] for row in rows], note=f"In the order of the network: {left}.",
        ),
        chart(
            "Quotient against MACs saved", [*points, front], section=section, x="share of the MACs", y="quotient",
            note="What lies to the right and low is worth least for what it costs.",
        ),
    ]  # fmt: skip


def front_of(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points for which no other has as much of the first and less of the second, by the first."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda each: (-each[0], each[1])):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept[::-1]


def _share(row: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[float, float]:
    return row["macs_saved"] / max(found["macs"], 1), row["quotient"]


def stage_chart(rows: Sequence[Mapping[str, Any]], metric: str) -> Chart:
    """How good a network was against its MACs, stage by stage.

    Args:
        rows: With ``stage``, ``macs`` and the metric.
        metric: What networks are measured by.
    """
    said, section = metric.replace("_", " "), "What came of it"
    several = [
        series(row["stage"], [(row["macs"], row[metric])], "points", [f"{format_count(row['macs'])} MACs"])
        for row in rows
    ]
    return chart(f"{said} against MACs", several, section=section, x="MACs", y=said)


__all__ = ["KINDS", "Chart", "chart", "curve_charts", "front_of", "quotient_charts", "series", "stage_chart"]
