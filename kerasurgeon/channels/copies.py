"""What becomes of sizes and positions when channels are duplicated: the counterpart of ``rules.keep.Keep``.

Every unit has a number of copies. Where a unit holds several neighbouring channels (a convolution's group), its copies
stand as blocks, so that groups stay groups. Elsewhere a copy stands behind the channel it is a copy of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]


class Copies(Keep):
    """How often every label stands in the grown network.

    Args:
        channels: The analysis of the network as it is.
        copies: For every unit how often it is there afterwards, from 1.
    """

    def __init__(self, channels: Channels, copies: Array) -> None:
        super().__init__(np.ones(len(channels.unit), bool))
        self.unit = channels.unit
        self.times: Ids = np.asarray(copies, np.int64)

    def changes(self, ids: Ids) -> bool:
        """Whether any of these positions is duplicated."""
        return bool((self.times[self.unit[ids]] != 1).any())

    def positions(self, ids: Ids, axis: int = 0) -> Array:
        """The positions along an axis, each as often as it is there afterwards, ascending."""
        along = along_axis(self.unit[ids], axis)
        return np.repeat(np.arange(ids.shape[axis]), 1 if along is None else self.times[along])

    def count(self, ids: Ids, axis: int = 0) -> int:
        """How many positions along an axis there are afterwards."""
        return len(self.positions(ids, axis))

    def layout(self, ids: Ids) -> tuple[tuple[int, ...], Array]:
        """Where the channels of a layer come from: the new shape of its labels, and for each the old position, flat."""
        along = []
        for axis, size in enumerate(ids.shape):
            units = along_axis(self.unit[ids], axis)
            along.append(np.arange(size) if units is None else _in_blocks(units, self.times))
        grid = np.ix_(*along)
        flat = np.arange(ids.size).reshape(ids.shape)[grid]
        return flat.shape, flat.ravel()


def along_axis(units: Ids, axis: int) -> Ids | None:
    """The unit of every position along an axis of an array of units; ``None`` if the array does not vary along it.

    An array of one axis counts as varying.
    """
    if units.ndim == 1:
        return units
    first = units[tuple(slice(None) if place == axis else slice(0, 1) for place in range(units.ndim))]
    varies = units.shape[axis] > 1 and bool((first != first.ravel()[0]).any())
    return first.ravel() if varies else None


def one_axis_only(units: Ids) -> bool:
    """Whether it is clear along which axis of an array of units copies stand: it varies along exactly one."""
    if units.ndim == 1:
        return True
    varying = [axis for axis in range(units.ndim) if along_axis(units, axis) is not None]
    if len(varying) != 1:
        return False
    line = units[tuple(slice(None) if axis == varying[0] else slice(0, 1) for axis in range(units.ndim))]
    return bool((units == line).all())


def _in_blocks(units: Ids, times: Ids) -> Array:
    """Positions, where runs of one unit are repeated as blocks."""
    if not len(units):
        return np.arange(0)
    starts = np.flatnonzero(np.concatenate([[True], units[1:] != units[:-1]]))
    ends = np.append(starts[1:], len(units))
    if len(starts) == len(units):
        return np.repeat(np.arange(len(units)), times[units])
    runs = [np.tile(np.arange(start, end), times[units[start]]) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(runs)
