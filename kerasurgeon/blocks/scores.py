"""How good predictions are: accuracy, a Keras metric, or a function of labels and predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from kerasurgeon.errors import OptionError

Array = np.ndarray[Any, Any]
_ELSE = "pass metric=, or evaluate=function (model to number, higher is better) for other tasks"


class Score(Protocol):
    """Takes batches of labels and predictions, and says in the end how good they are."""

    def update(self, labels: Array, predictions: Array) -> None:
        """Take in a batch."""

    def result(self) -> float:
        """The score of all batches."""


def score_maker(metric: Any) -> Callable[[], Score]:
    """What makes a new score, for every model that is evaluated.

    Args:
        metric: ``"accuracy"``; a Keras metric, of which every score has a copy; or a function of all labels and all
            predictions that gives a number. Higher is better.

    Raises:
        OptionError: It is none of these.
    """
    if metric == "accuracy":
        return Accuracy
    if isinstance(metric, keras.metrics.Metric):
        return lambda: _KerasScore(metric)
    if callable(metric) and not isinstance(metric, type):
        return lambda: _FunctionScore(metric)
    raise OptionError(
        "metric= cannot be used.",
        expected="'accuracy', a Keras metric (an instance), or a function of labels and predictions",
        got=repr(metric)[:80],
    )


def metric_name(metric: Any) -> str:
    """What a metric is called."""
    if isinstance(metric, keras.metrics.Metric):
        return f"{type(metric).__name__}({metric.get_config()})"
    return str(metric) if isinstance(metric, str) else str(getattr(metric, "__qualname__", type(metric).__name__))


class Accuracy:
    """The share of predictions whose class is right; classes on the last axis, or one probability."""

    def __init__(self) -> None:
        self.right = self.count = 0

    def update(self, labels: Array, predictions: Array) -> None:
        """Take in a batch.

        Raises:
            OptionError: The labels are no classes of these predictions.
        """
        found = predictions.argmax(axis=-1) if predictions.shape[-1] > 1 else predictions[..., 0] > 0.5
        wanted = _classes(labels, predictions.shape)
        self.right += int(np.count_nonzero(found == wanted))
        self.count += wanted.size

    def result(self) -> float:
        """The share."""
        return self.right / max(self.count, 1)


def _classes(labels: Array, shape: tuple[int, ...]) -> Array:
    """Labels as whole numbers, one for each prediction."""
    classes = shape[-1]
    if labels.shape == shape and classes > 1:
        return np.asarray(labels.argmax(axis=-1))
    if labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != shape[:-1]:
        raise OptionError(
            "The labels do not fit the model's output.",
            expected=f"a class for each prediction, shape {shape[:-1]}, or one-hot rows, shape {shape}",
            got=f"shape {labels.shape}",
            hint=_ELSE,
        )
    if labels.dtype.kind not in "iub" and not np.array_equal(labels, np.round(labels)):
        raise OptionError("The labels are no classes.", expected="whole numbers, or one-hot rows", hint=_ELSE)
    most = max(classes, 2)
    outside = labels[(labels < 0) | (labels >= most)]
    if outside.size:
        raise OptionError(
            "The labels name classes that the model does not have.",
            expected=f"whole numbers from 0 to {most - 1}",
            got=f"{outside.flat[0]}, and {outside.size - 1} more" if outside.size > 1 else str(outside.flat[0]),
            hint="classes count from 0; for labels that are to be ignored pass a metric that does so",
        )
    return labels


class _KerasScore:
    def __init__(self, metric: Any) -> None:
        self.metric = type(metric).from_config(metric.get_config())
        self.metric.reset_state()

    def update(self, labels: Array, predictions: Array) -> None:
        self.metric.update_state(labels, predictions)

    def result(self) -> float:
        return float(np.asarray(keras.ops.convert_to_numpy(self.metric.result())))


class _FunctionScore:
    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self.batches: list[tuple[Array, Array]] = []

    def update(self, labels: Array, predictions: Array) -> None:
        self.batches.append((labels, predictions))

    def result(self) -> float:
        labels, predictions = (np.concatenate(parts) for parts in zip(*self.batches, strict=True))
        return float(self.function(labels, predictions))


__all__ = ["Accuracy", "Score", "metric_name", "score_maker"]
