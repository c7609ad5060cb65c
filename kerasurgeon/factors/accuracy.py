"""Accuracy of a classifier on labelled data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError

_BATCH = 64


def accuracy_on(inputs: Any, labels: Any) -> Callable[[Any], float]:
    """A function from a model to its accuracy: the share of samples whose class it finds.

    Args:
        inputs: What the model is called on.
        labels: Whole numbers, or one-hot rows; for a single output that is a probability, 0 or 1.

    Raises:
        OptionError: There are no labels.
    """
    wanted = np.asarray(labels)
    if not wanted.size:
        raise OptionError("There are no labels to measure accuracy with.", got="an empty array")
    if wanted.ndim == 0 or wanted.size != len(wanted) * (wanted.shape[-1] if wanted.ndim == 2 else 1):
        raise OptionError(
            "The labels cannot be used to measure accuracy.",
            expected="a whole number for each sample, shape (samples,), or one-hot rows, shape (samples, classes)",
            got=f"shape {wanted.shape}",
            hint="pass evaluate=function to the pipeline for other tasks",
        )
    classes = wanted.argmax(axis=-1) if wanted.ndim > 1 and wanted.shape[-1] > 1 else wanted.reshape(len(wanted))

    def accuracy(model: Any) -> float:
        given = np.asarray(model.predict(inputs, batch_size=_BATCH, verbose=0))
        found = given.argmax(axis=-1) if given.shape[-1] > 1 else (given.reshape(len(given)) > 0.5).astype(int)
        if found.shape != classes.shape:
            raise OptionError(
                "The labels do not fit the model's output.",
                expected=f"one class for each of {found.shape} predictions",
                got=f"labels of shape {wanted.shape}",
                hint="pass evaluate=function to the pipeline for other tasks",
            )
        return float(np.mean(found == classes))

    return accuracy


__all__ = ["accuracy_on"]
