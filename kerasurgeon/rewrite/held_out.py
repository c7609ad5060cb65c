"""Keep a part of labelled data aside, and say what a loss that was measured on it says of new data."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import keras
import numpy as np

from kerasurgeon.rewrite.labelled import is_pair

Array = np.ndarray[Any, Any]
FEWEST = 50
"""Samples that are worth being kept aside, at least."""


def kept_aside(data: Any, share: float) -> tuple[Any, Any]:
    """Labelled data in two parts, always the same ones.

    Args:
        data: ``(inputs, labels)``, of which samples are drawn; or an iterable of batches, of which every so manieth is
            taken.
        share: Of the samples to keep aside.

    Returns:
        The rest, and what is kept aside: ``None`` where the share is 0, or it would be fewer than ``FEWEST`` samples.
    """
    if not share:
        return data, None
    if is_pair(data):
        return _drawn(data, share)
    return _counted(data, share)


def loss_bound(lost: Array, confidence: float) -> float:
    """What a mean loss on new data is at most, with some confidence.

    By the normal approximation, with one sample more that differs than were seen, so that a few samples without a
    difference do not promise that there is none.

    Args:
        lost: The loss of each sample, in [-1, 1].
        confidence: In [0.5, 1); at 0.5 the bound is the mean.

    Reference:
        Agresti and Coull, "Approximate is better than 'exact' for interval estimation of binomial proportions", The
        American Statistician 52 (2), 1998, for what is added.
    """
    count = len(lost)
    spread = (float(np.square(lost).sum()) + 1) / (count + 1)
    return float(lost.mean()) + NormalDist().inv_cdf(confidence) * float(np.sqrt(spread / count))


def _drawn(data: Any, share: float) -> tuple[Any, Any]:
    inputs = data[0]
    try:
        labels, arrays = np.asarray(data[1]), [np.asarray(leaf) for leaf in keras.tree.flatten(inputs)]
    except (TypeError, ValueError):  # told of by whoever reads them
        return data, None
    count = len(labels) if labels.ndim else 0
    aside = round(share * count)
    if aside < FEWEST or aside >= count or any(not leaf.ndim or len(leaf) != count for leaf in arrays):
        return data, None
    order = np.random.default_rng(0).permutation(count)

    def part(places: Array) -> Any:
        chosen = np.sort(places)
        return keras.tree.map_structure(lambda leaf: np.asarray(leaf)[chosen], inputs), labels[chosen]

    return part(order[aside:]), part(order[:aside])


def _counted(data: Any, share: float) -> tuple[Any, Any]:
    if isinstance(data, Iterator):  # it can be gone through only once
        return data, None
    every = max(2, round(1 / share))
    rest, aside = _Part(data, every, aside=False), _Part(data, every, aside=True)
    count = 0
    for batch in aside:
        if not (isinstance(batch, (tuple, list)) and len(batch) > 1 and hasattr(batch[1], "__len__")):
            return data, None
        count += len(batch[1])
        if count >= FEWEST:
            return rest, aside
    return data, None


class _Part:
    """Every so manieth batch of some batches, or all others."""

    def __init__(self, batches: Any, every: int, *, aside: bool) -> None:
        self.batches, self.every, self.aside = batches, every, aside

    def __iter__(self) -> Iterator[Any]:
        for place, batch in enumerate(self.batches):
            if (place % self.every == self.every - 1) == self.aside:
                yield batch


__all__ = ["FEWEST", "kept_aside", "loss_bound"]
