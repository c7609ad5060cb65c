"""Segmentation sets in TFRecord files: written, read back, cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.data import read_records, segmentation_records, write_records

tf = pytest.importorskip("tensorflow")


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose red channel says the class: 10 times the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (count, 5, 7)).repeat(4, axis=1).repeat(4, axis=2)
    labels[:, 0] = 255
    images = np.stack([np.where(labels == 255, 200, labels * 10), labels * 0 + 50, labels * 0 + 90], axis=-1)
    return images.astype("uint8"), labels.astype("int32")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for name, count, seed in (("train-0", 3, 0), ("train-1", 2, 1), ("val", 3, 2)):
        write_records(tmp_path / f"{name}.tfrecord", *drawn(count, seed))
    return tmp_path


def test_written_and_read_back(records: Path) -> None:
    found = list(read_records(records / "train-*.tfrecord"))
    images, labels = (np.concatenate(arrays) for arrays in zip(drawn(3, 0), drawn(2, 1), strict=True))
    assert len(found) == 5
    for (image, classes), old, wanted in zip(found, images, labels, strict=True):
        np.testing.assert_array_equal(image.numpy(), old)
        np.testing.assert_array_equal(classes.numpy(), wanted)


def test_the_layout_is_that_of_deeplab(records: Path) -> None:
    (record, *_) = list(tf.data.TFRecordDataset(str(records / "val.tfrecord")))
    features = tf.train.Example.FromString(record.numpy()).features.feature
    assert tf.io.decode_png(features["image/segmentation/class/encoded"].bytes_list.value[0]).shape == (20, 28, 1)
    assert features["image/height"].int64_list.value[0] == 20
    assert features["image/encoded"].bytes_list.value[0][:4] == b"\x89PNG"


@pytest.mark.sweep
def test_images_to_measure_with_are_padded_or_cut(records: Path) -> None:
    found = segmentation_records(
        records / "train-*.tfrecord", records / "val.tfrecord", classes=3, size=(24, 16), batch_size=2
    )
    images, labels = (np.concatenate(arrays) for arrays in zip(*found.validation.as_numpy_iterator(), strict=True))
    old_images, old_labels = drawn(3, 2)
    np.testing.assert_allclose(images[:, :20], old_images[:, :, :16] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(images[:, 20:], 0, atol=1e-6)
    np.testing.assert_array_equal(labels[:, :20], old_labels[:, :, :16])
    assert (labels[:, 20:] == 255).all()
    assert found.test is not None
    assert (found.task, found.ignore_label) == ("segmentation", 255)


def test_training_images_are_crops_with_their_labels(records: Path) -> None:
    files = records / "train-*.tfrecord"
    options = {"classes": 3, "size": 12, "batch_size": 5, "seed": 3}
    found = segmentation_records(files, records / "val.tfrecord", scales=(1.0, 1.0), **options)  # type: ignore[arg-type]
    ((images, labels),) = found.train.as_numpy_iterator()
    assert images.shape == (5, 12, 12, 3)
    red = (images[..., 0] + 1) * 127.5
    wanted = np.where(labels == 255, 200, labels * 10)
    np.testing.assert_allclose(red, wanted, atol=1e-3)
    again = segmentation_records(files, records / "val.tfrecord", scales=(1.0, 1.0), **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(next(again.train.as_numpy_iterator())[1], labels)
    wide = segmentation_records(files, records / "val.tfrecord", **{**options, "size": 40})  # type: ignore[arg-type]
    ((images, labels),) = wide.train.as_numpy_iterator()
    outside = np.abs(images).max(-1) < 1e-6
    assert (labels[outside] == 255).all()
    assert outside.any()


def test_what_cannot_be_read(records: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such files"):
        read_records(tmp_path / "none-*")
    (tmp_path / "bad").write_bytes(b"this is no record file at all, is it?")
    with pytest.raises(OptionError, match="no TFRecord file"):
        read_records(tmp_path / "bad")
    with tf.io.TFRecordWriter(str(tmp_path / "other")) as writer:
        feature = {"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"]))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    with pytest.raises(OptionError, match="do not hold") as caught:
        read_records(tmp_path / "other")
    assert "text" in str(caught.value)
    (tmp_path / "empty").touch()
    with pytest.raises(OptionError, match="is empty"):
        read_records(tmp_path / "empty")
    with pytest.raises(OptionError, match="no class"):
        segmentation_records(records / "train-*", records / "val*", classes=2, size=16)
    with pytest.raises(OptionError, match="'scales'"):
        segmentation_records(records / "train-*", records / "val*", classes=3, size=16, scales=(2.0, 1.0))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    images, labels = drawn(2, 0)
    path = tmp_path / "out.tfrecord"
    for wrong, classes, message in (
        (images / 255, labels, "bytes"),
        (images, labels[:, 1:], "one label per pixel"),
        (images, labels + 300, "no class"),
    ):
        with pytest.raises(OptionError, match=message):
            write_records(path, wrong, classes)
    assert not path.exists()
