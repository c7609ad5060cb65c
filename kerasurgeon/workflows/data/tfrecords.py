"""Segmentation sets in TFRecord files, laid out as Cityscapes is for DeepLab."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasurgeon.errors import OptionError, missing_extra
from kerasurgeon.file_errors import check_file
from kerasurgeon.rewrite.option_checks import check_count, is_number, wrong_option
from kerasurgeon.workflows.data.parts import DataSet

IMAGE, LABELS = "image/encoded", "image/segmentation/class/encoded"
IGNORE = 255
_GREY = 127.5
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True)
class Cropping:
    """How images become batches of one size to train on.

    Each image is scaled by a random factor, padded where it is then smaller than the crop (127.5; labels 255), cropped
    at a random place and mirrored at random.

    Attributes:
        size: Height and width of what is cut out.
        scales: Smallest and largest factor.
        step: From one factor to the next; 0 for any factor.
        flip: Whether half of the images are mirrored, left to right.
    """

    size: tuple[int, int]
    scales: tuple[float, float] = (0.5, 2.0)
    step: float = 0.25
    flip: bool = True

    def __post_init__(self) -> None:
        check_count("Cropping", "size", min(self.size))
        low, high = self.scales
        if not (is_number(low) and is_number(high) and 0 < low <= high):
            raise wrong_option("Cropping", "scales", self.scales, "two numbers above 0, the smaller first")
        if not is_number(self.step) or self.step < 0:
            raise wrong_option("Cropping", "step", self.step, "a number from 0")


def segmentation_records(
    train: str | Path | Sequence[str | Path],
    validation: str | Path | Sequence[str | Path],
    test: str | Path | Sequence[str | Path] | None = None,
    *,
    classes: int,
    size: int | tuple[int, int],
    batch_size: int = 8,
    scales: tuple[float, float] = (0.5, 2.0),
    step: float = 0.25,
    flip: bool = True,
    ignore_label: int = IGNORE,
    seed: int = 0,
    shuffle: int = 256,
    name: str = "records",
) -> DataSet:
    """A segmentation set in TFRecord files, read with tf.data.

    Every record holds an image (``image/encoded``, PNG or JPEG) and its classes (``image/segmentation/class/encoded``,
    PNG with one channel), of at most 2^26 pixels. Images are brought to [-1, 1]. To train on, they are scaled, cropped
    and mirrored, see ``Cropping``; to choose by and to test, padded or cut to ``size`` at the lower right.

    Args:
        train: Files, or a pattern such as ``"records/train-*.tfrecord"``.
        validation: Likewise.
        test: Likewise; without it the validation part.
        classes: How many classes there are.
        size: Height and width of the batches, or both in a pair.
        batch_size: Images a batch.
        scales: Smallest and largest random factor.
        step: From one factor to the next.
        flip: Whether half of the images are mirrored.
        ignore_label: The label that does not count.
        seed: Of all random choices.
        shuffle: From how many images the next one is drawn.
        name: What the set is called.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        OptionError: There are no such files, or what they hold is something else.
    """
    height, width = (size, size) if isinstance(size, int) else size
    cropping = Cropping((height, width), tuple(scales), step, flip)  # type: ignore[arg-type]
    check_count("segmentation_records", "batch_size", batch_size)
    training = read_records(train).shuffle(shuffle, seed=seed).enumerate()
    tf = import_tensorflow()
    training = training.map(_training(cropping, ignore_label, seed), num_parallel_calls=tf.data.AUTOTUNE)
    parts = [training.batch(batch_size).prefetch(2)]
    for files in (validation, validation if test is None else test):
        whole = read_records(files).map(_whole(cropping.size, ignore_label), num_parallel_calls=tf.data.AUTOTUNE)
        parts.append(whole.batch(batch_size).prefetch(2))
    made = DataSet(name, parts[0], parts[1], parts[2], classes=classes, task="segmentation", ignore_label=ignore_label)
    made.check()
    return made


def read_records(files: str | Path | Sequence[str | Path]) -> Any:
    """The images and labels of TFRecord files, as they are.

    Args:
        files: Files or patterns of names.

    Returns:
        A ``tf.data.Dataset`` of images (height, width, 3), uint8, and labels (height, width), int32.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        OptionError: No file has such a name; while it is read, a record that holds something else.
    """
    tf = import_tensorflow()
    patterns = [files] if isinstance(files, (str, Path)) else list(files)
    names = [found for pattern in patterns for found in sorted(glob.glob(str(pattern)))]
    if not names:
        raise OptionError(
            "There are no such files of records.", where=", ".join(map(str, patterns)), hint="check the pattern"
        )
    for name in names:
        _check_lengths(name)
    _check_record(tf, names[0])
    features = {key: tf.io.FixedLenFeature((), tf.string) for key in (IMAGE, LABELS)}

    def parse(record: Any) -> Any:
        found = tf.io.parse_single_example(record, features)
        picture, classes = (_of_known_size(tf, found[key]) for key in (IMAGE, LABELS))
        with tf.control_dependencies([picture, classes]):  # both are looked at before either is decoded
            image = tf.io.decode_image(picture, channels=3, expand_animations=False)
            labels = tf.io.decode_png(classes, channels=1)
        return tf.ensure_shape(image, (None, None, 3)), tf.cast(labels[..., 0], tf.int32)

    made = tf.data.TFRecordDataset(names).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        next(iter(made.take(1)))
    except tf.errors.OpError as error:
        ours = re.search(r"assertion failed: \[(.*?)\]", error.message)
        got = ours[1] if ours else error.message.partition("\n")[0][:200]
        raise OptionError("The pictures in the records cannot be read.", where=names[0], got=got) from error
    return made


def _check_lengths(path: str) -> None:
    """Refuse a record that says that it is longer than its file: TensorFlow would take the memory for it, or abort."""
    check_file(Path(path), "file of records", OptionError)
    size, place = os.path.getsize(path), 0
    with open(path, "rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            length = int.from_bytes(file.read(8), "little")
            place += length + 16  # the length, the data, and a checksum of each
            if place > size:
                raise OptionError(
                    "The file is no TFRecord file, or it is cut off.",
                    where=path,
                    expected=f"{place:,} bytes or more, by what it says of the lengths of its records",
                    got=f"{size:,} bytes",
                )


def _of_known_size(tf: Any, encoded: Any) -> Any:
    """A picture as it is, if what stands at its beginning says that it is none that fills the memory."""

    def png() -> Any:
        sides = tf.reshape(tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.uint8), (2, 4))
        digits = tf.constant([256**3, 256**2, 256, 1], tf.float64)
        return tf.reduce_prod(tf.linalg.matvec(tf.cast(sides, tf.float64), digits))

    def jpeg() -> Any:
        return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float64))

    start = tf.strings.substr(encoded, 0, 2)
    kinds = [(start == b"\x89P", png), (start == b"\xff\xd8", jpeg)]
    pixels = tf.case(kinds, default=lambda: tf.constant(-1.0, tf.float64))
    said = f"a picture is no PNG and no JPEG, or has more than {_MOST_PIXELS:,} pixels"
    with tf.control_dependencies([tf.debugging.Assert((pixels >= 0) & (pixels <= _MOST_PIXELS), [said])]):
        return tf.identity(encoded)


def _check_record(tf: Any, path: str) -> None:
    try:
        record = next(iter(tf.data.TFRecordDataset([path]).take(1)), None)
    except tf.errors.OpError as error:
        raise OptionError(
            "The file is no TFRecord file.", where=path, got=error.message[:120],
            hint="write_records makes one of arrays; data_set takes arrays as they are",
        ) from error  # fmt: skip
    if record is None:
        raise OptionError("The file of records is empty.", where=path)
    example = tf.train.Example()
    try:
        example.ParseFromString(record.numpy())
        keys = sorted(example.features.feature)
    except Exception as error:
        raise OptionError("The records are no tf.train.Example.", where=path, got=str(error)[:120]) from error
    missing = [key for key in (IMAGE, LABELS) if key not in keys]
    if missing:
        raise OptionError(
            "The records do not hold what segmentation needs.",
            where=path,
            expected=", ".join((IMAGE, LABELS)),
            got=", ".join(keys) or "nothing",
        )


def _training(cropping: Cropping, ignore: int, seed: int) -> Any:
    tf = import_tensorflow()
    height, width = cropping.size
    low, high = cropping.scales
    factors = int((high - low) / cropping.step) + 1 if cropping.step else 0

    def change(number: Any, pair: Any) -> Any:
        image, labels = pair
        image = tf.cast(image, tf.float32)
        seeds = tf.random.split(tf.stack([tf.cast(number, tf.int32), tf.constant(seed, tf.int32)]), 4)
        if factors:
            scale = low + cropping.step * tf.cast(
                tf.random.stateless_uniform((), seeds[0], 0, factors, tf.int32), tf.float32
            )
        else:
            scale = tf.random.stateless_uniform((), seeds[0], low, high)
        sizes = tf.maximum(tf.cast(tf.cast(tf.shape(labels), tf.float32) * scale, tf.int32), 1)
        image = tf.image.resize(image, sizes, "bilinear")
        labels = tf.image.resize(labels[..., None], sizes, "nearest")[..., 0]
        image, labels = _padded(tf, image, labels, (height, width), ignore)
        room = tf.shape(labels) - (height, width)
        top = tf.random.stateless_uniform((), seeds[1], 0, room[0] + 1, tf.int32)
        left = tf.random.stateless_uniform((), seeds[2], 0, room[1] + 1, tf.int32)
        image = image[top : top + height, left : left + width]
        labels = labels[top : top + height, left : left + width]
        if cropping.flip and tf.random.stateless_uniform((), seeds[3]) < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        return _finished(tf, image, labels, (height, width))

    return change


def _whole(size: tuple[int, int], ignore: int) -> Any:
    tf = import_tensorflow()

    def change(image: Any, labels: Any) -> Any:
        image, labels = _padded(tf, tf.cast(image, tf.float32), labels, size, ignore)
        return _finished(tf, image[: size[0], : size[1]], labels[: size[0], : size[1]], size)

    return change


def _padded(tf: Any, image: Any, labels: Any, size: tuple[int, int], ignore: int) -> tuple[Any, Any]:
    lacking = tf.maximum(tf.constant(size) - tf.shape(labels), 0)
    pads = tf.stack([tf.zeros_like(lacking), lacking], axis=1)
    image = tf.pad(image - _GREY, tf.concat([pads, [[0, 0]]], axis=0)) + _GREY
    return image, tf.pad(labels, pads, constant_values=ignore)


def _finished(tf: Any, image: Any, labels: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    return tf.ensure_shape(image / _GREY - 1.0, (*size, 3)), tf.ensure_shape(labels, size)


def import_tensorflow() -> Any:
    """TensorFlow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import tensorflow
    except ImportError as error:
        raise missing_extra("tensorflow", "tensorflow", "Reading TFRecord files") from error
    return tensorflow
