"""The demo's data: handwritten digits, 8 x 8 pixels, which scikit-learn brings along."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import missing_extra

Array = np.ndarray[Any, Any]

_TRAIN, _VALIDATION = 1197, 300  # of 1797; the rest is for testing
_BRIGHTEST = 16.0


@dataclass(frozen=True)
class Split:
    """Images of shape (samples, 8, 8, 1) in [0, 1], and their digits.

    Attributes:
        images: The images.
        labels: The digits.
    """

    images: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Digits:
    """The data in three parts without overlap.

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
        raise missing_extra("scikit-learn", "demo", "The demo") from error
    found = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images = (found.images[order, :, :, None] / _BRIGHTEST).astype(np.float32)
    labels = found.target[order].astype(np.int32)
    cuts = (0, _TRAIN, _TRAIN + _VALIDATION, len(labels))
    parts = [Split(images[start:end], labels[start:end]) for start, end in itertools.pairwise(cuts)]
    return Digits(*parts)
