"""The picture of the README: what pruning to half of the MACs leaves of each layer, and the accuracy that is kept.

    uv run --all-extras python benchmarks/picture.py [docs/picture.svg]

A residual network is trained on scikit-learn's digits, pruned, and evaluated without training it again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import pruning_defaults

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from kerasurgeon.report.pictures import picture
from kerasurgeon.workflows.data import DataSet, digits

KEPT = (0.8, 0.65, 0.5, 0.35, 0.25)
HALF = 0.5
SIZE, EPOCHS = 8, 12
IMAGES = 256
INK, QUIET, BEFORE, AFTER, PLAIN = "#24292f", "#57606a", "#c9d1d9", "#0b57d0", "#b3261e"
WAYS: dict[str, dict[str, Any]] = {
    "PruneChannels(macs=...), 256 images": {},
    "smallest l2 norms, nothing made up for": {"importance": "l2", "scope": "local", "compensate": "none"},
}


def widths(model: keras.Model) -> dict[str, int]:
    """Channels that each convolution makes."""
    return {layer.name: layer.filters for layer in model.layers if hasattr(layer, "filters")}


def measured(model: keras.Model, data: DataSet) -> tuple[dict[str, list[tuple[float, float]]], keras.Model]:
    """Share of the MACs and accuracy for each budget, by way; and what the first leaves at half of the MACs."""
    images, macs = data.train.images[:IMAGES], ks.cost(model).macs
    found: dict[str, list[tuple[float, float]]] = {}
    halves = []
    for way, options in WAYS.items():
        found[way] = [(1.0, 100 * pruning_defaults.accuracy(model, data.test))]
        for kept in KEPT:
            small = ks.apply_passes(model, [PruneChannels(macs=kept, **options)], data=images, verify="structure")
            found[way].append((ks.cost(small).macs / macs, 100 * pruning_defaults.accuracy(small, data.test)))
            halves += [small] if kept == HALF else []
        print(way, [f"{kept:.0%} {value:.1f}" for kept, value in found[way]])
    return found, halves[0]


def draw(path: Path, found: dict[str, list[tuple[float, float]]], sides: list[tuple[dict[str, int], float]]) -> None:
    """Draw what was measured.

    Args:
        path: The picture.
        found: By way.
        sides: Channels of each convolution and million MACs, before and after.
    """
    (before, whole), (after, half) = sides
    with picture(path, "The picture", 9.4, 3.7, dpi=120) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        places = range(len(before))
        left.barh(places, before.values(), color=BEFORE, height=0.72, label=f"before: {whole:.1f} M MACs")
        heights = [after.get(name, 0) for name in before]
        left.barh(places, heights, color=AFTER, height=0.72, label=f"after: {half:.1f} M MACs")
        left.set_yticks(places, before, fontsize=7)
        left.invert_yaxis()
        left.set_title("Channels of each convolution", loc="left", fontsize=10, color=INK)
        left.legend(fontsize=7.5, frameon=False, loc="upper right")
        for (way, points), colour, line in zip(found.items(), (AFTER, PLAIN), ("-", "--"), strict=True):
            right.plot(*zip(*points, strict=True), line, color=colour, marker="o", markersize=4, label=way)
        right.set_xlim(1.03, 0.15)
        right.set_ylim(0, 104)
        right.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.set_xlabel("MACs kept", fontsize=8.5, color=QUIET)
        right.set_title("Accuracy in %, not trained again", loc="left", fontsize=10, color=INK)
        right.legend(fontsize=8, frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.62))
        for axes in (left, right):
            axes.tick_params(colors=QUIET, labelsize=7.5)
            axes.grid(axis="x" if axes is left else "y", color="#e6e9ed", linewidth=0.7)
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        figure.patch.set_facecolor("white")


def main() -> None:
    """Train, prune, draw."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/picture.svg")
    data = digits(0, size=SIZE)
    pruning_defaults.SIZE, pruning_defaults.EPOCHS = SIZE, EPOCHS
    with tempfile.TemporaryDirectory() as folder:
        model = pruning_defaults.trained("ResNet", 0, data, Path(folder))
        found, half = measured(model, data)
        draw(path, found, [(widths(one), ks.cost(one).macs / 1e6) for one in (model, half)])


if __name__ == "__main__":
    main()
