"""The page and the picture of pruning_curves.py, of the figures that a folder holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tasks import TASKS

from kerasurgeon.atomic import staged, write_text

THEIRS = "Torch-Pruning"
NOTES = "\n## What stands out\n"
HEAD = """# Accuracy against MACs kept

Made by `python benchmarks/pruning_curves.py --torch PYTHON --folder FOLDER --write docs`. Networks are trained on tasks
that are made from a seed, pruned to shares of their MACs, and measured on test data; then fine-tuned, all for as many
epochs, with each of two learning rates: epoch and rate are those that are best on held-out data. Ways that look at data
have 512 training samples with labels; *default without data* has inputs that `generate_inputs(model, steps=30)` made.
*Nothing made up for*: `compensate="none"`. What is `-` was not run.

Torch-Pruning 1.6.1 prunes the same weights, by l2, LAMP, batch-norm scales and Taylor scores, each with local, global
and isomorphic ranking, in up to 100 steps; the table has what is best on held-out data, of all these without
fine-tuning, of those that were fine-tuned with it. They come back to Keras first, so that the same code trains all.
"""
# Cells by network, then by way, then by share of the MACs: one dict per seed.
Rows = dict[str, dict[float, list[dict[str, Any]]]]


def read(folder: Path) -> dict[tuple[str, str], Rows]:
    """All figures of a folder, by task and network; under the way ``""`` those of the network as it was."""
    found: dict[tuple[str, str], Rows] = {}
    for task in TASKS:
        for network in TASKS[task].networks:
            for before in sorted(folder.glob(f"{task}/{network}, */before.json")):
                rows = found.setdefault((task, network), {})
                for way, share, cell in _cells(before.parent):
                    rows.setdefault(way, {}).setdefault(share, []).append(cell)
    return found


def _cells(seed: Path) -> Iterable[tuple[str, float, dict[str, Any]]]:
    """The figures of one seed: of Torch-Pruning, in each of the columns, the setting that is best on held-out data."""
    yield "", 1.0, _json(seed / "before.json")
    tuned: dict[tuple[str, float], dict[str, Any]] = {}
    for path in sorted(seed.glob("*.json")):
        place = re.fullmatch(r"(.+), ([0-9.]+?)(, tuned)?\.json", path.name)
        if place is None:
            continue
        way = THEIRS if place[1].startswith(THEIRS) else place[1]
        if not place[3]:
            yield way, float(place[2]), _json(path) | {"tuned": _tuned(seed / f"{path.stem}, tuned.json")}
        elif way == THEIRS:
            cell = _json(path) | {"setting": place[1].removeprefix(f"{THEIRS}, ")}
            best = tuned.setdefault((way, float(place[2])), cell)
            if cell["held_out"] > best["held_out"]:
                tuned[way, float(place[2])] = cell
    if (seed / f"{THEIRS}.json").exists():
        settings = _json(seed / f"{THEIRS}.json")
        for share in next(iter(settings.values())):
            held_out = {name: float(cells[share]["held_out"]) for name, cells in settings.items()}
            setting = max(held_out, key=held_out.__getitem__)
            cell = settings[setting][share] | {"setting": setting, "tuned": tuned.get((THEIRS, float(share)))}
            yield f"{THEIRS}, best of {len(settings)}", float(share), cell


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _tuned(path: Path) -> dict[str, Any] | None:
    return _json(path) if path.exists() else None


def _mean(cells: list[dict[str, Any]], tuned: bool) -> float | None:
    """Accuracy on the test part in %, the mean over seeds."""
    values = [cell["tuned"] if tuned else cell for cell in cells]
    if any(value is None or "error" in value for value in values) or not values:
        return None
    return 100 * float(np.mean([value["test"] for value in values]))


def _series(row: dict[float, list[dict[str, Any]]], tuned: bool) -> str:
    values = [_mean(row[share], tuned) for share in sorted(row, reverse=True)]
    return "" if not any(values) else " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def table(task: str, network: str, rows: Rows) -> list[str]:
    """One network."""
    before = rows[""][1.0]
    shares = sorted({share for way, row in rows.items() if way for share in row}, reverse=True)
    asked = " / ".join(f"{100 * share:g}" for share in shares)
    lines = [
        f"## {network} on {TASKS[task].title}",
        "",
        f"{before[0]['macs'] / 1e6:.2f} million MACs, {_mean_of(before):.1f} % before, {len(before)} "
        f"seed{'s' * (len(before) > 1)}; accuracy at {asked} % of MACs:",
        "",
        "| | without fine-tuning | after fine-tuning |",
        "|---|---|---|",
    ]
    for way, row in rows.items():
        if way:
            lines.append(f"| {way} | {_series(row, False)} | {_series(row, True)} |")
    return [*lines, "", *_compared(rows), ""]


def _mean_of(cells: list[dict[str, Any]]) -> float:
    return 100 * float(np.mean([cell["test"] for cell in cells]))


def _compared(rows: Rows) -> list[str]:
    """What the default, with data, is beside Torch-Pruning's best after fine-tuning."""
    theirs = next((row for way, row in rows.items() if way.startswith(THEIRS)), None)
    if theirs is None:
        return ["Not with Torch-Pruning: its copy of the network has no such layer."]
    said = []
    for share in sorted(theirs, reverse=True):
        ours, other = _mean(rows["default"].get(share, []), True), _mean(theirs[share], True)
        if ours is not None and other is not None:
            setting = theirs[share][0]["tuned"]["setting"]
            said.append(f"{ours - other:+.1f} at {100 * share:g} % (there {setting})")
    return ["The default less Torch-Pruning's best, after fine-tuning: " + ", ".join(said) + "."] if said else []


def page(found: dict[tuple[str, str], Rows], notes: str) -> str:
    """All networks, and what the page said of them before."""
    lines = [
        HEAD,
        "![curves](pruning_curves.svg)",
        "",
    ]
    for (task, network), rows in found.items():
        lines += table(task, network, rows)
    return "\n".join(lines).rstrip() + "\n" + notes


def plot(found: dict[tuple[str, str], Rows], path: Path) -> None:
    """The curves: dashed without fine-tuning, drawn through after it."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "kerasurgeon"
    columns = min(len(found), 3)
    figure, grid = pyplot.subplots(
        -(-len(found) // columns), columns, figsize=(5 * columns, 4 * -(-len(found) // columns)), squeeze=False
    )
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes, ((task, network), rows) in zip(grid.flat, found.items(), strict=False):
        axes.axhline(_mean_of(rows[""][1.0]), color="grey", linewidth=0.5)
        for number, (way, row) in enumerate((way, row) for way, row in rows.items() if way):
            for tuned in (False, True):
                values = [(100 * share, _mean(row[share], tuned)) for share in sorted(row)]
                drawn = [(share, value) for share, value in values if value is not None]
                if drawn:
                    label = way if not tuned else None
                    axes.plot(
                        *zip(*drawn, strict=True),
                        "-o" if tuned else "--",
                        markersize=3,
                        color=f"C{number}",
                        label=label,
                    )
        axes.set_title(f"{network}, {task}")
        axes.set_xlabel("MACs kept, %")
        axes.set_ylabel("accuracy, %")
        axes.invert_xaxis()
        axes.legend(fontsize=6)
    figure.tight_layout()
    with staged(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})


def write(folder: Path, docs: Path) -> None:
    """Write pruning_curves.md and pruning_curves.svg; the words at the end of the page stay."""
    found = read(folder)
    path = docs / "pruning_curves.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    notes = NOTES + old.split(NOTES, 1)[1] if NOTES in old else ""
    write_text(path, page(found, notes))
    plot(found, docs / "pruning_curves.svg")
