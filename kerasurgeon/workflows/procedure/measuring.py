"""How good a model is on a part of a data set: accuracy, or the mean intersection over union."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.recover import MeanIoU
from kerasurgeon.rewrite.learned import not_learned
from kerasurgeon.rewrite.scores import require_finite_predictions
from kerasurgeon.workflows.data import DataSet, Split

Array = np.ndarray[Any, Any]

_BATCH = 64
_PIXELS = 2**20


def metric_name(data: DataSet) -> str:
    """What the data set is measured by: ``"accuracy"`` or ``"mean_iou"``."""
    return "accuracy" if data.task == "classification" else "mean_iou"


def metric_of(data: DataSet) -> Any:
    """The metric that Keras trains with."""
    return "accuracy" if data.task == "classification" else MeanIoU(data.classes, data.ignore_label)


def measure(model: keras.Model, data: DataSet, part: str = "test") -> dict[str, float]:
    """How good a model is.

    Args:
        model: A model of the data set's images; predictions have one number per class on the last axis.
        data: The data set.
        part: ``"train"``, ``"validation"`` or ``"test"``.

    Returns:
        ``accuracy``, the share of images or pixels whose class is right, and for segmentation ``mean_iou``. Pixels of
        the ignored label count in neither, and the mean is over the other classes: see ``MeanIoU``.

    Raises:
        RoundError: Predictions are NaN or infinite.
    """
    return _values(_counts(model, data, part)[0], data)


def unlearned(model: keras.Model, data: DataSet, part: str = "validation") -> str:
    """A warning where a model is no better than naming the commonest class always; nothing where it is.

    Args:
        model: As for ``measure``.
        data: The data set.
        part: What it is measured on.
    """
    counts, images = _counts(model, data, part)
    wanted, metric = counts.sum(axis=1), metric_name(data)
    guessed = np.zeros_like(counts)
    guessed[:, wanted.argmax()] = wanted
    value, chance = (_values(each, data)[metric] for each in (counts, guessed))
    return not_learned(value, chance, images, metric.replace("_", " "))


def _counts(model: keras.Model, data: DataSet, part: str) -> tuple[Array, int]:
    """How often each class was taken for which, and the number of images."""
    classes, seen = data.classes, 0
    counts = np.zeros((classes, classes), np.int64)
    for images, labels in batches_of(getattr(data, part), data.task):
        with on_this_machine(f"model {model.name!r}"):
            outputs = model(images, training=False)
        predictions = keras.ops.convert_to_numpy(outputs)
        require_finite_predictions(predictions, f"model {model.name!r}, part {part!r}")
        predicted = predictions.argmax(axis=-1).ravel()
        wanted = np.asarray(labels).ravel()
        counted = np.ones(wanted.shape, bool) if data.ignore_label is None else wanted != data.ignore_label
        pairs = wanted[counted].astype(np.int64) * classes + predicted[counted]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        seen += len(images)
    return counts, seen


def _values(counts: Array, data: DataSet) -> dict[str, float]:
    right = np.diag(counts)
    values = {"accuracy": float(right.sum() / max(counts.sum(), 1))}
    if data.task == "segmentation":
        union = counts.sum(axis=0) + counts.sum(axis=1) - right
        void = -1 if data.ignore_label is None else data.ignore_label
        named = (union > 0) & (np.arange(len(counts)) != void)
        values["mean_iou"] = float(np.mean(right[named] / union[named])) if named.any() else 0.0
    return values


def batches_of(part: Any, task: str) -> Iterator[tuple[Any, Any]]:
    """The images and labels of a part, batch by batch, as many at once as memory is surely there for."""
    if isinstance(part, Split):
        pixels = part.images.shape[1] * part.images.shape[2]
        size = _BATCH if task == "classification" else max(1, min(_BATCH, _PIXELS // pixels))
        for start in range(0, len(part), size):
            yield part.images[start : start + size], part.labels[start : start + size]
        return
    if isinstance(part, keras.utils.PyDataset):
        for index in range(len(part)):
            yield part[index][:2]
        return
    for batch in part:
        yield batch[0], keras.ops.convert_to_numpy(batch[1])
