"""Shift and flip images at random, labels along with them where they are maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kerasurgeon.rewrite.option_checks import check_flag, is_number, wrong_option
from kerasurgeon.workflows.data.parts import Array


@dataclass(frozen=True)
class Augment:
    """Random shifts and flips, by Keras' own layers.

    Args:
        shift: Largest shift, as a share of height and width, in [0, 1).
        flip: Whether half of the images are mirrored, left to right.
        ignore_label: What map pixels from outside the image are labelled; for classification not used.

    Raises:
        OptionError: A number is out of range.
    """

    shift: float = 0.2
    flip: bool = True
    ignore_label: int = 255

    def __post_init__(self) -> None:
        if not is_number(self.shift) or not 0 <= self.shift < 1:
            raise wrong_option("Augment", "shift", self.shift, "a number in [0, 1)")
        check_flag("Augment", "flip", self.flip)

    def __call__(self, images: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Augment a batch.

        Args:
            images: Of shape (samples, height, width, channels).
            labels: Per image or per pixel.
            rng: All random choices come from here.
        """
        if labels.ndim == 1:
            return self._of_images(images, rng), labels
        return self._of_maps(images, labels, rng)

    def _of_images(self, images: Array, rng: np.random.Generator) -> Array:
        x: Any = images
        for layer in self._layers:
            layer.generator.state.assign(rng.integers(0, 2**31, size=2).astype("uint32"))
            x = layer(x, training=True)
        return np.asarray(keras.ops.convert_to_numpy(x), images.dtype)

    def _of_maps(self, images: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """By whole pixels, so that images and maps stay one on the other."""
        images, labels = images.copy(), labels.copy()
        for index in range(len(images)):
            if self.flip and rng.random() < 0.5:
                images[index], labels[index] = images[index, :, ::-1], labels[index, :, ::-1]
            moves = [round(rng.uniform(-self.shift, self.shift) * size) for size in labels.shape[1:]]
            rows, columns = (np.clip(np.arange(n) - m, 0, n - 1) for n, m in zip(labels.shape[1:], moves, strict=True))
            images[index] = images[index][rows][:, columns]
            moved = labels[index][rows][:, columns]
            for axis, (size, move) in enumerate(zip(labels.shape[1:], moves, strict=True)):
                outside = (np.arange(size) - move < 0) | (np.arange(size) - move >= size)
                moved[outside if axis == 0 else (slice(None), outside)] = self.ignore_label
            labels[index] = moved
        return images, labels

    @cached_property
    def _layers(self) -> tuple[Any, ...]:
        made = []
        if self.shift:
            made.append(keras.layers.RandomTranslation(self.shift, self.shift, fill_mode="nearest", seed=0))
        if self.flip:
            made.append(keras.layers.RandomFlip("horizontal", seed=0))
        return tuple(made)
