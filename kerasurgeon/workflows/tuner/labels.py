"""Class labels as they are given to ``fit``: which kind they are, and whether they fit the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.class_ids import check_class_ids, classes_of_rows

Array = np.ndarray[Any, Any]

KINDS = ("sparse", "one_hot")


def kind_by_shape(labels: Sequence[int | None], predictions: Sequence[int | None]) -> str | None:
    """``"sparse"``, ``"one_hot"``, or ``None`` where shapes do not tell.

    Args:
        labels: Shape of the labels, with the batch axis.
        predictions: Shape of the predictions, ``(batch, ..., classes)``.
    """
    try:
        labels, predictions = tuple(labels), tuple(predictions)
    except (TypeError, ValueError):  # TensorFlow's shapes of unknown rank
        return None
    if len(labels) == len(predictions) - 1:
        return "sparse"
    if len(labels) != len(predictions) or labels[-1] is None or predictions[-1] is None:
        return None
    if labels[-1] == predictions[-1] > 1:
        return "one_hot"
    return "sparse" if labels[-1] == 1 else None


def labels_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The labels among the arguments of ``fit``: all of them if they are arrays, those of the first batch otherwise.

    Returns:
        The labels; ``None`` where data comes from a generator, which cannot be looked at without using it up.

    Raises:
        OptionError: There are none.
    """
    x = args[0] if args else kwargs.get("x")
    y = args[1] if len(args) > 1 else kwargs.get("y")
    if y is not None:
        return y
    if x is None or hasattr(x, "shape") or isinstance(x, (list, dict)):
        raise _no_labels(f"fit({'no data' if x is None else 'inputs without labels'})")
    if hasattr(x, "__next__"):
        return None
    batch = x[0] if isinstance(x, keras.utils.PyDataset) else _first(x)
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise _no_labels("batches without labels")
    return batch[1]


def check_labels(labels: Any, classes: int, kind: str | None = None, *, where: str = "y") -> str:
    """Refuse labels that do not fit the classes.

    Args:
        labels: Class ids or one-hot rows, as an array or tensor.
        classes: How many classes the model tells apart.
        kind: ``"sparse"`` or ``"one_hot"`` if only that will do.
        where: Where they come from, for the message.

    Returns:
        Which kind they are.

    Raises:
        OptionError: They are neither, of the other kind, or class ids are out of range.
    """
    array = _array(labels, where)
    found = kind_by_shape(array.shape, (None, classes))
    expected = {
        "sparse": f"class ids from 0 to {classes - 1}, of shape (samples,) or (samples, 1)",
        "one_hot": f"one-hot rows of shape (samples, {classes})",
    }
    wanted = " or ".join(expected.values()) if kind is None else expected[kind]
    if found is None or (kind is not None and found != kind):
        raise OptionError(
            f"The labels do not fit a model of {classes} classes.",
            where=where,
            expected=wanted,
            got=f"shape {array.shape}",
            hint="classes= is the number of classes" + ("" if kind is None else "; labels= says the kind of them"),
        )
    if found == "sparse":
        check_class_ids(array, classes, where=where, hint=_holding(array))
    else:
        classes_of_rows(array, where=where)
    return found


def _holding(ids: Array) -> str:
    counted = "classes count from 0"
    if ids.dtype.kind not in "iuf" or not ids.size or not np.isfinite(ids).all() or ids.min() < 0:
        return counted
    return f"{counted}; classes={int(ids.max()) + 1} would hold them"


def _array(labels: Any, where: str) -> Array:
    if isinstance(labels, np.ndarray):
        return labels
    try:
        return np.asarray(labels if isinstance(labels, (list, tuple)) else keras.ops.convert_to_numpy(labels))
    except (TypeError, ValueError) as error:
        raise OptionError(
            "The labels are no array.", where=where, expected="one array of labels", got=type(labels).__name__
        ) from error


def _first(data: Iterable[Any]) -> Any:
    try:
        return next(iter(data))
    except StopIteration:
        raise _no_labels("no batches") from None
    except TypeError as error:
        raise _no_labels(type(data).__name__) from error


def _no_labels(got: str) -> OptionError:
    return OptionError(
        "There are no labels to tell the accuracy by.",
        expected="search(inputs, labels, ...), or a data set of (inputs, labels)",
        got=got,
    )
