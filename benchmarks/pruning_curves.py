"""Accuracy against MACs kept, before and after equal fine-tuning, beside Torch-Pruning on the same weights.

    uv run --all-extras python benchmarks/pruning_curves.py [--tasks digits lines colours] [--seeds 0 1 2]
        [--torch PYTHON] [--folder FOLDER] [--write docs]

Networks are trained on small tasks (benchmarks/tasks), pruned to several shares of their MACs in several ways,
evaluated, fine-tuned with each of two learning rates, and evaluated again: of rates and epochs those that are best on
held-out data. ``--torch`` names a Python that has torch and torch-pruning: the same weights are pruned there as well,
with all settings of torch_side.py; what they leave is brought back, and fine-tuned by the same code.

``--folder`` keeps networks and figures: a run that was cut goes on, and one with more seeds or tasks adds to what is
there. ``--write`` writes pruning_curves.md and pruning_curves.svg (which needs matplotlib) of all that is there.

CIFAR-10 is run where it is named, as it is fetched by Keras. The protocol of DepGraph's ResNet-56 (200 epochs of SGD
from 0.1, pruned to 1 / 2.11 and 1 / 2.55 of the MACs, 100 epochs from 0.01):

    python benchmarks/pruning_curves.py --tasks cifar10 --kept 0.474 0.392 --tuned 0.474 0.392 --folder FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import curves_page
import keras
import numpy as np
from tasks import TASKS, accuracy, trained
from torch_copy import arrays, described, rebuilt

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.passes import PruneChannels
from kerasurgeon.workflows.data import DataSet

KEPT = (0.5, 0.35, 0.25)
IMAGES = 512
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# By label: options of PruneChannels, what the run is given, and whether it is fine-tuned.
WAYS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "default": ({}, "labels", True),
    "default without data": ({}, "generated", True),
    "default channels, nothing made up for": ({"compensate": "none"}, "labels", True),
    "l2, nothing made up for": ({"importance": "l2", "scope": "local", "compensate": "none"}, "labels", True),
    "l2, least squares": ({"importance": "l2", "scope": "local"}, "labels", True),
    "taylor, least squares": ({"importance": "taylor", "scope": "local"}, "labels", True),
}
# Of Torch-Pruning's settings these are fine-tuned, beside the one that is best before, on held-out data.
USUAL = ("l2, global",)


class Run:
    """One network of one seed: what it is, and where its figures are kept."""

    def __init__(self, task: str, network: str, seed: int, folder: Path, data: DataSet, orders: int = 1) -> None:
        self.task, self.network, self.seed, self.data, self.orders = task, network, seed, data, orders
        self.folder = folder / task / f"{network}, {seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        build, self.training = TASKS[task].networks[network]
        path = self.folder / "model.keras"
        if not path.exists():
            keras.utils.set_random_seed(seed)
            model = build(data.input_shape, data.classes)
            self.train(model, self.training.epochs, (self.training.rate,))
            model.save(path)
        self.model = keras.saving.load_model(path, compile=False)
        self.macs = ks.cost(self.model).macs
        self.cell("before", lambda: {"macs": self.macs} | self.measured(self.model))

    def cell(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Figures that are kept."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            started = time.perf_counter()
            found = make()
            write_text(path, json.dumps(found))
            print(f"{self.task}, {self.network}, {name}: {found} ({time.perf_counter() - started:.0f} s)", flush=True)
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def measured(self, model: keras.Model) -> dict[str, float]:
        """What is measured of every network."""
        found = {"held_out": accuracy(model, self.data.validation), "test": accuracy(model, self.data.test)}
        return found | {"samples": len(self.data.test)}

    def train(self, model: keras.Model, epochs: int, rates: tuple[float, ...], order: int = 0) -> dict[float, float]:
        """Train in place; what is best on held-out data is kept."""
        seed = self.seed + 1000 * order
        return trained(model, self.data, self.training, epochs=epochs, rates=rates, seed=seed)

    def tuned(self, load: Callable[[], keras.Model]) -> dict[str, Any]:
        """Fine-tuned from the same start in each order of the samples; the means, and what each came to."""
        model = load()
        found: list[dict[str, Any]] = []
        start = model.get_weights()
        for order in range(self.orders):
            model.set_weights(start)
            rates = self.train(model, self.training.tuning, self.training.rates, order)
            found.append({"rates": rates, **self.measured(model)})
        mean = {key: float(np.mean([each[key] for each in found])) for key in ("held_out", "test")}
        rates = {rate: float(np.mean([each["rates"][rate] for each in found])) for rate in self.training.rates}
        return {"rates": rates, **mean, "samples": found[0]["samples"], "tests": [each["test"] for each in found]}

    def given(self, what: str) -> Any:
        """What a way may look at."""
        if what == "labels":
            return self.data.train.images[:IMAGES], self.data.train.labels[:IMAGES]
        path = self.folder / "generated.npy"
        if not path.exists():
            np.save(path, ks.generate_inputs(self.model, steps=30))
        return np.load(path)

    def pruned(self, way: str, kept: float) -> dict[str, Any]:
        """One way of this library at one budget."""
        options, what, _ = WAYS[way]
        try:
            small = ks.apply_passes(
                self.model, [PruneChannels(macs=kept, **options)], data=self.given(what), loss=LOSS, verify="structure"
            )
        except ks.KerasurgeonError as error:
            return {"error": str(error).splitlines()[0]}
        small.save(self.folder / f"{way}, {kept}.keras")
        return {"macs": ks.cost(small).macs / self.macs} | self.measured(small)

    def ours(self, ways: list[str], kept: tuple[float, ...], tuned: tuple[float, ...]) -> None:
        """Ways of this library, all of them before any is fine-tuned."""
        places = [(way, share) for share in kept for way in ways]
        found = {place: self.cell("{}, {}".format(*place), partial(self.pruned, *place)) for place in places}
        for way, share in places:
            if WAYS[way][2] and share in tuned and "error" not in found[way, share]:
                path = self.folder / f"{way}, {share}.keras"
                load = partial(keras.saving.load_model, path, compile=False)
                self.cell(f"{way}, {share}, tuned", partial(self.tuned, load))

    def theirs(self, python: str, kept: tuple[float, ...], tuned: tuple[float, ...]) -> None:
        """All settings of Torch-Pruning, where the network has a copy."""
        try:
            calls = described(self.model)
        except ValueError as error:
            print(f"{self.network}: not with Torch-Pruning, as {error}")
            return
        folder = self.folder / "torch"
        found = self.cell("Torch-Pruning", lambda: self.searched(python, folder, calls, kept))
        for share in (share for share in kept if share in tuned):
            best = max(found, key=lambda setting: float(found[setting][str(share)]["held_out"]))
            for setting in dict.fromkeys((best, *USUAL)):
                weights = dict(np.load(folder / f"{setting}, {share}.npz"))
                load = partial(self.back, weights, found[setting][str(share)])
                self.cell(f"Torch-Pruning, {setting}, {share}, tuned", partial(self.tuned, load))

    def searched(
        self, python: str, folder: Path, calls: list[dict[str, Any]], kept: tuple[float, ...]
    ) -> dict[str, Any]:
        """Accuracy before fine-tuning by setting and share, of a process that has torch."""
        folder.mkdir(exist_ok=True)
        first = self.data.train.first(IMAGES)
        parts = {"held_out": self.data.validation, "test": self.data.test, "gradients": first}
        data = {name: part.images for name, part in parts.items()}
        data |= {f"{name}_labels": part.labels.astype(np.int64) for name, part in parts.items()}
        np.savez(folder / "data.npz", allow_pickle=False, **data)
        np.savez(folder / "weights.npz", allow_pickle=False, **arrays(self.model))
        write_text(folder / "calls.json", json.dumps(calls))
        write_text(folder / "asked.json", json.dumps({"kept": kept, "tested": USUAL}))
        script = Path(__file__).with_name("torch_side.py")
        # One thread: on cores that others use as well, threads that wait for each other take ten times as long.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([python, "-W", "ignore", str(script), str(folder)], check=True, env=environment)
        expected = np.asarray(self.model(self.data.test.images[:50], training=False))
        np.testing.assert_allclose(np.load(folder / "outputs.npy"), expected, rtol=1e-3, atol=1e-3)
        found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        return found

    def back(self, weights: dict[str, Any], row: dict[str, float]) -> keras.Model:
        """What Torch-Pruning left, in Keras; its figures must be those that torch gave."""
        small = rebuilt(self.model, weights)
        assert abs(accuracy(small, self.data.test) - row["test"]) < 0.005, row
        assert abs(ks.cost(small).macs / self.macs - row["macs"]) < 0.02, (ks.cost(small).macs / self.macs, row)
        return small


def main() -> None:
    """Train, prune, fine-tune, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name, task in TASKS.items() if task.usual]
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=usual)
    parser.add_argument("--networks", nargs="*", help="all of the tasks")
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS), help="of this library")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--kept", nargs="*", type=float, default=list(KEPT), help="shares of the MACs")
    parser.add_argument("--tuned", nargs="*", type=float, default=list(KEPT), help="those that are fine-tuned")
    parser.add_argument("--orders", type=int, default=1, help="how often each is fine-tuned, in other orders")
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/pruning_curves"))
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.orders < 1:
        parser.error(f"--orders must be at least 1, got {options.orders}")
    for seed in options.seeds:
        for task in options.tasks:
            data = TASKS[task].data(seed)
            for network in TASKS[task].networks:
                if options.networks is None or network in options.networks:
                    run = Run(task, network, seed, options.folder, data, options.orders)
                    run.ours(options.ways, tuple(options.kept), tuple(options.tuned))
                    if options.torch:
                        run.theirs(options.torch, tuple(options.kept), tuple(options.tuned))
    if options.write:
        curves_page.write(options.folder, options.write)


if __name__ == "__main__":
    main()
