"""Write images and their classes to a TFRecord file, in the layout that ``segmentation_records`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerasurgeon.atomic import staged
from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.data.parts import Array, check_labels
from kerasurgeon.workflows.data.tfrecords import IMAGE, LABELS, import_tensorflow


def write_records(path: str | Path, images: Array, labels: Array, *, overwrite: bool = True) -> Path:
    """Write a TFRecord file with one record an image; it appears whole or not at all.

    Args:
        path: The file.
        images: uint8, of shape (samples, height, width, 3).
        labels: Class ids to 255, of shape (samples, height, width).
        overwrite: Whether a file that is there may be replaced.

    Returns:
        The path.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        OptionError: Shapes or types are others.
        FileError: The file cannot be written, or another is there and may not be replaced.
    """
    tf = import_tensorflow()
    if images.ndim != 4 or images.dtype != "uint8" or images.shape[-1] != 3:
        raise OptionError(
            "Records hold images of bytes in three channels.",
            expected="uint8, (samples, height, width, 3)",
            got=f"{images.dtype}, {images.shape}",
        )
    if labels.shape != images.shape[:3]:
        raise OptionError("There is not one label per pixel.", expected=str(images.shape[:3]), got=str(labels.shape))
    check_labels(labels, classes=256, ignore=None, where=str(path))
    with (
        staged(path, overwrite=overwrite, what="file of records") as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
        for image, classes in zip(images, labels, strict=True):
            found = {
                IMAGE: _bytes(tf, tf.io.encode_png(image).numpy()),
                "image/format": _bytes(tf, b"png"),
                "image/height": _number(tf, image.shape[0]),
                "image/width": _number(tf, image.shape[1]),
                LABELS: _bytes(tf, tf.io.encode_png(classes[..., None].astype("uint8")).numpy()),
                "image/segmentation/class/format": _bytes(tf, b"png"),
            }
            example = tf.train.Example(features=tf.train.Features(feature=found))
            writer.write(example.SerializeToString())
    return Path(path)


def _bytes(tf: Any, value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _number(tf: Any, value: int) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
