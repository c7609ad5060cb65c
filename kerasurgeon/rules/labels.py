"""Labels: for every position along a tensor's channel axes, an integer. What has one label is cut together.

A tensor may have several *factors*. Each gives labels to the positions along its axes, usually one axis (the channels
of an image), sometimes several (heads and widths of a reshaped tensor). Factors shrink independently: an element of
the tensor goes if any of its factors' labels goes. Axes without a factor never shrink.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kerasurgeon.rules.reasons import Reason

Ids: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Why: TypeAlias = tuple[Reason, str]
"""A reason and what it is about: the name of a layer, usually."""

NO_CHANNELS: Why = (Reason.FIXED_AXIS, "")


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Labels over some axes of a tensor.

    Attributes:
        axes: Axes, ascending.
        ids: A label for every position, of shape ``[size of axis for axis in axes]``.
    """

    axes: tuple[int, ...]
    ids: Ids


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The labels of one tensor.

    Attributes:
        shape: The tensor's sizes; ``None`` where unknown until run time.
        factors: Over disjoint axes.
        why: Why the axes without a factor cannot shrink.
        array: The values, where the tensor is a constant of the graph or a weight used as an operand.
    """

    shape: tuple[int | None, ...]
    factors: tuple[Factor, ...] = ()
    why: Why = NO_CHANNELS
    array: Any = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def factor(self, axis: int) -> Factor | None:
        """The factor that an axis belongs to; negative axes count from the end."""
        axis %= max(self.rank, 1)
        for factor in self.factors:
            if axis in factor.axes:
                return factor
        return None

    def moved(self, shape: tuple[int | None, ...], places: Mapping[int, int]) -> Labels:
        """The labels after axes moved: ``places`` gives the new place of every axis that has a factor."""
        if len(self.factors) == 1 and len(self.factors[0].axes) == 1:
            factor = self.factors[0]
            return Labels(shape, (Factor((places[factor.axes[0]],), factor.ids),), self.why)
        return Labels(shape, tuple(placed(f.ids, [places[axis] for axis in f.axes]) for f in self.factors), self.why)


def placed(ids: Ids, axes: Iterable[int]) -> Factor:
    """A factor with its axes put into ascending order."""
    places = tuple(axes)
    order = sorted(range(len(places)), key=places.__getitem__)
    if order == list(range(len(places))):
        return Factor(places, ids)
    return Factor(tuple(places[index] for index in order), ids.transpose(order))
