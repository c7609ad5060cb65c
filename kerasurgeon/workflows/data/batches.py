"""Batches for training, in an order and with changes that follow from a seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasurgeon.rewrite.option_checks import check_count
from kerasurgeon.workflows.data.parts import Array, Split

Augmentation = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]


class Batches(keras.utils.PyDataset):
    """A part of a data set as shuffled batches.

    What an epoch gives depends on the seed and on its number alone, so that a training that was interrupted goes on as
    it would have: call ``begin_epoch`` before going on.

    Args:
        part: The images and labels.
        batch_size: Samples a batch; the last one may have fewer.
        seed: All random choices follow from it.
        shuffle: Whether the order changes with every epoch.
        augment: What changes a batch: (images, labels, generator) to (images, labels).
    """

    def __init__(
        self,
        part: Split,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        check_count("Batches", "batch_size", batch_size)
        self.part, self.batch_size, self.seed, self.shuffle, self.augment = part, batch_size, seed, shuffle, augment
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> Batches:
        """Give what this epoch gives, counted from 0."""
        self.epoch = epoch
        samples = len(self.part)
        self._order = np.random.default_rng((self.seed, epoch)).permutation(samples) if self.shuffle else None
        return self

    def __len__(self) -> int:
        return -(-len(self.part) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        place = slice(index * self.batch_size, (index + 1) * self.batch_size)
        chosen: Any = place if self._order is None else self._order[place]
        images, labels = self.part.images[chosen], self.part.labels[chosen]
        if self.augment is not None:
            images, labels = self.augment(images, labels, np.random.default_rng((self.seed, self.epoch, index)))
        return images, labels

    def on_epoch_end(self) -> None:
        """Keras calls this after every epoch."""
        self.begin_epoch(self.epoch + 1)


def batched(part: Any, batch_size: int, **options: Any) -> Any:
    """A part of a data set as batches: a ``Split`` becomes ``Batches``, what gives batches already stays.

    Args:
        part: See ``DataSet``.
        batch_size: For a ``Split``.
        **options: For ``Batches``.
    """
    return Batches(part, batch_size, **options) if isinstance(part, Split) else part
