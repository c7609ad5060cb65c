"""What is kept, as rules and the cut ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.rules.labels import Ids, Labels


class Keep:
    """Which labels stay.

    Args:
        alive: For every label whether it stays.
    """

    def __init__(self, alive: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        self.alive = alive
        self._counts: dict[int, tuple[Ids, int]] = {}

    def changes(self, ids: Ids) -> bool:
        """Whether any of these positions is lost."""
        return not bool(self.alive[ids].all())

    def mask(self, ids: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For every position whether it stays."""
        return self.alive[ids]

    def positions(self, ids: Ids, axis: int = 0) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The positions along an axis of an array of labels of which anything stays."""
        mask: np.ndarray[Any, Any] = self.alive[ids]
        if mask.ndim > 1:
            mask = np.asarray(mask.any(axis=tuple(place for place in range(mask.ndim) if place != axis)))
        return np.flatnonzero(mask)

    def count(self, ids: Ids, axis: int = 0) -> int:
        """How many positions along an axis stay."""
        if ids.ndim == 1:
            found = self._counts.get(id(ids))
            if found is None:
                # The array is held as well, so that its id is not given to another one.
                found = self._counts[id(ids)] = (ids, int(np.count_nonzero(self.alive[ids])))
            return found[1]
        return len(self.positions(ids, axis))

    def shape(self, labels: Labels) -> tuple[int | None, ...]:
        """The shape of a tensor after the cut."""
        if not labels.factors:
            return labels.shape
        sizes = list(labels.shape)
        for factor in labels.factors:
            for place, axis in enumerate(factor.axes):
                sizes[axis] = self.count(factor.ids, place)
        return tuple(sizes)
