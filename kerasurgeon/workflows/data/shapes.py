"""A segmentation set that needs no files: discs, boxes and triangles on a textured ground, drawn by a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kerasurgeon.rewrite.option_checks import check_count, is_number, wrong_option
from kerasurgeon.workflows.data.parts import Array, DataSet, Split

IGNORE = 255
KINDS: tuple[str, ...] = ("disc", "box", "triangle", "ring", "cross", "half disc")
"""What is drawn as class 1, 2, ...; class 0 is the ground."""


def shapes(
    size: int | tuple[int, int] = 96,
    *,
    classes: int = 4,
    samples: tuple[int, int, int] = (600, 100, 100),
    most: int = 5,
    border: int = 1,
    telling: float = 0.0,
    seed: int = 0,
) -> DataSet:
    """Images of shapes in any colours, with the class of every pixel.

    Each image follows from the seed, its part and its number alone. Ground and shapes have colours and textures of
    their own. Unless ``telling`` says otherwise colours have nothing to do with classes, so that a network has to look
    at outlines, which takes long to learn.

    Args:
        size: Height and width, or both in a pair, from 16 pixels on.
        classes: The ground and the first ``classes - 1`` of ``KINDS``: 2 to 7.
        samples: How many images to train on, to choose by, to test.
        most: Most shapes in an image; at least one is drawn.
        border: Pixels this near to another class are labelled 255, which does not count; 0 for none.
        telling: How much of a shape's colour its class decides, in [0, 1].
        seed: Same seed, same images.

    Returns:
        Images in [-1, 1] with three channels, and labels of shape (samples, height, width).

    Raises:
        OptionError: A number is out of range.
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_count("shapes", "size", min(height, width), least=16)
    check_count("shapes", "classes", classes, least=2)
    if classes > len(KINDS) + 1:
        raise wrong_option("shapes", "classes", classes, f"2 to {len(KINDS) + 1}")
    check_count("shapes", "most", most)
    check_count("shapes", "border", border, least=0)
    if not is_number(telling) or not 0 <= telling <= 1:
        raise wrong_option("shapes", "telling", telling, "a number in [0, 1]")
    parts = []
    for part, count in enumerate(samples):
        check_count("shapes", "samples", count)
        drawn = [
            _draw(np.random.default_rng((seed, part, n)), height, width, classes, most, telling) for n in range(count)
        ]
        labels = np.stack([_bordered(found, border) for _, found in drawn]).astype(np.int32)
        parts.append(Split(np.stack([image for image, _ in drawn]).astype(np.float32), labels))
    train, validation, test = parts
    return DataSet("shapes", train, validation, test, classes=classes, task="segmentation", ignore_label=IGNORE)


def _draw(
    rng: np.random.Generator, height: int, width: int, classes: int, most: int, telling: float
) -> tuple[Array, Array]:
    image = _texture(rng, height, width)
    labels = np.zeros((height, width), np.int32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    unit = min(height, width)
    for _ in range(rng.integers(1, most + 1)):
        kind = int(rng.integers(1, classes))
        radius = rng.uniform(0.1, 0.25) * unit
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        angle = rng.uniform(0, 2 * np.pi)
        u = (np.cos(angle) * (rows - y) + np.sin(angle) * (columns - x)) / radius
        v = (np.cos(angle) * (columns - x) - np.sin(angle) * (rows - y)) / radius
        inside = _INSIDE[kind - 1](u, v)
        colour = (1 - telling) * _texture(rng, height, width) + telling * _COLOURS[kind - 1]
        image = np.where(inside[..., None], colour, image)
        labels[inside] = kind
    image = image + rng.normal(0, 0.05, image.shape)
    return np.clip(image, 0, 1) * 2 - 1, labels


# By kind, for colours that tell it.
_COLOURS = np.array(
    [[0.9, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.1], [0.8, 0.2, 0.8], [0.2, 0.8, 0.8]]
)


def _texture(rng: np.random.Generator, height: int, width: int) -> Array:
    """A colour with stripes of another along some direction."""
    base, other = rng.uniform(0.1, 0.9, (2, 3))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle, length, phase = rng.uniform(0, np.pi), rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    wave = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) * 2 * np.pi / length + phase)
    return np.asarray(base + (other - base) * (0.15 * (wave[..., None] + 1)))


def _triangle(u: Array, v: Array) -> Array:
    return np.asarray((u > -0.6) & (u + np.sqrt(3) * v < 1.2) & (u - np.sqrt(3) * v < 1.2))


def _ring(u: Array, v: Array) -> Array:
    square = u**2 + v**2
    return np.asarray((square < 1) & (square > 0.3))


def _cross(u: Array, v: Array) -> Array:
    return np.asarray((np.maximum(abs(u), abs(v)) < 1) & (np.minimum(abs(u), abs(v)) < 0.3))


_INSIDE: tuple[Callable[[Array, Array], Array], ...] = (
    lambda u, v: np.asarray(u**2 + v**2 < 1),
    lambda u, v: np.asarray(np.maximum(abs(u), abs(v)) < 0.85),
    _triangle,
    _ring,
    _cross,
    lambda u, v: np.asarray((u**2 + v**2 < 1) & (u > 0)),
)


def _bordered(labels: Array, border: int) -> Array:
    """Labels with what is near to another class marked as not counting."""
    if not border:
        return labels
    near = np.zeros(labels.shape, bool)
    padded = np.pad(labels, border, mode="edge")
    height, width = labels.shape
    for dy in range(2 * border + 1):
        for dx in range(2 * border + 1):
            near |= padded[dy : dy + height, dx : dx + width] != labels
    return np.where(near, IGNORE, labels)
