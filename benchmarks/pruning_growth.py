"""How the time of pruning grows with the network: what ``benchmarks/pruning.py --growth`` writes."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.atomic import staged, write_text

NAMES = (
    "MobileNet",
    "MobileNetV2",
    "EfficientNetV2B0",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2S",
    "EfficientNetV2M",
    "EfficientNetV2L",
)
SIZE = 96


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One network in this process: median seconds of lifting, removing half of the channels and emitting.

    Seconds of processor time, so that what else runs on the machine does not show as growth.
    """
    import keras

    from kerasurgeon import apply_passes, lift
    from kerasurgeon.passes import PruneChannels

    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    prune = PruneChannels(ratio=0.5, importance="l2", scope="local", compensate="none")
    times = []
    for number in range(rounds + 1):
        started = time.process_time()
        apply_passes(model, [prune], verify="structure")
        if number:  # the first round pays for imports
            times.append(time.process_time() - started)
    graph = lift(model)
    row = {"network": name, "nodes": len(graph), "parameters": model.count_params()}
    return {**row, "seconds": statistics.median(times), "all": times}


def run(script: str, folder: Path, rounds: int) -> None:
    """Measure every network, each in a process, and write ``pruning_time.md`` and ``pruning_time.svg``.

    Args:
        script: The script that calls ``measure`` when it is given ``NAME --growth --one``.
        folder: Where the files go.
        rounds: How many timings a median is of.
    """
    rows = []
    for name in NAMES:
        command = [sys.executable, script, name, "--growth", "--one", "--rounds", str(rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(f"{name:18} {rows[-1]['nodes']:6} nodes {rows[-1]['seconds']:7.2f} s", flush=True)
    exponent = _exponent(rows)
    write_text(folder / "pruning_time.md", _page(rows, rounds, exponent))
    _plot(rows, folder / "pruning_time.svg")
    print(f"time grows as nodes ** {exponent:.2f}")


def _exponent(rows: Sequence[dict[str, Any]]) -> float:
    """The exponent p of seconds ~ nodes ** p: 1 is linear, 2 quadratic."""
    nodes, seconds = (np.log([row[key] for row in rows]) for key in ("nodes", "seconds"))
    return float(np.polyfit(nodes, seconds, 1)[0])


def _page(rows: Sequence[dict[str, Any]], rounds: int, exponent: float) -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()})"
    grows = f"The time grows as nodes to the power of {exponent:.2f}"
    lines = [
        "# How the time of pruning grows",
        "",
        "Made by `python benchmarks/pruning.py --growth docs`: `apply_passes` with `PruneChannels(ratio=0.5,",
        'scope="local", compensate="none")` and `verify="structure"`, from a Keras model to a new one: lift, analyse,',
        f"cut, emit. Processor time, {machine}; inputs of {SIZE} pixels, medians of",
        f"{rounds} runs, each network in a process of its own. {grows}: 1 is",
        "linear. Weights are copied too: networks with more of them per node lie higher.",
        "",
        "![time against nodes](pruning_time.svg)",
        "",
        "| network | nodes | parameters | time | time per node |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        each = 1000 * row["seconds"] / row["nodes"]
        lines.append(
            f"| {row['network']} | {row['nodes']} | {row['parameters'] / 1e6:.1f} M | {row['seconds']:.2f} s | "
            f"{each:.2f} ms |"
        )
    return "\n".join(lines) + "\n"


def _plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Points with the spread of their runs, and the line through the origin that fits them best."""
    from matplotlib import pyplot

    nodes, seconds = (np.array([row[key] for row in rows], float) for key in ("nodes", "seconds"))
    runs = np.array([[min(row["all"]), max(row["all"])] for row in rows])
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.errorbar(nodes, seconds, [seconds - runs[:, 0], runs[:, 1] - seconds], fmt="o", capsize=3, label="measured")
    slope = float(nodes @ seconds / (nodes @ nodes))
    ends = np.array([0.0, nodes.max()])
    axes.plot(ends, slope * ends, "--", color="grey", label=f"{1000 * slope:.2f} ms per node")
    for row, x, y in zip(rows, nodes, seconds, strict=True):
        axes.annotate(row["network"], (x, y), xytext=(6, -9), textcoords="offset points", fontsize=7)
    axes.set_xlabel("nodes of the network (calls of layers)")
    axes.set_ylabel("lift + prune half + emit, seconds of processor time")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    pyplot.rcParams["svg.hashsalt"] = "kerasurgeon"
    with staged(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})
