"""Keep a share of a data set apart; bring its channels to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import is_number, wrong_option
from kerasurgeon.workflows.data.parts import Array, Split


def stratified(labels: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Split samples so that every class has the same share in both parts, up to one sample.

    Args:
        labels: A class id per sample.
        share: Of the second part, in (0, 1).
        seed: Same seed, same split.

    Returns:
        Indices of the first and of the second part, each in random order.

    Raises:
        OptionError: ``share`` is out of range, or a class has only one sample.
    """
    if not is_number(share) or not 0 < share < 1:
        raise wrong_option("stratified", "share", share, "a number in (0, 1)")
    rng = np.random.default_rng(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise OptionError("A class has only one sample, which cannot be in both parts.", got=f"class {label}")
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        second.append(members[:count])
        first.append(members[count:])
    return rng.permutation(np.concatenate(first)), rng.permutation(np.concatenate(second))


def standardised(parts: Sequence[Split]) -> tuple[tuple[Split, ...], dict[str, Any]]:
    """Bring every channel to mean 0 and standard deviation 1, by what the first part has.

    Args:
        parts: The first is the training part.

    Returns:
        The parts as float32, and what mean and standard deviation were, per channel.
    """
    axes = (0, 1, 2)
    images = parts[0].images
    mean = images.mean(axes, dtype=np.float64)
    std = np.maximum(images.std(axes, dtype=np.float64), 1e-8)
    made = tuple(Split(((part.images - mean) / std).astype(np.float32), part.labels) for part in parts)
    return made, {"mean": mean.tolist(), "std": std.tolist()}
