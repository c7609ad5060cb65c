"""Weights that are used in several places: variables that several layers hold, or that ops read as operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kerasurgeon.rules.channel_call import Held
from kerasurgeon.rules.labels import Ids, Labels, Why
from kerasurgeon.rules.reasons import Reason

if TYPE_CHECKING:
    from kerasurgeon.channels.analysis import Channels

Owner = tuple[str, str]
Reads = Mapping[Owner, Sequence[tuple[str, Labels]]]


def tie_uses(channels: Channels, reads: Reads) -> tuple[list[tuple[Ids, Ids]], list[tuple[Ids, Why]]]:
    """What the uses of one weight say of an axis is tied; axes that a use leaves whole stay whole.

    Args:
        channels: The analysis, with all that the calls hold. Where one use sums over an axis and another does not, it
            is told that the weight is used in two ways.
        reads: Nodes that read a weight as an operand, with the labels that stand for it.

    Returns:
        Labels that go together, and labels that may not go.
    """
    pairs: list[tuple[Ids, Ids]] = []
    frozen: list[tuple[Ids, Why]] = []
    for owners in _variables(channels, reads):
        held = [channels.weights.get(owner, []) for owner in owners]
        uses = [*held, *(_read(channels, *read) for owner in owners for read in reads.get(owner, ()))]
        why = (Reason.TIED, owners[0][0])
        scaled = any(_is_scaled(channels, owner) for owner in owners)
        for axes in dict.fromkeys(one.axes for use in uses for one in use):
            found = [one for use in uses for one in use if one.axes == axes]
            if len(found) < len(uses) or scaled:
                frozen += [(one.ids, why) for one in found]
                continue
            pairs += [(found[0].ids.ravel(), other.ids.ravel()) for other in found[1:]]
            if len({one.contracted for one in found}) > 1:
                channels.two_ways.update(owners)
                for one in found[: len(held)]:
                    one.contracted = True
    return pairs, frozen


def _variables(channels: Channels, reads: Reads) -> Iterator[list[Owner]]:
    """The weights that are one variable each, where that has several uses."""
    tied: set[Owner] = set()
    for refs in channels.graph.ties().values():
        owners = [(ref.layer, ref.key) for ref in refs]
        tied.update(owners)
        yield owners
    yield from ([owner] for owner in reads if owner not in tied)


def _read(channels: Channels, node: str, labels: Labels) -> list[Held]:
    """What an op says of a weight that is an operand of it."""
    call = channels.calls.get(node)
    if call is None or call.operand_changes:
        return []
    return [held for held in call.held if isinstance(held.owner, int) and call.inputs[held.owner] is labels]


def _is_scaled(channels: Channels, owner: Owner) -> bool:
    """Whether a layer multiplies the weight by a number when it is cut, which the other uses would not want."""
    calls = (channels.calls.get(node.name) for node in channels.graph.calls(owner[0]))
    return any(path == owner[1] for call in calls if call is not None for path, _ in call.scales)


__all__ = ["tie_uses"]
