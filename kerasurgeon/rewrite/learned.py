"""Whether a network has learned what it is judged by: where it has not, what is chosen by the judgement is chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasurgeon.rewrite.scores import Accuracy, Score

Array = np.ndarray[Any, Any]


def not_learned(value: float, chance: float, samples: int, metric: str = "accuracy") -> str:
    """What to say of a network that is no better than an answer that does not look at the inputs.

    It is better where its value is more than two standard deviations above that of the answer.

    Args:
        value: The network's accuracy, or another share in [0, 1].
        chance: That of naming the commonest class always.
        samples: How many it was measured on.
        metric: What was measured.

    Returns:
        A warning; nothing where it is better.
    """
    if not (math.isfinite(value) and 0 <= chance <= 1):
        return ""
    if value > chance + 2 * math.sqrt(chance * (1 - chance) / max(samples, 1)):
        return ""
    return (
        f"WARNING: the network has not learned what it is judged by: its {metric} is {value:.1%} on {samples:,} "
        f"samples, that of always naming the commonest class {chance:.1%}. What is chosen by it is chosen by chance: "
        "see whether inputs are prepared as in training, and whether labels are numbered as its outputs are"
    )


class Guessed:
    """A score that can tell whether it is better than naming the commonest class always.

    Args:
        make: Makes the score; what it would be for the commonest class is found by a second one.
    """

    def __init__(self, make: Callable[[], Score]) -> None:
        self.score, self._make = make(), make
        self._labels: list[Array] = []
        self._shapes: list[tuple[int, ...]] = []

    def update(self, labels: Array, predictions: Array) -> None:
        """Take in a batch."""
        self.score.update(labels, predictions)
        self._labels.append(np.asarray(labels))
        self._shapes.append(predictions.shape if predictions.ndim > 1 else (*predictions.shape, 1))

    def result(self) -> float:
        """The score of all batches."""
        return self.score.result()

    def warning(self) -> str:
        """What ``not_learned`` says of it; nothing where labels are no classes, or the score is a user's function."""
        metric = getattr(self.score, "metric", None)
        if not self._labels or not (isinstance(self.score, Accuracy) or isinstance(metric, keras.metrics.Metric)):
            return ""
        ids = [_class_ids(labels, shape) for labels, shape in zip(self._labels, self._shapes, strict=True)]
        known = [each for each in ids if each is not None]
        classes = self._shapes[0][-1]
        if len(known) < len(ids) or {shape[-1] for shape in self._shapes} != {classes}:
            return ""
        counts = np.bincount(np.concatenate([each.ravel() for each in known]), minlength=max(classes, 2))
        if not counts.any() or len(counts) > max(classes, 2):
            return ""
        common = int(counts.argmax())
        answer = np.eye(classes, dtype="float32")[common] if classes > 1 else np.array([common], "float32")
        constant = self._make()
        for labels, shape in zip(self._labels, self._shapes, strict=True):
            constant.update(labels, np.broadcast_to(answer, shape))
        samples = sum(len(labels) for labels in self._labels)
        name = "accuracy" if metric is None else str(metric.name).replace("_", " ")
        return not_learned(self.result(), constant.result(), samples, name)


def _class_ids(labels: Array, shape: tuple[int, ...]) -> Array | None:
    """Labels as class ids, those alone that are classes; nothing where they are something else."""
    if labels.shape == shape and shape[-1] > 1:
        return np.asarray(labels.argmax(axis=-1)) if labels.dtype.kind in "iubf" else None
    if labels.shape not in (shape[:-1], (*shape[:-1], 1)) or labels.dtype.kind not in "iubf":
        return None
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        return None
    ids = labels.astype("int64")
    return np.asarray(ids[(ids >= 0) & (ids < max(shape[-1], 2))])


__all__ = ["Guessed", "not_learned"]
