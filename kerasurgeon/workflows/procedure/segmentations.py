"""Pictures of what networks segment: image, truth, original, result, as files in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.atomic import make_folder, staged
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.report.segmentations import class_pixels, image_pixels, png
from kerasurgeon.workflows.data import DataSet
from kerasurgeon.workflows.procedure.measuring import batches_of

FOLDER, HEADS = "pictures", ("image", "truth", "original", "result")
_IMAGES = 4


def write_pictures(folder: Path, data: DataSet, models: tuple[keras.Model, keras.Model], images: int = _IMAGES) -> int:
    """Write pictures of the first images of the test data: ``pictures/1_image.png``, ``1_truth.png``, ...

    Args:
        folder: The run's.
        data: Its data set, for segmentation.
        models: The original and the final network.
        images: How many.

    Returns:
        How many there are.
    """
    make_folder(folder / FOLDER)
    written = 0
    for image, truth in _first(data, images):
        guesses = []
        for model in models:
            with on_this_machine(f"model {model.name!r}"):
                outputs = model(image[None], training=False)
            guesses.append(keras.ops.convert_to_numpy(outputs)[0].argmax(axis=-1))
        written += 1
        shown = [image_pixels(image)]
        shown += [class_pixels(ids, data.classes, data.ignore_label) for ids in (truth, *guesses)]
        for name, pixels in zip(HEADS, shown, strict=True):
            with staged(folder / FOLDER / f"{written}_{name}.png") as temporary:
                temporary.write_bytes(png(pixels))
    return written


def pictures_in(folder: Path) -> list[list[Path]]:
    """The pictures of a run, a row for each image."""
    rows = [[folder / FOLDER / f"{number}_{name}.png" for name in HEADS] for number in range(1, _IMAGES + 1)]
    return [row for row in rows if all(path.is_file() for path in row)]


def _first(data: DataSet, images: int) -> Iterator[tuple[Any, Any]]:
    left = images
    for several, labels in batches_of(data.test, data.task):
        for image, truth in zip(np.asarray(several)[:left], np.asarray(labels)[:left], strict=True):
            yield image, truth
            left -= 1
        if left <= 0:
            return


__all__ = ["FOLDER", "HEADS", "pictures_in", "write_pictures"]
