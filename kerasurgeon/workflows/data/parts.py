"""A data set in three parts, and what has to be true of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.class_ids import check_class_ids

Array = np.ndarray[Any, Any]

TASKS = ("classification", "segmentation")
_LOOKED_AT = 4


@dataclass(frozen=True)
class Split:
    """Images and what they show.

    Attributes:
        images: Of shape (samples, height, width, channels).
        labels: A class per image, of shape (samples,), or per pixel, (samples, height, width).
    """

    images: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, samples: int) -> Split:
        """The first so many."""
        return Split(self.images[:samples], self.labels[:samples])


@dataclass(frozen=True)
class DataSet:
    """Data in three parts without overlap, with what a network must know of it.

    Each part is a ``Split``, or batches of ``(images, labels)`` as Keras trains on: a ``tf.data.Dataset``, a
    ``keras.utils.PyDataset`` or a list of pairs.

    Attributes:
        name: What it is called.
        train: To train on.
        validation: To choose by.
        test: Looked at to report.
        classes: How many classes there are.
        task: ``"classification"`` or ``"segmentation"``.
        ignore_label: The label of pixels that do not count; ``None`` if all do.
        facts: What else is known of it, as the mean that was taken off.
    """

    name: str
    train: Any
    validation: Any
    test: Any
    classes: int
    task: str = "classification"
    ignore_label: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise OptionError("There is no such task.", expected=" or ".join(TASKS), got=repr(self.task))
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 1:
            raise OptionError("A data set needs a number of classes.", expected="1, 2, ...", got=repr(self.classes))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of an image."""
        images, _ = first_batch(self.train, "train")
        return tuple(int(size) for size in images.shape[1:])

    def check(self) -> None:
        """Look at the first batches of every part: shapes, numbers of images and labels, class ids.

        All labels of a ``Split`` are looked at.

        Raises:
            OptionError: Something is wrong; the message says in which part, and what.
        """
        shape = None
        for part in ("train", "validation", "test"):
            data = getattr(self, part)
            for images, labels in _some_batches(data, part):
                check_batch(images, labels, classes=self.classes, task=self.task, ignore=self.ignore_label, where=part)
                shape = images.shape[1:] if shape is None else shape
                if images.shape[1:] != shape:
                    raise OptionError(
                        "The parts of the data set have images of different shapes.",
                        where=part,
                        expected=str(tuple(shape)),
                        got=str(tuple(images.shape[1:])),
                    )


def check_batch(images: Any, labels: Any, *, classes: int, task: str, ignore: int | None, where: str) -> None:
    """Check images and labels against each other and against the classes.

    Args:
        images: Of shape (samples, height, width, channels).
        labels: Class ids: one per image, or one per pixel.
        classes: How many classes there are.
        task: ``"classification"`` or ``"segmentation"``.
        ignore: A label beside the class ids that may occur.
        where: What to call the data in errors.

    Raises:
        OptionError: They do not fit.
    """
    if len(images.shape) != 4:
        raise OptionError(
            "Images must have four axes.",
            where=where,
            expected="(samples, height, width, channels)",
            got=str(tuple(images.shape)),
        )
    wanted = images.shape[:1] if task == "classification" else images.shape[:3]
    if tuple(labels.shape) != tuple(wanted):
        hint = None
        if task == "classification" and labels.ndim == 2:
            hint = "give class ids, as labels.argmax(-1) makes of one-hot rows, or labels[:, 0] of a column"
        elif task == "segmentation" and labels.ndim == 4:
            hint = "drop the last axis: one class id per pixel"
        raise OptionError(
            "The labels do not have the shape that they must have.",
            where=where,
            expected=str(tuple(wanted)),
            got=str(tuple(labels.shape)),
            hint=hint,
        )
    check_labels(labels, classes=classes, ignore=ignore, where=where)


def check_labels(labels: Array, *, classes: int, ignore: int | None, where: str) -> None:
    """Check that labels are class ids.

    Raises:
        OptionError: One is no whole number, or is no class; the message names those that are not.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise OptionError("Labels must be whole numbers: class ids.", where=where, got=str(labels.dtype))
    hint = "name the label that does not count as ignore_label=, or give the number of classes that there are"
    check_class_ids(labels, classes, ignored=ignore, where=where, hint=hint)


def first_batch(data: Any, where: str = "the data") -> tuple[Array, Array]:
    """The first images and labels of a part.

    Raises:
        OptionError: It gives no pairs of images and labels.
    """
    return next(_some_batches(data, where))


def _some_batches(data: Any, where: str) -> Iterator[tuple[Array, Array]]:
    if isinstance(data, Split):
        if not len(data):
            raise OptionError("A part of the data set is empty.", where=where)
        yield data.images, data.labels
        return
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(item, "shape") for item in data):
        yield np.asarray(data[0]), np.asarray(data[1])
        return
    count = 0
    for batch in _batches(data, where):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise OptionError(
                "The data gives something else than images and labels.",
                where=where,
                expected="batches of (images, labels)",
                got=type(batch).__name__,
                hint="labels are needed to train and to measure" if hasattr(batch, "shape") else None,
            )
        yield keras.ops.convert_to_numpy(batch[0]), keras.ops.convert_to_numpy(batch[1])
        count += 1
        if count == _LOOKED_AT:
            return
    if not count:
        raise OptionError("A part of the data set is empty.", where=where)


def _batches(data: Any, where: str) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(len(data)))
    if data is None or not hasattr(data, "__iter__"):
        raise OptionError(
            "This is no data that can be trained on.",
            where=where,
            expected="(images, labels), a tf.data.Dataset, a keras.utils.PyDataset or a list of batches",
            got=type(data).__name__,
        )
    return iter(data)
