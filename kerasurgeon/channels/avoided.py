"""Numbers of channels that may not stay: at just these a layer would compute something else.

So far there is one reason, ``Reason.BIAS_AXIS``: see ``layers.activations.hold_bias_apart``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.groups import Group
from kerasurgeon.errors import PlanError
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.reasons import Reason

Array = np.ndarray[Any, Any]


def check_numbers(channels: Channels, keep: Keep) -> None:
    """See that there is no number of channels that may not be.

    Args:
        channels: The analysis.
        keep: What stays of it, or how often.

    Raises:
        PlanError: There would be.
    """
    for node, ids, number in channels.avoided:
        if keep.count(ids.ravel()) == number:
            raise PlanError(
                f"The plan gives {node!r} {number} channels, just the number that it may not have.",
                where=f"layer {node!r}",
                got=str(Reason.BIAS_AXIS),
                hint=f"{number + 1}" + (f" or {number - 1}" if number > 1 else "") + " channels can be had",
            )


def kept_for_numbers(channels: Channels, gone: Array) -> Array:
    """Units that stay after all, so that no number stays that may not.

    Args:
        channels: The analysis.
        gone: For every unit whether it goes. Those that stay after all are taken out, in place.

    Returns:
        For every unit whether it was taken out.
    """
    before = gone.copy()
    while (met := next(_met(channels, gone), None)) is not None:  # each time one more stays
        units = met[1]
        gone[units[gone[units]][-1]] = False
    return before & ~gone


def levels_for_numbers(channels: Channels, group: Group, levels: Array) -> Array:
    """Of how many units of a group may go, those with which no number stays that may not.

    Args:
        channels: The analysis.
        group: The group.
        levels: Ascending from 0.

    Returns:
        The same without some; 0 alone where the number does not follow from how many units go.
    """
    for _, ids, number in channels.avoided:
        units, times = np.unique(channels.unit[ids.ravel()], return_counts=True)
        if not np.isin(units, group.units).any():
            continue
        if len(units) != group.size or not np.isin(units, group.units).all() or (times != times[0]).any():
            return levels[:1]
        levels = levels[(group.size - levels) * times[0] != number]
    return levels


def _met(channels: Channels, gone: Array) -> Iterator[tuple[str, Array, int]]:
    for node, ids, number in channels.avoided:
        units = channels.unit[ids.ravel()]
        if np.count_nonzero(~gone[units]) == number:
            yield node, units, number
