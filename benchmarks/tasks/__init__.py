"""Tasks for benchmarks, with networks to solve them: data from a seed, or from ``keras.datasets`` where it says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasurgeon.workflows.data import Augment, Batches, DataSet, cifar, digits
from tasks import networks
from tasks.colours import colours
from tasks.lines import lines


@dataclass(frozen=True)
class Training:
    """How a network is trained, and how it is fine-tuned.

    Attributes:
        epochs: Of training.
        tuning: Epochs of fine-tuning.
        rate: Learning rate of training.
        rates: Learning rates of fine-tuning, to choose from.
        batch: Samples in a batch.
        falls: Shares of the steps at which the rate falls to a tenth, with SGD; without any, Adam's rate falls along
            half a cosine.
        tuning_falls: The same for fine-tuning.
        augment: What changes the batches of training.
    """

    epochs: int
    tuning: int
    rate: float = 3e-3
    rates: tuple[float, ...] = (1e-2, 3e-3)
    batch: int = 64
    falls: tuple[float, ...] = ()
    tuning_falls: tuple[float, ...] = ()
    augment: Augment | None = None

    def optimizer(self) -> keras.optimizers.Optimizer:
        """A new one."""
        if not self.falls:
            return keras.optimizers.Adam(self.rate)
        # Keras takes decay off weights, torch adds it to gradients, which momentum then makes ten times as much of.
        return keras.optimizers.SGD(self.rate, momentum=0.9, weight_decay=5e-3)


@dataclass(frozen=True)
class Task:
    """Data and networks.

    Attributes:
        title: What it is called on pages.
        data: Of a seed.
        networks: By name what builds a network for a shape and a number of classes, and how it is trained.
        usual: Whether it is run where no task is named.
    """

    title: str
    data: Callable[[int], DataSet]
    networks: Mapping[str, tuple[Callable[[tuple[int, ...], int], keras.Model], Training]]
    usual: bool = True


# Two hundred epochs, then a hundred of fine-tuning: as DepGraph (Fang et al., CVPR 2023) trains its ResNet-56.
DEPGRAPH = Training(200, 100, 0.1, (0.01,), 128, (0.6, 0.75, 0.9), (0.6, 0.8), Augment(shift=0.125))
TASKS = {
    "digits": Task(
        "scikit-learn's digits at 16 x 16",
        partial(digits, size=16),
        {"ResNet-14": (partial(networks.resnet, blocks=2), Training(16, 4))},
    ),
    "lines": Task(
        "digits as lines of 40 points",
        lines,
        {
            "Conv1D ResNet": (
                partial(networks.resnet, widths=(24, 32, 48), size=5),
                Training(40, 6, rate=1e-2, rates=(2e-2, 7e-3, 2e-3)),
            ),
            "GRU": (networks.gru, Training(20, 6)),
        },
    ),
    "colours": Task(
        "textures in shapes, 32 x 32 in colour",
        colours,
        {
            "ResNet-20": (
                partial(networks.resnet, blocks=3, strides=2),
                Training(20, 6, rate=1e-2, rates=(2e-2, 7e-3)),
            ),
            "MobileNet": (
                partial(networks.mobilenet, stem=(16, 2)),
                Training(40, 8, rate=1e-2, rates=(2e-2, 7e-3)),
            ),
        },
    ),
    "cifar10": Task(
        "CIFAR-10",
        partial(cifar, "cifar10", validation=0.1),
        {"ResNet-56": (partial(networks.resnet, blocks=9), DEPGRAPH)},
        usual=False,
    ),
}


def accuracy(model: keras.Model, split: Any) -> float:
    """The share of samples that a model gets right."""
    outputs = [
        np.asarray(model(split.images[start : start + 500], training=False)) for start in range(0, len(split), 500)
    ]
    return float((np.concatenate(outputs).argmax(axis=-1) == split.labels).mean())


def _factor(done: float, falls: tuple[float, ...]) -> float:
    """What the learning rate is multiplied by when a share of the steps is done."""
    return 0.1 ** sum(done >= fall for fall in falls) if falls else 0.5 + 0.5 * float(np.cos(np.pi * done))


def trained(
    model: keras.Model, data: DataSet, training: Training, *, epochs: int, rates: tuple[float, ...], seed: int
) -> dict[float, float]:
    """Train a model in place, with each rate from the same start; what is best on held-out data is kept.

    Args:
        model: Makes logits.
        data: The parts are ``Split``.
        training: How.
        epochs: How many; of each rate the best is kept.
        rates: To choose from.
        seed: Of the order of samples, and of what changes them.

    Returns:
        Accuracy on the held-out part by rate.
    """
    start = best = model.get_weights()
    found: dict[float, float] = {}
    model.compile(training.optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for rate in rates:
        model.set_weights(start)
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        batches = Batches(data.train, training.batch, seed=seed, augment=training.augment)
        falls = training.falls if rates == (training.rate,) else training.tuning_falls
        # A smaller last batch would be traced anew, which takes as long as an epoch.
        steps = max(1, len(data.train) // training.batch)
        for epoch in range(epochs):
            batches.begin_epoch(epoch)
            for step in range(steps):
                done = (epoch + step / steps) / epochs
                model.optimizer.learning_rate = rate * _factor(done, falls)
                model.train_on_batch(*batches[step])
            right = accuracy(model, data.validation)
            other = max((value for key, value in found.items() if key != rate), default=-1.0)
            if right > other and right >= found.get(rate, -1.0):  # of equal epochs the later one, of rates the first
                best = model.get_weights()
            found[rate] = max(right, found.get(rate, -1.0))
    model.set_weights(best)
    return found


__all__ = ["TASKS", "Task", "Training", "accuracy", "trained"]
