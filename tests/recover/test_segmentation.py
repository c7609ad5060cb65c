"""Segmentation's loss and metric against plain numpy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.recover import MeanIoU, SegmentationCrossEntropy

Array = np.ndarray[Any, Any]
CLASSES = 4


def drawn(ignore: int | None) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, (2, 5, 7))
    if ignore is not None:
        labels[generator.random(labels.shape) < 0.4] = ignore
    return labels, generator.normal(size=(2, 5, 7, CLASSES)).astype("float32")


def probabilities(logits: Array) -> Array:
    powers = np.exp(logits.astype("float64"))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def expected(labels: Array, logits: Array, ignore: int | None, weights: Any, per_sample: Any = None) -> float:
    total, count, given = 0.0, 0, probabilities(logits)
    for place in np.ndindex(labels.shape):
        label = int(labels[place])
        if label == ignore:
            continue
        factor = 1.0 if weights is None else weights[label]
        factor *= 1.0 if per_sample is None else per_sample[place[0]]
        total -= factor * float(np.log(given[place][label]))
        count += 1
    return total / count


@pytest.mark.parametrize("ignore", [255, 2, 0, None])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 0.25]])
def test_crossentropy_is_the_mean_over_the_pixels_that_count(ignore: int | None, weights: Any) -> None:
    labels, logits = drawn(ignore)
    wanted = expected(labels, logits, ignore, weights)
    of_logits = SegmentationCrossEntropy(ignore, weights, from_logits=True)
    of_probabilities = SegmentationCrossEntropy(ignore, weights)
    for given in (labels, labels[..., None], labels.astype("uint8")):
        np.testing.assert_allclose(float(of_logits(given, logits)), wanted, rtol=1e-5)
        np.testing.assert_allclose(float(of_probabilities(given, probabilities(logits))), wanted, rtol=1e-5)
    per_sample = np.array([1.0, 0.25])
    got = of_logits(labels, logits, sample_weight=per_sample)
    np.testing.assert_allclose(float(got), expected(labels, logits, ignore, weights, per_sample), rtol=1e-5)


def test_a_batch_of_ignored_pixels_costs_nothing() -> None:
    labels, logits = drawn(None)
    assert float(SegmentationCrossEntropy(from_logits=True)(np.full_like(labels, 255), logits)) == 0.0


@pytest.mark.parametrize("ignore", [255, 2, 0, CLASSES - 1, -1, None])
def test_mean_iou(ignore: int | None) -> None:
    """Pixel by pixel: a void class has no share in the mean, and what is taken for void is missed by its class."""
    labels, logits = drawn(ignore)
    chosen = logits.argmax(axis=-1)
    assert ignore not in range(CLASSES) or (chosen == ignore).any()
    both, either = [0] * CLASSES, [0] * CLASSES
    for place in np.ndindex(labels.shape):
        label, answer = int(labels[place]), int(chosen[place])
        if label == ignore:
            continue
        for number in {label, answer}:
            either[number] += 1
            both[number] += label == answer
    ious = [b / e for number, (b, e) in enumerate(zip(both, either, strict=True)) if e and number != ignore]
    metric = MeanIoU(CLASSES, ignore)
    for sample in range(2):
        metric.update_state(labels[sample : sample + 1], logits[sample : sample + 1])
    np.testing.assert_allclose(float(metric.result()), np.mean(ious), rtol=1e-5)
    metric.reset_state()
    metric.update_state(labels[..., None], probabilities(logits))
    np.testing.assert_allclose(float(metric.result()), np.mean(ious), rtol=1e-5)


def test_a_perfect_network_with_a_void_class_is_perfect() -> None:
    """All right where it counts, whatever it says of void: one."""
    labels, _ = drawn(2)
    answers = np.where(labels == 2, np.random.default_rng(1).integers(0, CLASSES, labels.shape), labels)
    metric = MeanIoU(CLASSES, 2)
    metric.update_state(labels, np.eye(CLASSES)[answers])
    assert float(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state(np.full_like(labels, 2), np.eye(CLASSES)[answers])
    assert float(metric.result()) == 0.0  # nothing counts


def test_both_can_be_written_and_read() -> None:
    loss = SegmentationCrossEntropy(7, [1.0, 2.0], from_logits=True)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, SegmentationCrossEntropy)
    assert again.get_config() == loss.get_config()
    assert (again.ignore_label, again.class_weights) == (7, (1.0, 2.0))
    metric = keras.metrics.deserialize(keras.metrics.serialize(MeanIoU(5, 3, name="iou")))
    assert isinstance(metric, MeanIoU)
    assert (metric.num_classes, metric.ignore_label, metric.name) == (5, 3, "iou")
    assert metric.target_class_ids == [0, 1, 2, 4]


def test_class_weights_that_cannot_be_used() -> None:
    labels, logits = drawn(None)
    for weights in ([1.0, -1.0], [], [float("nan")], "heavy"):
        with pytest.raises(OptionError, match="'class_weights'"):
            SegmentationCrossEntropy(class_weights=weights)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one class weight per class"):
        SegmentationCrossEntropy(class_weights=[1.0, 2.0])(labels, logits)
