"""Handwritten digits, 8 x 8 pixels, which scikit-learn brings along."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from kerasurgeon.errors import missing_extra
from kerasurgeon.rewrite.option_checks import check_count
from kerasurgeon.workflows.data.parts import Array, DataSet, Split

_TRAIN, _VALIDATION = 1197, 300  # of 1797; the rest is for testing
_BRIGHTEST = 16.0
_SIZE = 8


@dataclass(frozen=True)
class Digits:
    """The digits in three parts without overlap: images of shape (samples, 8, 8, 1) in [0, 1], and which digit it is.

    Attributes:
        train: To train on, and to calibrate int8 with.
        validation: To choose among epochs.
        test: Looked at once, at the end.
    """

    train: Split
    validation: Split
    test: Split


def load_digits(seed: int) -> Digits:
    """The digits, split by a seed.

    Args:
        seed: Same seed, same split.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise missing_extra("scikit-learn", "demo", "The set of digits") from error
    found = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images = (found.images[order, :, :, None] / _BRIGHTEST).astype(np.float32)
    labels = found.target[order].astype(np.int32)
    cuts = (0, _TRAIN, _TRAIN + _VALIDATION, len(labels))
    parts = [Split(images[start:end], labels[start:end]) for start, end in itertools.pairwise(cuts)]
    return Digits(*parts)


def digits(seed: int = 0, *, size: int = 8) -> DataSet:
    """The digits as a data set, enlarged where a network wants larger images.

    Args:
        seed: Same seed, same split: 1197 to train on, 300 to choose by, 300 to test.
        size: Height and width in pixels, from 8 on; enlarged bilinearly.

    Returns:
        Images in [0, 1] with one channel.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        OptionError: ``size`` is below 8.
    """
    check_count("digits", "size", size, least=_SIZE)
    found = load_digits(seed)
    parts = [Split(enlarged(part.images, size), part.labels) for part in (found.train, found.validation, found.test)]
    train, validation, test = parts
    return DataSet("digits", train, validation, test, classes=10)


def enlarged(images: Array, size: int) -> Array:
    """Images brought to another height and width by bilinear interpolation between the centres of their pixels.

    Args:
        images: Of shape (samples, height, width, channels).
        size: The height and width wanted.
    """
    for axis in (1, 2):
        length = images.shape[axis]
        if length == size:
            continue
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        below = np.floor(at).astype(int)
        above = np.minimum(below + 1, length - 1)
        share = (at - below).astype(images.dtype).reshape([-1 if place == axis else 1 for place in range(4)])
        images = images.take(below, axis) * (1 - share) + images.take(above, axis) * share
    return images
