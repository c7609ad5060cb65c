"""How good predictions are: accuracy, a Keras metric, or a function of labels and predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from kerasurgeon.errors import OptionError, RoundError
from kerasurgeon.rewrite.class_ids import check_class_ids, classes_of_rows
from kerasurgeon.rewrite.evaluation_of import called, number_by

Array = np.ndarray[Any, Any]
_ELSE = "pass evaluate=function (model to number, higher is better) for other tasks"


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
    """The share of predictions whose class is right; classes on the last axis, or one probability.

    Attributes:
        shares: The same for each sample, batch by batch.
    """

    def __init__(self) -> None:
        self.right = self.count = 0
        self.shares: list[Array] = []

    def update(self, labels: Array, predictions: Array) -> None:
        """Take in a batch.

        Raises:
            OptionError: The labels are no classes of these predictions.
            RoundError: The predictions hold NaN or infinity.
        """
        if predictions.ndim < 2:
            predictions = predictions[:, None]
        wanted = _classes(labels, predictions.shape)
        require_finite_predictions(predictions)
        found = predictions.argmax(axis=-1) if predictions.shape[-1] > 1 else predictions[..., 0] > 0.5
        self.right += int(np.count_nonzero(found == wanted))
        self.count += wanted.size
        self.shares.append((found == wanted).reshape(len(wanted), -1).mean(axis=1))

    def result(self) -> float:
        """The share."""
        return self.right / max(self.count, 1)


def require_finite_predictions(predictions: Array, of: str | None = None) -> None:
    """Refuse what no class can be told from: the largest of some NaN is the first class, which would count as right.

    Args:
        predictions: The predictions.
        of: What gave them.

    Raises:
        RoundError: They hold NaN or infinity.
    """
    if predictions.dtype.kind not in "iub" and not np.isfinite(predictions).all():
        bad = int((~np.isfinite(predictions)).reshape(len(predictions), -1).any(axis=1).sum())
        raise RoundError(
            "The model gives NaN or infinity.",
            where=of,
            expected="finite predictions",
            got=f"{bad} of {len(predictions)} samples of a batch without",
            hint="its weights have diverged, or the inputs are not prepared as for predict",
        )


def _classes(labels: Array, shape: tuple[int, ...]) -> Array:
    """Labels as whole numbers, one for each prediction."""
    classes = shape[-1]
    if labels.shape == shape and classes > 1:
        return classes_of_rows(labels, hint=_ELSE)
    if labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != shape[:-1]:
        raise OptionError(
            "The labels do not fit the model's output.",
            expected=f"a class for each prediction, shape {shape[:-1]}, or one-hot rows, shape {shape}",
            got=f"shape {labels.shape}",
            hint=_ELSE,
        )
    check_class_ids(labels, max(classes, 2), hint=f"classes count from 0; {_ELSE}, or with labels to be ignored")
    return labels


class _KerasScore:
    def __init__(self, metric: Any) -> None:
        self.metric = type(metric).from_config(metric.get_config())
        self.metric.reset_state()

    def update(self, labels: Array, predictions: Array) -> None:
        called("metric=", "a batch", self.metric.update_state, labels, predictions)

    def result(self) -> float:
        return number_by(called("metric=", "all batches", self.metric.result), "metric=", "all batches")


class _FunctionScore:
    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self.batches: list[tuple[Array, Array]] = []

    def update(self, labels: Array, predictions: Array) -> None:
        self.batches.append((labels, predictions))

    def result(self) -> float:
        labels, predictions = (np.concatenate(parts) for parts in zip(*self.batches, strict=True))
        return number_by(called("metric=", "all batches", self.function, labels, predictions), "metric=", "all batches")


__all__ = ["Accuracy", "Score", "metric_name", "require_finite_predictions", "score_maker"]
