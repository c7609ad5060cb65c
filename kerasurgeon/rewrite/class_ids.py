"""Whether labels are classes that a model can give: one check for all that looks at labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError

Array = np.ndarray[Any, Any]

_SHOWN = 5


def check_class_ids(
    labels: Array, classes: int, *, ignored: int | None = None, where: str | None = None, hint: str | None = None
) -> None:
    """Refuse labels that are no class ids: texts, fractions, NaN, and numbers of classes that there are not.

    Args:
        labels: The labels, of any shape.
        classes: How many classes there are; ids count from 0.
        ignored: A label that may stand beside the class ids.
        where: What the labels are called.
        hint: What to do with labels of classes that there are not.

    Raises:
        OptionError: One of them is no class id; the message says which.
    """
    expected = f"whole numbers from 0 to {classes - 1}"
    expected += "" if ignored is None else f", or {ignored} for what does not count"
    if labels.dtype.kind not in "iubf":
        got = f"{labels.flat[0]!r:.40}" if labels.size else str(labels.dtype)
        names = "numpy.unique(labels, return_inverse=True)[1] numbers names in alphabetical order: is that the model's?"
        raise OptionError("The labels are no class ids.", where=where, expected=expected, got=got, hint=names)
    ids = np.unique(labels)
    broken = ids[~(np.isfinite(ids) & (ids == np.round(ids)))] if ids.dtype.kind == "f" else ids[:0]
    if broken.size:
        whole = "one whole number for each prediction; of rows of scores, their argmax(axis=-1)"
        raise OptionError(
            "The labels are no class ids.", where=where, expected=expected, got=_several(broken), hint=whole
        )
    wrong = ids[(ids < 0) | (ids >= classes)]
    wrong = wrong if ignored is None else wrong[wrong != ignored]
    if wrong.size:
        count = int(np.isin(labels, wrong).sum())
        raise OptionError(
            "There are labels that are no class of the model.",
            where=where,
            expected=expected,
            got=f"{_several(wrong)} ({count:,} of {labels.size:,} labels)",
            hint=hint or "classes count from 0",
        )


def classes_of_rows(rows: Array, *, where: str | None = None, hint: str | None = None) -> Array:
    """The class that each one-hot row names; rows may be smoothed.

    Args:
        rows: ``(..., classes)``.
        where: What the labels are called.
        hint: What to do with rows that name several classes, or none.

    Raises:
        OptionError: A row is not finite, or no entry of it is larger than all others.
    """
    expected = "one-hot rows: one entry is the largest"
    if rows.dtype.kind not in "iubf":
        raise OptionError("The labels are no numbers.", where=where, expected=expected, got=str(rows.dtype))
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise OptionError("The labels hold NaN or infinity.", where=where, expected=expected)
    several = (rows == rows.max(axis=-1, keepdims=True)).sum(axis=-1) != 1
    if several.any():
        example = rows[several].reshape(-1, rows.shape[-1])[0][:_SHOWN].tolist()
        raise OptionError(
            "The labels do not name one class each.",
            where=where,
            expected=expected,
            got=f"{int(several.sum()):,} rows as {example}",
            hint=hint,
        )
    return np.asarray(rows.argmax(axis=-1))


def _several(ids: Array) -> str:
    return ", ".join(f"{number:g}" for number in ids[:_SHOWN].tolist()) + (", ..." if ids.size > _SHOWN else "")


__all__ = ["check_class_ids", "classes_of_rows"]
