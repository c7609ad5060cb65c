"""Accuracy against MACs kept: pruning, factorising, the hybrid and one after the other, without and with fine-tuning.

    uv run --all-extras python benchmarks/factorise_curves.py [--write docs] [--seeds 2] [--epochs 3]
    uv run --all-extras python benchmarks/factorise_curves.py --rate 1e-3 --epochs 0

A small residual network is trained on scikit-learn's digits, compressed to several shares of its MACs, evaluated as it
is, then trained on for a few epochs and evaluated again. ``--write`` writes factorise_curves.md and
factorise_curves.svg (which needs matplotlib).

MACs are those of entries of kernels that are not zero: the hybrid's residual is stored dense, and a runtime that does
not skip zeros computes with all of it. Fine-tuning keeps its zeros.

``--rate`` trains at another rate before: at a lower one kernels stay nearer to what they were drawn as. ``--epochs 0``
leaves fine-tuning out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from tasks import accuracy

import kerasurgeon as ks
from kerasurgeon.atomic import staged, write_text
from kerasurgeon.passes import Factorise, PruneChannels
from kerasurgeon.workflows.data import Digits, load_digits
from kerasurgeon.workflows.demo.network import build_network, train

KEPT = (0.6, 0.4, 0.2, 0.1)
EPOCHS = 20
SAMPLES = 512
RATE = 3e-3

Passes = Callable[[float], list[Any]]
HYBRID: dict[str, Any] = {"method": "tucker", "sparsity": "auto", "sparsity_weight": 1.0}
# By label the passes for a share of the MACs; those with a star look at data.
CURVES: dict[str, Passes] = {
    "pruning": lambda kept: [PruneChannels(macs=kept)],
    "pruning, least squares *": lambda kept: [PruneChannels(macs=kept, compensate="least_squares")],
    "Tucker, rescaled": lambda kept: [Factorise(macs=kept, rescale=True)],
    "Tucker, not rescaled": lambda kept: [Factorise(macs=kept, rescale=False)],
    "Tucker, output error *": lambda kept: [Factorise(macs=kept, rescale=True, minimise="output")],
    "hybrid, rescaled": lambda kept: [Factorise(macs=kept, rescale=True, **HYBRID)],
    "hybrid, not rescaled": lambda kept: [Factorise(macs=kept, rescale=False, **HYBRID)],
    "prune, then split, rescaled": lambda kept: [
        PruneChannels(macs=kept**0.5),
        Factorise(macs=kept**0.5, rescale=True),
    ],
}
WITHOUT, WITH = "without fine-tuning", "with fine-tuning"
Curves = dict[str, list[list[list[float]]]]


def macs_of_entries(model: keras.Model) -> float:
    """MACs, those with entries of kernels that are zero left out."""
    graph = ks.lift(model)
    macs = {row.name: float(row.macs or 0) for row in ks.cost(graph).rows}
    for node in graph.nodes():
        kernel = graph.layer_of(node).array("kernel")
        if kernel is not None:
            macs[node.name] *= np.count_nonzero(kernel) / kernel.size
    return sum(macs.values())


def points(
    model: keras.Model, digits: Digits, make: Callable[[float], list[Any]], epochs: int
) -> Iterator[list[float]]:
    """MACs kept, accuracy without and with fine-tuning, for each target."""
    full = macs_of_entries(model)
    for kept in KEPT:
        # Pipelines start from the seed, so that all curves look at the same data.
        small = ks.apply_passes(model, make(kept), data=digits.train.images[:SAMPLES], verify="structure", seed=0)
        point = [macs_of_entries(small) / full, accuracy(small, digits.test)]
        if epochs:
            kept_zeros = ks.KeepZeros(channels=False)
            train(small, digits, epochs=epochs, rate=1e-3, tell=lambda *_: None, callbacks=[kept_zeros])
        yield [*point, accuracy(small, digits.test)]


def main() -> None:
    """Train, compress, fine-tune, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of fine-tuning")
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate of the training before")
    options = parser.parse_args()
    if options.write and options.rate != RATE:
        parser.error("--write is for the rate that the page is about")
    curves: Curves = {}
    full = []
    digits = load_digits(0)
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        model = build_network()
        train(model, digits, epochs=EPOCHS, rate=options.rate, tell=lambda *_: None)
        full.append(accuracy(model, digits.test))
        print(f"seed {seed}: accuracy {full[-1]:.3f}", flush=True)
        for label, make in CURVES.items():
            found = list(points(model, digits, make, options.epochs))
            curves.setdefault(label, []).append(found)
            print(f"  {label}: {' '.join('/'.join(f'{value:.3f}' for value in point) for point in found)}", flush=True)
    text = page(curves, full, options.epochs, len(digits.test))
    print(text)
    if options.write:
        write_text(options.write / "factorise_curves.md", text)
        plot(curves, float(np.mean(full)), options.write / "factorise_curves.svg")


def page(curves: Curves, full: list[float], epochs: int, images: int) -> str:
    """The curves as a page."""
    lines = [
        "# Pruning, factorising, and both",
        "",
        "Made by `python benchmarks/factorise_curves.py --write docs`: a small residual net on scikit-learn's digits,",
        f"accuracy {100 * np.mean(full):.1f} % before, compressed to a share of its MACs; means over {len(full)} seeds",
        f"of the network, one split, {images} test images: one image of one network is {100 / images / len(full):.2f}",
        f"points. Fine-tuning is {epochs} epochs. With a star: looks at {SAMPLES} training images, without labels.",
        "",
        "- *pruning*: `PruneChannels(macs=)`; *least squares*: with `compensate='least_squares'`",
        "- *Tucker*: `Factorise(macs=)`, SVD where a kernel has one position; *rescaled*: with `rescale=True`; *output",
        "  error*: that with `minimise='output'`",
        "- *hybrid*: `Factorise(macs=, method='tucker', sparsity='auto', sparsity_weight=1)`. MACs are counted by the",
        "  entries that residuals keep; a runtime that does not skip zeros does more: [factorise.md](factorise.md)",
        "- *prune, then split*: `PruneChannels`, then `Factorise`, each to the square root of the share",
        "",
        "![curves](factorise_curves.svg)",
    ]
    for column, heading in ((1, WITHOUT), (2, WITH)):
        head = [f"{100 * kept:.0f} %" for kept in KEPT]
        lines += [
            "",
            f"Accuracy {heading}; in brackets the share of MACs that was reached, where it is not the one asked for:",
            "",
            "| MACs asked for | " + " | ".join(head) + " |",
            "|---|" + "---|" * len(head),
        ]
        for label, found in curves.items():
            cells = []
            for kept, point in zip(KEPT, np.mean(found, axis=0), strict=True):
                reached = f" ({100 * point[0]:.0f} %)" if abs(point[0] - kept) > 0.02 * kept else ""
                cells.append(f"{100 * point[column]:.1f}{reached}")
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(curves: Curves, full: float, path: Path) -> None:
    """The curves as a picture, without fine-tuning beside with; what looks at data is drawn through."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "kerasurgeon"
    figure, both = pyplot.subplots(1, 2, figsize=(12, 5))
    for axes, column, heading in zip(both, (1, 2), (WITHOUT, WITH), strict=True):
        for label, found in curves.items():
            line = np.mean(found, axis=0)
            axes.plot(line[:, 0], line[:, column], "-o" if label.endswith("*") else "--o", markersize=3, label=label)
        axes.axhline(full, color="grey", linewidth=0.5)
        axes.set_title(heading)
        axes.set_xlabel("MACs kept")
        axes.set_ylabel("accuracy")
        axes.invert_xaxis()
    both[0].legend(fontsize=7)
    figure.tight_layout()
    with staged(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})


if __name__ == "__main__":
    main()
