"""Shapes filled with textures, in any colours, under noise: 20 classes at 32 x 32."""

from __future__ import annotations

import numpy as np

from kerasurgeon.workflows.data import DataSet, Split
from kerasurgeon.workflows.data.parts import Array

SIZE = 32
SHAPES = ("disc", "square", "triangle", "cross")
TEXTURES = ("plain", "stripes", "checks", "dots", "rings")
RADIUS = (11.0, 14.0)  # of shapes, in pixels
PERIOD = (5.0, 7.0)  # of textures
MOVED = 3.0  # how far from the middle figures are, at most
TURNED = 0.3  # how far figures and textures are turned, in radians
NOISE = 0.4
COUNTS = (2000, 1000, 4000)  # to train on, to choose by, to test


def colours(seed: int = 0, counts: tuple[int, int, int] = COUNTS) -> DataSet:
    """Images and which of the 20 pairs of a shape and a texture they show, as many of each.

    The two colours of a figure and the one behind it are drawn at random, as are place, size and angles.

    Args:
        seed: Same seed, same data.
        counts: How many images to train on, to choose by, to test.

    Returns:
        Images of shape (samples, 32, 32, 3) in [0, 1].
    """
    rng = np.random.default_rng((seed, 2))
    classes = len(SHAPES) * len(TEXTURES)
    labels = rng.permutation(np.arange(sum(counts)) % classes).astype(np.int32)
    images = np.stack([image(*divmod(int(label), len(TEXTURES)), rng) for label in labels])
    ends = np.cumsum(counts)[:-1]
    train, held_out, test = map(Split, np.split(images, ends), np.split(labels, ends))
    return DataSet("colours", train, held_out, test, classes=classes)


def image(shape: int, texture: int, rng: np.random.Generator) -> Array:
    """One image."""
    centre, radius = SIZE / 2 + rng.uniform(-MOVED, MOVED, size=2), rng.uniform(*RADIUS)
    rows, columns = (grid - middle for grid, middle in zip(np.mgrid[:SIZE, :SIZE], centre, strict=True))
    inside = _inside(SHAPES[shape], *_turned(rows, columns, rng.uniform(-TURNED, TURNED)), radius)
    dark = _dark(TEXTURES[texture], *_turned(rows, columns, rng.uniform(-TURNED, TURNED)), rng)
    behind, second, first = rng.uniform(0, 0.3, 3), rng.uniform(0.2, 0.6, 3), rng.uniform(0.6, 1, 3)
    figure = np.where(dark[..., None], second, first)
    picture = np.where(inside[..., None], figure, behind) + NOISE * rng.normal(size=(SIZE, SIZE, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


def _turned(rows: Array, columns: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * rows - sine * columns, sine * rows + cosine * columns


def _inside(shape: str, y: Array, x: Array, radius: float) -> Array:
    if shape == "disc":
        found = y**2 + x**2 < (0.95 * radius) ** 2
    elif shape == "square":
        found = np.maximum(abs(y), abs(x)) < 0.8 * radius
    elif shape == "triangle":
        found = (y < 0.5 * radius) & (y > 1.732 * abs(x) - radius)
    else:
        found = (np.minimum(abs(y), abs(x)) < 0.33 * radius) & (np.maximum(abs(y), abs(x)) < radius)
    return np.asarray(found)


def _dark(texture: str, y: Array, x: Array, rng: np.random.Generator) -> Array:
    """Where the figure has its second colour."""
    turn = 2 * np.pi / rng.uniform(*PERIOD)
    shift = rng.uniform(0, 2 * np.pi, size=2)
    down, across = np.sin(turn * y + shift[0]), np.sin(turn * x + shift[1])
    found = {
        "plain": np.zeros(y.shape),
        "stripes": down,
        "checks": down * across,
        "dots": down + across - 0.7,
        "rings": np.sin(turn * np.sqrt(y**2 + x**2) + shift[0]),
    }[texture]
    return np.asarray(found > 0)
