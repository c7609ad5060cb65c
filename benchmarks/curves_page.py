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

Made by `python benchmarks/pruning_curves.py --seeds {seeds} --torch PYTHON --folder FOLDER --write docs`. Networks are
trained on tasks that are made from a seed, pruned to shares of their MACs, and measured on test data; then fine-tuned,
all for as many epochs, with each of several learning rates: epoch and rate are those that are best on held-out data.
Ways that look at data have 512 training samples with labels; *default without data* has inputs that
`generate_inputs(model, steps=30)` made. *Nothing made up for*: `compensate="none"`. What is `-` was not run. Accuracies
are in % of the test samples, means over the seeds that there are.

Torch-Pruning 1.6.1 prunes the same weights, by l2, LAMP, batch-norm scales and Taylor scores, each with local, global
and isomorphic ranking, in up to 100 steps; the table has what is best on held-out data, of all these without
fine-tuning, of those that were fine-tuned with it. They come back to Keras first, so that the same code trains all.

Differences are the means over seeds, with one standard error: what the seeds say (their standard deviation over the
square root of their number) or what the number of test samples says (binomial, both sides as if tested apart),
whichever is larger. For one seed it is the latter alone, which knows nothing of what the order of training samples
changes.
"""
# Cells of a network by way, then by share of the MACs, then by seed.
Cells = dict[str, dict[str, Any]]
Rows = dict[str, dict[float, Cells]]


def read(folder: Path) -> dict[tuple[str, str], Rows]:
    """All figures of a folder, by task and network; under the way ``""`` those of the network as it was."""
    found: dict[tuple[str, str], Rows] = {}
    for task in TASKS:
        for network in TASKS[task].networks:
            for before in sorted(folder.glob(f"{task}/{network}, */before.json")):
                rows = found.setdefault((task, network), {})
                seed = before.parent.name.removeprefix(f"{network}, ")
                for way, share, cell in _cells(before.parent):
                    rows.setdefault(way, {}).setdefault(share, {})[seed] = cell
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


def _tests(cells: Cells, tuned: bool) -> dict[str, float]:
    """Accuracy on the test part in %, by seed, where it is there."""
    values = {seed: cell["tuned"] if tuned else cell for seed, cell in cells.items()}
    return {seed: 100 * value["test"] for seed, value in values.items() if value is not None and "test" in value}


def _mean(cells: Cells, tuned: bool) -> float | None:
    """The mean over seeds."""
    values = list(_tests(cells, tuned).values())
    return float(np.mean(values)) if values else None


def _series(row: dict[float, Cells], tuned: bool, apart: bool = False) -> str:
    """Accuracies by share; with ``apart`` those of each seed, with commas."""
    found = [list(_tests(row[share], tuned).values()) for share in sorted(row, reverse=True)]
    said = [_said(values if apart else [float(np.mean(values))] if values else []) for values in found]
    return " / ".join(said) if any(found) else ""


def _said(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values) or "-"


def table(task: str, network: str, rows: Rows) -> list[str]:
    """One network."""
    before = rows[""][1.0]
    shares = sorted({share for way, row in rows.items() if way for share in row}, reverse=True)
    asked = " / ".join(f"{100 * share:g}" for share in shares)
    macs, several = next(iter(before.values()))["macs"], len(before) > 1
    training = TASKS[task].networks[network][1]
    rates = " or ".join(f"{rate:g}" for rate in training.rates)
    lines = [
        f"## {network} on {TASKS[task].title}",
        "",
        f"{macs / 1e6:.2f} million MACs, {_mean(before, False):.1f} % before, {_seeds(len(before))}; {training.epochs} "
        f"epochs of training, {training.tuning} of fine-tuning from {rates}.",
        f"Accuracy at {asked} % of MACs:",
        "",
        "| | without fine-tuning | after fine-tuning |" + " each seed |" * several,
        "|---|---|---|" + "---|" * several,
    ]
    for way, row in rows.items():
        if way:
            apart = f" {_series(row, True, apart=True)} |" if several else ""
            lines.append(f"| {way} | {_series(row, False)} | {_series(row, True)} |{apart}")
    return [*lines, "", *_compared(rows), ""]


def _seeds(number: int) -> str:
    return f"{number} seed{'s' * (number > 1)}"


def _theirs(rows: Rows) -> dict[float, Cells] | None:
    return next((row for way, row in rows.items() if way.startswith(THEIRS)), None)


def difference(ours: Cells, theirs: Cells) -> tuple[float, float, int] | None:
    """Ours less theirs after fine-tuning, over the seeds that both have: the mean, a standard error, and how many."""
    mine, other = _tests(ours, True), _tests(theirs, True)
    both = [seed for seed in mine if seed in other]
    if not both:
        return None
    apart = np.array([mine[seed] - other[seed] for seed in both])
    variances = [
        value * (100 - value) / ours[seed]["tuned"]["samples"] for seed in both for value in (mine[seed], other[seed])
    ]
    error = float(np.sqrt(sum(variances))) / len(both)
    if len(both) > 1:
        error = max(error, float(apart.std(ddof=1)) / len(both) ** 0.5)
    return float(apart.mean()), error, len(both)


def _compared(rows: Rows) -> list[str]:
    """Which settings of Torch-Pruning were the best after fine-tuning, and which learning rates."""
    theirs = _theirs(rows)
    if theirs is None:
        return ["Not with Torch-Pruning: it has no rule for such layers."]
    settings = []
    for share in sorted(theirs, reverse=True):
        tuned = [cell["tuned"]["setting"] for cell in theirs[share].values() if cell["tuned"] is not None]
        if tuned:
            settings.append(f"at {100 * share:g} % " + " and ".join(dict.fromkeys(tuned)))
    return [f"Torch-Pruning's best, after fine-tuning: {'; '.join(settings)}."] if settings else []


def overview(found: dict[tuple[str, str], Rows]) -> list[str]:
    """The default less Torch-Pruning's best after fine-tuning, of all networks, and which rates were chosen."""
    lines, highest = [], {"the default": [0, 0], THEIRS: [0, 0]}
    shares = sorted({share for rows in found.values() for share in _theirs(rows) or ()}, reverse=True)
    for (task, network), rows in found.items():
        theirs = _theirs(rows)
        if theirs is None or "default" not in rows:
            continue
        cells = []
        for share in shares:
            apart = difference(rows["default"].get(share, {}), theirs.get(share, {}))
            cells.append("-" if apart is None else f"{apart[0]:+.1f} ± {apart[1]:.1f} ({_seeds(apart[2])})")
        lines.append(f"| {network}, {task} | " + " | ".join(cells) + " |")
        for name, row in (("the default", rows["default"]), (THEIRS, theirs)):
            for rates in (
                cell["tuned"]["rates"] for several in row.values() for cell in several.values() if cell["tuned"]
            ):
                best = max(rates, key=rates.__getitem__)
                highest[name][0] += float(best) == max(map(float, rates))
                highest[name][1] += 1
    if not lines:
        return []
    said = ", ".join(f"{name} in {won} of {of}" for name, (won, of) in highest.items())
    return [
        "The default less Torch-Pruning's best, both after fine-tuning, in points:",
        "",
        "| | " + " | ".join(f"{100 * share:g} % of MACs" for share in shares) + " |",
        "|---|" + "---|" * len(shares),
        *lines,
        "",
        f"The highest learning rate was the best one for {said} of these.",
        "",
    ]


def page(found: dict[tuple[str, str], Rows], notes: str) -> str:
    """All networks, and what the page said of them before."""
    lines = [
        HEAD.format(seeds=" ".join(sorted({seed for rows in found.values() for seed in rows[""][1.0]}))),
        *overview(found),
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
        axes.axhline(_mean(rows[""][1.0], False), color="grey", linewidth=0.5)
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
