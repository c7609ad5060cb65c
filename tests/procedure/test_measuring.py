"""How good a model is, counted pixel by pixel."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasurgeon.workflows.data import DataSet, Split
from kerasurgeon.workflows.procedure.measuring import measure, metric_of

CLASSES = 4


@pytest.mark.parametrize("ignore", [None, 255, 0, 2])
def test_mean_iou_of_a_part(ignore: int | None) -> None:
    """The images are the predictions; a void class has no share in the mean, as in the metric that is trained with."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 6, 7, CLASSES)).astype("float32")
    labels = rng.integers(0, CLASSES, (5, 6, 7))
    if ignore is not None:
        labels[rng.random(labels.shape) < 0.3] = ignore
    inputs = keras.Input((6, 7, CLASSES))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    part = Split(images, labels)
    data = DataSet("drawn", part, part, part, classes=CLASSES, task="segmentation", ignore_label=ignore)
    right, total, both, either = 0, 0, [0] * CLASSES, [0] * CLASSES
    for place in np.ndindex(labels.shape):
        label, answer = int(labels[place]), int(images[place].argmax())
        if label == ignore:
            continue
        right, total = right + (label == answer), total + 1
        for number in {label, answer}:
            either[number] += 1
            both[number] += label == answer
    wanted = np.mean([both[n] / either[n] for n in range(CLASSES) if n != ignore])
    found = measure(model, data)
    assert found["accuracy"] == pytest.approx(right / total)
    assert found["mean_iou"] == pytest.approx(wanted)
    metric = metric_of(data)
    metric.update_state(labels, images)
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-5)
