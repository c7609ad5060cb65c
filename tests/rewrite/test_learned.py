"""A network that is no better than naming the commonest class is told of, and one that is better is not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.learned import Guessed, not_learned
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rewrite.scores import Accuracy, score_maker
from kerasurgeon.workflows.data import DataSet, Split
from kerasurgeon.workflows.procedure.measuring import unlearned

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(
    ("value", "chance", "samples", "told"),
    [
        (0.1, 0.1, 1000, True),
        (0.115, 0.1, 1000, True),
        (0.125, 0.1, 1000, False),
        (0.125, 0.1, 200, True),
        (0.9, 0.9, 400, True),
        (0.95, 0.9, 400, False),
        (1.0, 1.0, 50, True),
        (float("nan"), 0.1, 10, False),
    ],
)
def test_better_is_two_deviations_above(value: float, chance: float, samples: int, told: bool) -> None:
    assert bool(not_learned(value, chance, samples)) == told


def scores(labels: Array, share: float, classes: int = 4) -> Array:
    """Predictions of which a share is right and the rest drawn."""
    rng = np.random.default_rng(1)
    guesses = np.where(rng.random(labels.shape) < share, labels, rng.integers(0, classes, labels.shape))
    return np.eye(classes, dtype="float32")[guesses]


@pytest.mark.parametrize("metric", ["accuracy", keras.metrics.SparseCategoricalAccuracy()], ids=["name", "keras"])
@pytest.mark.parametrize("form", ["ids", "column", "one-hot"])
def test_scores_by_batches(metric: Any, form: str) -> None:
    if form == "one-hot" and metric != "accuracy":
        return
    labels = np.random.default_rng(0).integers(0, 4, 400)
    given = {"ids": labels, "column": labels[:, None], "one-hot": np.eye(4)[labels]}[form]
    for share, told in ((0.0, True), (0.5, False)):
        score = Guessed(score_maker(metric))
        for part in (slice(0, 150), slice(150, 400)):
            score.update(given[part], scores(labels, share)[part])
        assert score.result() == pytest.approx((scores(labels, share).argmax(-1) == labels).mean(), abs=1e-6)
        assert bool(score.warning()) == told, (share, score.warning())
    assert f"{np.bincount(labels).max() / 400:.1%}" in _of(given, scores(labels, 0.0))


def _of(labels: Array, predictions: Array) -> str:
    score = Guessed(Accuracy)
    score.update(labels, predictions)
    return score.warning()


def test_what_cannot_be_told_is_not_told() -> None:
    """A function of the user's, labels that are no classes, one probability."""
    labels = np.zeros(60, int)
    score = Guessed(score_maker(lambda labels, predictions: 0.0))
    score.update(labels, scores(labels, 0.0))
    assert score.warning() == ""
    probability = np.random.default_rng(0).random((400, 1))
    assert "commonest" in _of(np.arange(400) % 2, probability)
    assert _of((probability[:, 0] > 0.5).astype(int), probability) == ""


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Conv2D(6, 3, activation="relu", name="one")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="two")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x), name="net")


def test_quotients_and_searches_say_it() -> None:
    model = network(0)
    images = np.random.default_rng(0).normal(size=(120, 6, 6, 2)).astype("float32")
    own = model.predict(images, verbose=0).argmax(-1)
    for labels, told in ((own, False), (np.random.default_rng(7).integers(0, 3, 120), True)):
        found = ks.knowledge_quotients(model, data=(images, labels), which="*", min_nodes=1)
        assert bool(found.warning) == told
        assert ("has not learned" in str(found)) == told
        assert type(found).from_dict(found.to_dict()).warning == found.warning
        pruning = PruneChannels(ratio=0.2, max_loss=1.0, importance="l1", compensate="none")
        result = Pipeline([pruning]).run(model, data=(images, labels))
        assert ("has not learned" in str(result.report)) == told


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_data_sets(task: str) -> None:
    """The images are the predictions."""
    rng = np.random.default_rng(0)
    shape = (80,) if task == "classification" else (80, 4, 4)
    labels = rng.integers(0, 3, shape)
    labels[rng.random(shape) < 0.5] = 1
    inputs = keras.Input((4, 4, 3))
    pool = keras.layers.GlobalAveragePooling2D()
    model = keras.Model(inputs, pool(inputs) if task == "classification" else keras.layers.Identity()(inputs))
    for right, told in ((False, True), (True, False)):
        images = np.eye(3, dtype="float32")[labels if right else np.ones_like(labels)]
        if task == "classification":
            images = np.broadcast_to(images[:, None, None], (80, 4, 4, 3))
        part = Split(images, labels)
        assert bool(unlearned(model, DataSet("drawn", part, part, part, classes=3, task=task))) == told
