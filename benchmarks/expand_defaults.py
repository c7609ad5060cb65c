"""How a network should grow back: how unevenly copies share weights, which channels are copied, or all anew.

    uv run --all-extras python benchmarks/expand_defaults.py [--seeds 3] [--epochs 4] [--folder FOLDER] [--write FILE]

A residual network of Conv1D learns digits as lines of 40 points (benchmarks/tasks). It is pruned to a quarter of its
MACs and trained for a few epochs; then it is grown back to the MACs that it had in each way, and trained as long again.
Which channels are copied is tried from half of the MACs, where not all are, without training between. Each training is
done with two learning rates, of which the one that is better on held-out samples counts. Printed is the accuracy on
5000 test samples, as a table in Markdown. ``--folder`` keeps the trained networks for the next time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from tasks import TASKS, Training, accuracy, trained
from tasks.lines import lines

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.channels.grow import grow_units
from kerasurgeon.morphnet import Widths
from kerasurgeon.passes import Expand, PruneChannels
from kerasurgeon.workflows.data import DataSet

COUNTS = (2500, 500, 5000)  # to train on, to choose by, to test: the more to test, the less chance decides
BUILD, _ = TASKS["lines"].networks["Conv1D ResNet"]
TRAINING = Training(epochs=12, tuning=4, rates=(3e-3, 1e-3))
UNEVEN = (0.0, 0.25, 0.5, 0.75, 0.9)
IMAGES = 512
PRUNED = {0.25: True, 0.5: False}  # the MACs kept, and whether the network is trained before it grows
NOT_GROWN = "not grown"


def by(options: dict[str, Any], model: keras.Model, macs: float, seed: int) -> keras.Model:
    """Grown by the pass."""
    return ks.Pipeline([Expand(macs=macs, **options)]).run(model, seed=seed, verify="structure").model


def by_norm(sign: int, model: keras.Model, macs: float, seed: int) -> keras.Model:
    """Grown as by default, but what is copied once more is not drawn: the channels of the largest norm, or smallest."""
    graph = ks.lift(model)
    widths = Widths(graph, exact=True, round_to="auto")
    numbers, _, _ = widths.allowed(macs=macs)
    times = np.ones(widths.channels.units, np.int64)
    for cell, wanted in zip(widths.cells, numbers, strict=True):
        source = widths.channels.sources[cell.name]
        kernel = np.asarray(graph.layers[source.layer].weights["kernel"].array)
        norms = np.zeros(len(times))
        norms[widths.channels.unit[source.ids.ravel()]] = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        units = np.array(cell.units)
        often, more = divmod(wanted, len(units))
        times[units] = often
        times[units[np.argsort(-sign * norms[units], kind="stable")][:more]] += 1
    grow_units(graph, widths.channels, times, rng=np.random.default_rng(seed), uneven=0.5)
    return ks.emit(graph)


WAYS: dict[tuple[float, str], Any] = {
    **{(0.25, f"`uneven={uneven:g}`"): partial(by, {"uneven": uneven}) for uneven in UNEVEN},
    (0.25, '`weights="fresh"`'): partial(by, {"weights": "fresh"}),
    (0.5, "copies drawn at random, as by default"): partial(by, {}),
    (0.5, "copies of the largest"): partial(by_norm, 1),
    (0.5, "copies of the smallest"): partial(by_norm, -1),
}


def network(seed: int, data: DataSet, folder: Path) -> keras.Model:
    """The trained network, from the folder where it is there."""
    path = folder / f"lines_{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(seed)
    model = BUILD((40, 1), data.classes)
    trained(model, data, TRAINING, epochs=TRAINING.epochs, rates=(TRAINING.rate,), seed=seed)
    model.save(path)
    return model


def main() -> None:
    """Train, prune, grow, train, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=TRAINING.tuning)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    found: dict[tuple[float, str], list[float]] = {}
    whole = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            data = lines(seed, COUNTS)
            model = network(seed, data, options.folder or Path(temporary))
            macs = float(ks.cost(model).macs)
            whole.append(100 * accuracy(model, data.test))
            print(f"seed {seed}: {whole[-1]:.1f} %, {macs:,.0f} MACs", flush=True)
            images = data.train.images[:IMAGES]
            again = partial(
                trained, data=data, training=TRAINING, epochs=options.epochs, rates=TRAINING.rates, seed=seed
            )
            pruned = {}
            for kept, first in PRUNED.items():
                small = ks.apply_passes(model, [PruneChannels(macs=kept)], data=images, verify="structure")
                if first:
                    again(small)
                pruned[kept] = small
                found.setdefault((kept, NOT_GROWN), []).append(100 * accuracy(small, data.test))
            for (kept, way), grown in WAYS.items():
                keras.utils.set_random_seed(seed)
                wide = grown(pruned[kept], macs, seed)
                start, used = 100 * accuracy(wide, data.test), ks.cost(wide).macs / macs
                again(wide)
                end = 100 * accuracy(wide, data.test)
                found.setdefault((kept, way), []).append(end)
                print(f"  {kept:.0%}, {way}: {used:.1%} of MACs, {start:.1f} -> {end:.1f}", flush=True)
    text = table(found, whole)
    print("\n" + text)
    if options.write:
        write_text(options.write, text)


def table(found: dict[tuple[float, str], list[float]], whole: list[float]) -> str:
    """Means, and seed by seed."""
    lines = ["| pruned to | grown by | mean | by seed |", "|---|---|---|---|"]
    lines.append(f"| not pruned | | {np.mean(whole):.1f} | {' '.join(f'{one:.1f}' for one in whole)} |")
    for (kept, way), several in sorted(found.items(), key=lambda item: item[0][0]):
        seeds = " ".join(f"{one:.1f}" for one in several)
        lines.append(f"| {kept:.0%} | {way} | {np.mean(several):.1f} | {seeds} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
