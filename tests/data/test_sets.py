"""The data sets: splits, standardisation, digits, CIFAR, generated shapes, one's own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.data import (
    DataSet,
    Split,
    cifar,
    data_set,
    digits,
    load_digits,
    shapes,
    standardised,
    stratified,
)
from kerasurgeon.workflows.data.digits import enlarged
from kerasurgeon.workflows.data.shapes import IGNORE


def test_the_same_share_of_every_class_is_kept_apart() -> None:
    labels = np.repeat([0, 1, 2], [100, 30, 5])
    first, second = stratified(labels, 0.2, seed=1)
    assert sorted([*first, *second]) == list(range(135))
    assert np.bincount(labels[second]).tolist() == [20, 6, 1]
    again = stratified(labels, 0.2, seed=1)
    assert (again[0] == first).all()
    assert not (stratified(labels, 0.2, seed=2)[0] == first).all()
    with pytest.raises(OptionError, match="'share'"):
        stratified(labels, 1.0, seed=1)
    with pytest.raises(OptionError, match="class 7"):
        stratified(np.array([0, 0, 7]), 0.2, seed=1)


def test_channels_are_standardised_by_the_training_part() -> None:
    rng = np.random.default_rng(0)
    parts = [Split(rng.normal(m, s, (50, 4, 4, 2)), np.zeros(50, int)) for m, s in ((3, 2), (9, 1))]
    (train, other), facts = standardised(parts)
    mean, std = parts[0].images.reshape(-1, 2).mean(0), parts[0].images.reshape(-1, 2).std(0)
    np.testing.assert_allclose(facts["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(train.images.reshape(-1, 2).std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(other.images, (parts[1].images - mean) / std, rtol=1e-4, atol=1e-5)


def test_digits() -> None:
    small, large = digits(seed=2), digits(seed=2, size=32)
    assert [len(part) for part in (large.train, large.validation, large.test)] == [1197, 300, 300]
    assert large.input_shape == (32, 32, 1)
    assert small.classes == 10
    np.testing.assert_array_equal(small.train.images, load_digits(2).train.images)
    expected = keras.ops.image.resize(small.test.images[:5], (32, 32), interpolation="bilinear", antialias=False)
    np.testing.assert_allclose(large.test.images[:5], np.asarray(expected), atol=1e-5)
    large.check()
    with pytest.raises(OptionError, match="'size'"):
        digits(size=4)


def test_enlarging_is_interpolation() -> None:
    line = np.arange(4, dtype="float32").reshape(1, 1, 4, 1).repeat(4, axis=1)
    np.testing.assert_allclose(enlarged(line, 8)[0, 0, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_cifar_is_split_and_standardised() -> None:
    rng = np.random.default_rng(0)
    arrays = tuple(
        (rng.integers(0, 256, (count, 32, 32, 3)).astype("uint8"), np.arange(count).reshape(-1, 1) % 10)
        for count in (200, 50)
    )
    found = cifar("cifar10", arrays=arrays)
    assert (len(found.train), len(found.validation), len(found.test)) == (160, 40, 50)
    assert np.bincount(found.validation.labels).tolist() == [4] * 10
    np.testing.assert_allclose(found.train.images.mean((0, 1, 2)), 0, atol=1e-4)
    found.check()
    with pytest.raises(OptionError, match="'name'"):
        cifar("cifar20")


def test_cifar_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.datasets.cifar100, "load_data", fail)
    with pytest.raises(OptionError, match="cannot be fetched") as caught:
        cifar("cifar100")
    assert "URL fetch failure" in str(caught.value)


@pytest.fixture(scope="module")
def drawn() -> DataSet:
    return shapes((48, 64), classes=4, samples=(12, 4, 3), seed=5)


def test_shapes(drawn: DataSet) -> None:
    drawn.check()
    assert drawn.input_shape == (48, 64, 3)
    assert (drawn.classes, drawn.task, drawn.ignore_label) == (4, "segmentation", 255)
    assert drawn.train.images.min() >= -1
    assert drawn.train.images.max() <= 1
    assert set(np.unique(drawn.train.labels)) == {0, 1, 2, 3, IGNORE}
    again = shapes((48, 64), classes=4, samples=(12, 2, 1), seed=5)
    np.testing.assert_array_equal(again.train.images, drawn.train.images)
    np.testing.assert_array_equal(again.validation.images, drawn.validation.images[:2])
    assert not (shapes((48, 64), samples=(12, 1, 1), seed=6).train.images == drawn.train.images).all()
    assert not (drawn.validation.images[0] == drawn.train.images[0]).all()


def test_pixels_beside_another_class_do_not_count() -> None:
    plain, bordered = (shapes(32, samples=(6, 1, 1), border=border).train.labels for border in (0, 1))
    assert not (plain == IGNORE).any()
    for labels, marked in zip(plain, bordered, strict=True):
        for y in range(32):
            for x in range(32):
                around = labels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                wanted = IGNORE if (around != labels[y, x]).any() else labels[y, x]
                assert marked[y, x] == wanted


def test_colours_that_tell_the_class() -> None:
    plain, coloured = (shapes(32, samples=(8, 1, 1), border=0, telling=share).train for share in (0.0, 1.0))
    np.testing.assert_array_equal(plain.labels, coloured.labels)
    for kind in (1, 2, 3):
        inside = coloured.images[coloured.labels == kind]
        assert inside.std(axis=0).max() < 0.15  # of the noise alone
        assert plain.images[plain.labels == kind].std(axis=0).min() > 0.2


@pytest.mark.parametrize(
    "options",
    [{"telling": 2}, {"size": 8}, {"classes": 1}, {"classes": 9}, {"samples": (1, 0, 1)}, {"border": -1}, {"most": 0}],
)
def test_bad_numbers_of_shapes(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        shapes(**{"samples": (1, 1, 1), **options})


IMAGES = np.zeros((10, 4, 4, 1), "float32")
LABELS = np.arange(10) % 2


def test_a_set_of_ones_own() -> None:
    made = data_set((IMAGES, LABELS), classes=2, share=0.4)
    assert (len(made.train), len(made.validation)) == (6, 4)
    assert made.test is made.validation
    maps = np.zeros((10, 4, 4), int)
    made = data_set((IMAGES, maps), classes=2, task="segmentation")
    assert len(made.validation) == 2
    batches = [(IMAGES[:5], LABELS[:5]), (IMAGES[5:], LABELS[5:])]
    assert data_set(batches, batches, classes=2).input_shape == (4, 4, 1)
    tf = pytest.importorskip("tensorflow")
    records = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    assert data_set(records, records, (IMAGES, LABELS), classes=2).input_shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (None, {}, "needs data to train on"),
        (IMAGES, {}, "images without labels"),
        ((IMAGES, LABELS[:9]), {}, "as many labels as images"),
        ((IMAGES, LABELS + 1), {}, "no class"),
        ((IMAGES, LABELS - 1), {}, "no class"),
        ((IMAGES, LABELS * 0.5), {}, "whole numbers"),
        ((IMAGES, np.eye(2)[LABELS].astype(int)), {}, "argmax"),
        ((IMAGES[..., 0], LABELS), {}, "four axes"),
        ((IMAGES, LABELS), {"task": "segmentation"}, "do not have the shape"),
        ((IMAGES, np.zeros((10, 4, 4, 1), int)), {"task": "segmentation"}, "drop the last axis"),
        ((IMAGES, np.full((10, 4, 4), 255)), {"task": "segmentation"}, "no class"),
        ((IMAGES, LABELS), {"task": "ranking"}, "no such task"),
        ((IMAGES, LABELS), {"classes": 0}, "number of classes"),
        ([(IMAGES, LABELS)], {}, "cannot be split"),
        ([IMAGES], {"validation": [IMAGES]}, "something else than images and labels"),
        ((IMAGES[:0], LABELS[:0]), {"validation": (IMAGES, LABELS)}, "empty"),
        (5, {"validation": (IMAGES, LABELS)}, "no data that can be trained on"),
        ((IMAGES, LABELS), {"validation": (IMAGES[:, :3], LABELS)}, "different shapes"),
    ],
)
def test_what_cannot_be_used(train: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        data_set(train, **{"classes": 2, **options})


def test_a_label_that_is_ignored_is_no_error() -> None:
    maps = np.full((10, 4, 4), 255)
    data_set((IMAGES, maps), classes=2, task="segmentation", ignore_label=255).check()
