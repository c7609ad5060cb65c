"""A data set of one's own: arrays, tf.data or Python generators of batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.data.parts import DataSet, Split
from kerasurgeon.workflows.data.splitting import stratified


def data_set(
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    classes: int,
    task: str = "classification",
    ignore_label: int | None = None,
    share: float = 0.2,
    seed: int = 42,
    name: str = "data",
) -> DataSet:
    """A data set of what the user has.

    Each part is a pair of arrays (images, labels), a ``Split``, or batches of such pairs: a ``tf.data.Dataset``, a
    ``keras.utils.PyDataset``, a list.

    Args:
        train: To train on.
        validation: To choose by; without it a share of ``train`` is kept apart, where that is a pair of arrays.
        test: To report on; without it the validation part.
        classes: How many classes there are.
        task: ``"classification"`` or ``"segmentation"``.
        ignore_label: The label of pixels that do not count.
        share: How much of ``train`` is kept apart; for classification the same of every class.
        seed: Of that split.
        name: What it is called.

    Raises:
        OptionError: Shapes do not fit, labels are missing or are no classes, or a part is needed and not given.
    """
    parts = [_part(part, what) for part, what in ((train, "train"), (validation, "validation"), (test, "test"))]
    if parts[0] is None:
        raise OptionError("A data set needs data to train on.", expected="(images, labels) or batches of these")
    if parts[1] is None:
        parts[:2] = _kept_apart(parts[0], task, share, seed)
    if parts[2] is None:
        parts[2] = parts[1]
    made = DataSet(name, parts[0], parts[1], parts[2], classes=classes, task=task, ignore_label=ignore_label)
    made.check()
    return made


def _part(part: Any, where: str) -> Any:
    if isinstance(part, (tuple, list)) and len(part) == 2 and all(hasattr(item, "shape") for item in part):
        images, labels = (np.asarray(item) for item in part)
        if len(images) != len(labels):
            raise OptionError(
                "There are not as many labels as images.",
                where=where,
                expected=str(len(images)),
                got=str(len(labels)),
            )
        return Split(images, labels)
    if hasattr(part, "shape"):
        raise OptionError(
            "There are images without labels.", where=where, expected="(images, labels)", got=type(part).__name__
        )
    return part


def _kept_apart(part: Any, task: str, share: float, seed: int) -> list[Split]:
    if not isinstance(part, Split):
        raise OptionError(
            "Batches cannot be split: give validation data too.", where="validation", got=type(part).__name__
        )
    if task == "classification" and part.labels.ndim == 1:
        first, second = stratified(part.labels, share, seed)
    else:
        order = np.random.default_rng(seed).permutation(len(part))
        count = min(max(round(len(part) * share), 1), len(part) - 1)
        first, second = order[count:], order[:count]
    return [Split(part.images[chosen], part.labels[chosen]) for chosen in (first, second)]
