"""Check labels before a training of hours finds out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rewrite.class_ids import check_class_ids

_SPARSE = ("sparse_categorical_crossentropy", "segmentation_crossentropy")


def check_labels(loss: Any, labels: Any, output: TensorSpec, where: str, ignored: int | None = None) -> None:
    """Refuse labels that a loss of class numbers or of one-hot rows cannot take; of other losses nothing is known.

    Args:
        loss: A name, a Keras loss or a function.
        labels: Of one output: an array, or what has only shape and dtype.
        output: What is known of the output.
        where: What the labels are called.
        ignored: A label that is allowed whatever the classes are.

    Raises:
        OptionError: Shape, dtype or class numbers are not those that the loss takes.
    """
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    shape = tuple(labels.shape) if hasattr(labels, "shape") else np.shape(labels)
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy) or name in _SPARSE:
        ignore = getattr(loss, "ignore_class", None)
        ignore = getattr(loss, "ignore_label", ignored if ignore is None else ignore)
        _check_shape(shape, (output.shape[:-1], (*output.shape[:-1], 1)), where, "class numbers")
        _check_numbers(labels, output.shape[-1], ignore, where)
    elif isinstance(loss, keras.losses.CategoricalCrossentropy) or name == "categorical_crossentropy":
        _check_shape(shape, (output.shape,), where, "one-hot rows")


def _check_shape(shape: tuple[Any, ...], wanted: tuple[Any, ...], where: str, what: str) -> None:
    for sizes in wanted:
        if len(shape) == len(sizes) and all(
            one is None or other is None or one == other for one, other in zip(shape[1:], sizes[1:], strict=True)
        ):
            return
    texts = ["(" + ", ".join("?" if size is None else str(size) for size in sizes) + ")" for sizes in wanted]
    raise OptionError(
        f"The {where} have the wrong shape.",
        expected=f"{what} of shape " + " or ".join(texts),
        got=str(tuple(shape)),
        hint="sparse_categorical_crossentropy takes class numbers, categorical_crossentropy one-hot rows",
    )


def _check_numbers(labels: Any, classes: int | None, ignored: int | None, where: str) -> None:
    if not isinstance(labels, np.ndarray):
        if not hasattr(labels, "numpy"):
            return
        labels = np.asarray(labels)
    if classes is not None:
        hint = "name the label of pixels that do not count as ignore_label=" if ignored is None else None
        check_class_ids(labels, classes, ignored=ignored, where=where, hint=hint)


__all__ = ["check_labels"]
