"""Batches and augmentation: what an epoch gives follows from the seed and the epoch alone."""

from __future__ import annotations

import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.data import Augment, Batches, Split, batched

PART = Split(np.arange(11, dtype="float32").reshape(11, 1, 1, 1) * np.ones((1, 6, 8, 2), "float32"), np.arange(11))


def given(batches: Batches) -> list[int]:
    return [int(label) for index in range(len(batches)) for label in batches[index][1]]


def test_an_epoch_follows_from_its_number() -> None:
    batches = Batches(PART, 4, seed=7)
    assert len(batches) == 3
    epochs = []
    for _ in range(3):
        epochs.append(given(batches))
        batches.on_epoch_end()
    assert sorted(epochs[0]) == list(range(11))
    assert epochs[0] != epochs[1] != epochs[2]
    assert given(Batches(PART, 4, seed=7).begin_epoch(2)) == epochs[2]
    assert given(Batches(PART, 4, seed=8)) != epochs[0]
    assert given(Batches(PART, 4, shuffle=False)) == list(range(11))
    images, labels = batches[0]
    assert (images[:, 0, 0, 0] == labels).all()


def test_what_gives_batches_already_stays() -> None:
    batches = [(PART.images, PART.labels)]
    assert batched(batches, 4) is batches
    assert isinstance(batched(PART, 4), Batches)
    with pytest.raises(OptionError, match="batch_size"):
        Batches(PART, 0)


def test_images_are_shifted_and_mirrored() -> None:
    rng = np.random.default_rng(0)
    part = Split(rng.uniform(size=(64, 10, 10, 1)).astype("float32"), np.zeros(64, int))
    batches = Batches(part, 64, augment=Augment(shift=0.0, flip=True), shuffle=False)
    images, _ = batches[0]
    flipped = [bool((image == old[:, ::-1]).all()) for image, old in zip(images, part.images, strict=True)]
    same = [bool((image == old).all()) for image, old in zip(images, part.images, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 16 < sum(flipped) < 48
    np.testing.assert_array_equal(batches[0][0], images)
    assert not (batches.begin_epoch(1)[0][0] == images).all()
    shifted = Batches(part, 64, augment=Augment(shift=0.3, flip=False), shuffle=False)[0][0]
    assert shifted.shape == part.images.shape
    assert not np.isclose(shifted, part.images).all(axis=(1, 2, 3)).any()
    assert shifted.min() >= 0


def test_maps_go_with_their_images() -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 5, (16, 12, 9))
    images = maps[..., None].astype("float32")
    new, labels = Augment(shift=0.3, flip=True, ignore_label=99)(images, maps, rng)
    counted = labels != 99
    np.testing.assert_array_equal(new[..., 0][counted], labels[counted])
    assert 0.3 < counted.mean() < 0.99
    assert not (labels == maps).all()


@pytest.mark.parametrize("options", [{"shift": 1.0}, {"shift": -0.1}, {"shift": "a"}, {"flip": 1}])
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Augment(**options)  # type: ignore[arg-type]
