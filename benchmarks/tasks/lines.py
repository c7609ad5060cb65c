"""Digits as lines of 40 points: a small task on which networks still differ.

It follows the recipe of Greydanus & Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024: templates of 12
points are padded, scaled, given correlated noise, moved round, given white noise, sheared, and brought to 40 points.
The templates, and with them the samples, are not those of the package ``mnist1d``.
"""

from __future__ import annotations

import numpy as np

from kerasurgeon.workflows.data import DataSet, Split
from kerasurgeon.workflows.data.parts import Array

POINTS = 40
PADDED = (36, 60)
SCALE = 0.4  # the largest change of size
CORRELATED = 0.3  # noise that neighbours share, by its standard deviation
WHITE = 0.02  # noise of each point
SHEAR = 0.75  # the largest slope
SMOOTHED = 2.0  # points that share their noise
COUNTS = (2500, 1000, 4000)  # to train on, to choose by, to test

# How far to the right the pen is, from the top of a digit to its bottom.
TEMPLATES = (
    (0.0, 0.6, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.6, 0.0),  # 0
    (0.0, -0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5),  # 1
    (0.0, 0.7, 1.0, 0.9, 0.5, 0.1, -0.3, -0.6, -0.9, -1.0, -0.5, 0.3),  # 2
    (0.0, 0.7, 1.0, 0.8, 0.4, 0.0, 0.0, 0.5, 0.9, 1.0, 0.6, 0.0),  # 3
    (0.0, -0.3, -0.6, -0.9, -1.2, -1.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2),  # 4
    (0.0, -1.0, -1.0, -1.0, -0.6, 0.1, 0.6, 0.9, 1.0, 0.9, 0.4, -0.3),  # 5
    (0.3, -0.3, -0.7, -0.9, -1.0, -1.0, -0.9, 0.6, 0.9, 0.9, 0.5, 0.0),  # 6
    (0.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, -0.2, -0.4, -0.5, -0.5),  # 7
    (0.0, -0.6, -0.8, -0.6, -0.2, 0.2, 0.2, -0.4, -0.9, -1.0, -0.6, 0.0),  # 8
    (0.0, -0.7, -0.9, -0.7, -0.2, 0.6, 0.8, 0.8, 0.7, 0.5, 0.3, 0.0),  # 9
)


def lines(seed: int = 0, counts: tuple[int, int, int] = COUNTS) -> DataSet:
    """Lines of 40 points and the digits that they are of, as many of each.

    Args:
        seed: Same seed, same data.
        counts: How many samples to train on, to choose by, to test.

    Returns:
        Arrays of shape (samples, 40, 1), of mean 0 and standard deviation 1 over the training part.
    """
    rng = np.random.default_rng((seed, 1))
    samples = sum(counts)
    labels = rng.permutation(np.arange(samples) % len(TEMPLATES)).astype(np.int32)
    series = np.stack([line(np.asarray(TEMPLATES[label]), rng) for label in labels]).astype(np.float32)[:, :, None]
    series = (series - series[: counts[0]].mean()) / series[: counts[0]].std()
    ends = np.cumsum(counts)[:-1]
    train, held_out, test = map(Split, np.split(series, ends), np.split(labels, ends))
    return DataSet("lines", train, held_out, test, classes=len(TEMPLATES))


def line(template: Array, rng: np.random.Generator) -> Array:
    """One sample of a template, of 40 points."""
    length = int(rng.integers(*PADDED, endpoint=True))
    padded = np.concatenate([template, np.zeros(length - len(template))])
    padded = padded * (1 + SCALE * rng.uniform(-1, 1))
    padded = padded + CORRELATED * _smooth(rng.normal(size=length))
    padded = np.roll(padded, int(rng.integers(length))) + WHITE * rng.normal(size=length)
    padded = padded - SHEAR * rng.uniform(-1, 1) * np.linspace(-0.5, 0.5, length)
    return np.interp(np.linspace(0, length - 1, POINTS), np.arange(length), padded)


def _smooth(noise: Array) -> Array:
    """Noise of standard deviation 1 whose neighbours are alike."""
    reach = np.arange(-int(3 * SMOOTHED), int(3 * SMOOTHED) + 1)
    window = np.exp(-0.5 * (reach / SMOOTHED) ** 2)
    smooth: Array = np.convolve(noise, window / np.sqrt((window**2).sum()), mode="same")
    return smooth
