"""Whether ``Factorise(rescale=)`` could be chosen by what the kernels show: accuracy without training again.

    uv run --all-extras python benchmarks/rescale_defaults.py [NETWORK ...] [--rates 3e-3 1e-3] [--seeds 2]
        [--epochs 6] [--write FILE]

Networks are trained on scikit-learn's digits (8 x 8) at several learning rates: the lower one is, the nearer kernels
stay to what they were drawn as. ``Factorise(macs=, minimise="kernel")`` then chooses chains, and the kernels that they
stand for are put in the place of the layers': as they are, with the norm of the original (``rescale=True``), either of
them layer by layer (``rescale="auto"``), and scaled so that outputs have the variance that they had on 256 images,
which is what rescaling by the norm guesses.

Printed is a table in Markdown. *Structure* is how much more of its energy a kernel keeps than a random one of its shape
does at the same ranks, as a share of all that there is to keep beyond that: 0 for a random kernel, 1 for one that is of
these ranks. It is the mean over layers at the first budget.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from tasks import networks

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.factors.inputs import measure_inputs
from kerasurgeon.factors.kernels.method import Factors
from kerasurgeon.factors.rescale import RANDOM, beyond_random, rescaled
from kerasurgeon.factors.sites import Site, places
from kerasurgeon.passes import Factorise
from kerasurgeon.workflows.data import DataSet, Split, digits
from kerasurgeon.workflows.demo.network import build_network

KEPT = (0.75, 0.5, 0.25)
RATES = (3e-3, 1e-3, 1e-4)
BATCH = 64
IMAGES = 256
WAYS = ("off", "on", "auto", "variance")
Found = dict[Any, Any]


def plain() -> keras.Model:
    """Convolutions with biases, without batch norms."""
    x = image = keras.Input((8, 8, 1), name="image")
    for stage, width in enumerate((32, 64, 128)):
        for block in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{stage}_{block}")(x)
        x = layers.MaxPooling2D(name=f"pool{stage}")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="plain")


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "demo": build_network,
    "ResNet-8": lambda: networks.resnet((8, 8, 1), 10),
    "plain": plain,
}


class Cosine(keras.callbacks.Callback):
    """Half a cosine from a rate to nothing."""

    def __init__(self, rate: float, steps: int) -> None:
        super().__init__()
        self.rate, self.steps, self.step = rate, steps, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self.rate * (0.5 + 0.5 * np.cos(np.pi * self.step / self.steps))
        self.step += 1


def fit(model: keras.Model, start: list[Any], data: DataSet, rate: float, epochs: int, seed: int) -> None:
    """Train from a start; the model is compiled once for all rates."""
    keras.utils.set_random_seed(seed)
    model.set_weights(start)
    if model.optimizer.built:
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    steps = -(-len(data.train.images) // BATCH) * epochs
    watch = [Cosine(rate, steps)]
    model.fit(data.train.images, data.train.labels, batch_size=BATCH, epochs=epochs, callbacks=watch, verbose=0)


def accuracy(model: keras.Model, split: Split) -> float:
    """In %."""
    outputs = model.predict(split.images, batch_size=len(split.images), verbose=0)
    return 100 * float((outputs.argmax(axis=-1) == split.labels).mean())


def judged(model: keras.Model, data: DataSet) -> Found:
    """Accuracy before, and by the share of MACs kept that of each way; structure."""
    weights, graph = model.get_weights(), ks.lift(model)
    sites = {place.name: place for place in places(graph) if isinstance(place, Site)}
    inputs = measure_inputs(graph, [site.key for site in sites.values()], data.train.images[:IMAGES])
    found: Found = {"before": accuracy(model, data.test)}
    for kept in KEPT:
        passes = [Factorise(macs=kept, minimise="kernel", rescale=False, unreachable="nearest")]
        plan = ks.Pipeline(passes).run(model, verify="structure").report.passes[0].plans[0]
        made: Mapping[str, Factors] = {name: planned.factors for name, planned in plan.layers.items()}
        whole = {name: sites[name].kernel() for name in made}
        beyond = {name: beyond_random(whole[name], one) for name, one in made.items()}
        norm = {name: rescaled(one, whole[name]) for name, one in made.items()}
        chains: list[Mapping[str, Factors]] = [
            made,
            norm,
            {name: norm[name] if beyond[name] < RANDOM else made[name] for name in made},
            {name: rescaled(one, whole[name], inputs[sites[name].key]) for name, one in made.items()},
        ]
        found[kept] = []
        for several in chains:
            for name, one in several.items():
                variable = model.get_layer(name).kernel
                variable.assign(one.reconstruct()[0].reshape(variable.shape))  # one group, not transposed
            found[kept].append(accuracy(model, data.test))
            model.set_weights(weights)
        found.setdefault("structure", float(np.mean(list(beyond.values()))))
    return found


def main() -> None:
    """Train, factorise, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    found: dict[tuple[str, float], list[Found]] = {}
    data = [digits(seed, size=8) for seed in range(options.seeds)]
    for kind in options.networks or NETWORKS:
        starts = []
        for seed in range(options.seeds):
            keras.utils.set_random_seed(seed)
            model = NETWORKS[kind]()
            starts.append(model.get_weights())
        model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        for rate in options.rates:
            for seed, (start, own) in enumerate(zip(starts, data, strict=True)):
                fit(model, start, own, rate, options.epochs, seed)
                found.setdefault((kind, rate), []).append(judged(model, own))
                print(kind, f"{rate:g}, seed {seed}:", found[kind, rate][-1], flush=True)
            if options.write:
                write_text(options.write, table(found))
    print(table(found))


def table(found: Mapping[tuple[str, float], list[Found]]) -> str:
    """All seeds, one row a network and rate."""
    budgets = " | ".join(f"{kept:.0%}: {' / '.join(WAYS)}" for kept in KEPT)
    lines = [f"| network, rate | before | structure | {budgets} |", "|---|---|---|" + "---|" * len(KEPT)]
    for (kind, rate), several in found.items():
        before = ", ".join(f"{one['before']:.0f}" for one in several)
        shown = ", ".join(f"{one['structure']:.2f}" for one in several)
        cells = [", ".join(" / ".join(f"{value:.0f}" for value in one[kept]) for one in several) for kept in KEPT]
        lines.append(f"| {kind}, {rate:g} | {before} | {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
