"""A data set and a network that train in no time, and functions that recipes in tests name."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.workflows.data import DataSet, data_set
from kerasurgeon.workflows.procedure import Procedure, Run

RECIPE: dict[str, Any] = {
    "seed": 3,
    "name": "tiny",
    "data": {"name": "tests.procedure.tiny:blobs", "samples": 48},
    "original": {"network": "tests.procedure.tiny:network", "width": 8},
    "train_original": {"epochs": 3, "batch_size": 16, "learning_rate": 0.05},
    "quotients": {"run": True, "samples": 32},
    "shunt": {"regions": "stem->block2", "arch": "tests.procedure.tiny:small_shunt"},
    "train_shunt": {"epochs": 3, "batch_size": 16, "learning_rate": 0.01},
    "train_final": {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.02,
        "dark_knowledge": {"temperature": 2.0, "strength": 1.0},
    },
    "latency": {"rounds": 1},
}


def blobs(samples: int = 48, seed: int = 0) -> DataSet:
    """Images of a bright spot; the class is which third of the image it is in."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(2 * samples) % 3).astype("int32")
    images = rng.normal(0, 0.1, (2 * samples, 6, 6, 1)).astype("float32")
    for index, label in enumerate(labels):
        images[index, rng.integers(6), 2 * label : 2 * label + 2] += 1.0
    half, rest = (images[:samples], labels[:samples]), (images[samples:], labels[samples:])
    return data_set(half, rest, classes=3, name="blobs")


def network(input_shape: Any, classes: int, width: int = 8) -> keras.Model:
    """Two residual blocks, named."""
    layers = keras.layers
    x = inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, 3, padding="same", activation="relu", name="stem")(x)
    for number in (1, 2):
        y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        y = layers.BatchNormalization(momentum=0.8, name=f"bn{number}")(y)
        y = layers.Dropout(0.1, seed=number, name=f"drop{number}")(y)
        x = layers.Add(name=f"block{number}")([x, y])
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(classes, name="scores")(x), name="tiny")


def strided(input_shape: Any, classes: int) -> keras.Model:
    """A network that brings the size of its maps down once, with a block behind that."""
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(inputs)
    for number in (1, 2):
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.Add(name=f"block{number}")([x, y])
    return keras.Model(inputs, layers.Dense(classes, name="scores")(layers.GlobalAveragePooling2D()(x)))


def small_shunt(entry: Any, exit: Any) -> keras.Model:
    """A shunt of one 1x1 convolution."""
    x = keras.Input(batch_shape=entry.shape)
    kernel = keras.initializers.GlorotUniform(seed=0)
    return keras.Model(x, keras.layers.Conv2D(exit.shape[-1], 1, kernel_initializer=kernel)(x))


def large_shunt(entry: Any, exit: Any) -> keras.Model:
    """A shunt that costs more than what it takes the place of."""
    x = keras.Input(batch_shape=entry.shape)
    return keras.Model(x, keras.layers.Conv2D(exit.shape[-1], 5, padding="same")(x))


def squared(labels: Any, scores: Any) -> Any:
    """A loss: the squared distance from one-hot rows."""
    return keras.ops.sum(keras.ops.square(scores - keras.ops.one_hot(labels, scores.shape[-1])), axis=-1)


class Nearness(keras.metrics.Mean):
    """A metric of one's own."""

    def __init__(self, name: str = "nearness", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, labels: Any, scores: Any, sample_weight: Any = None) -> None:
        """One over the loss."""
        super().update_state(1 / (1 + squared(labels, scores)))


def twice(run: Run) -> keras.Model:
    """In place of a training: the model as it is."""
    return run.model("original")


def die_at(folder: Path, step: str, epoch: int) -> None:
    """Run the procedure, and kill this process, as by kill -9, behind an epoch of a step."""
    now = ""

    def phase(label: str) -> None:
        nonlocal now
        now = label

    def tell(fraction: float, message: str) -> None:
        if now.endswith(step) and message.startswith(f"epoch {epoch} "):
            os.kill(os.getpid(), signal.SIGKILL)

    Procedure.from_recipe(RECIPE, allow="tests").run(folder, phase=phase, progress=tell)


if __name__ == "__main__":
    die_at(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
