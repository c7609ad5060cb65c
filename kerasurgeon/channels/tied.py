"""Weights that are used in several places: variables that several layers hold, or that ops read as operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kerasurgeon.ir.graph import Graph
from kerasurgeon.rules.channel_call import ChannelCall, Held
from kerasurgeon.rules.labels import Ids, Labels, Why
from kerasurgeon.rules.reasons import Reason

Owner = tuple[str, str]
Calls = Mapping[str, ChannelCall]
Reads = Mapping[Owner, Sequence[tuple[str, Labels]]]


def tie_uses(
    graph: Graph, calls: Calls, weights: Mapping[Owner, list[Held]], reads: Reads
) -> tuple[list[tuple[Ids, Ids]], list[tuple[Ids, Why]], set[Owner]]:
    """What the uses of one weight say of an axis is tied; axes that a use leaves whole stay whole.

    Args:
        graph: The graph.
        calls: What the rules recorded, by node.
        weights: What is held by each weight. What one use sums over is noted as summed over at all of them.
        reads: Nodes that read a weight as an operand, with the labels that stand for it.

    Returns:
        Labels that go together, labels that may not go, and weights along an axis of which one use sums and another
        does not.
    """
    pairs: list[tuple[Ids, Ids]] = []
    frozen: list[tuple[Ids, Why]] = []
    two_ways: set[Owner] = set()
    for owners in _variables(graph, reads):
        held = [weights.get(owner, []) for owner in owners]
        uses = [*held, *(_read(calls, *read) for owner in owners for read in reads.get(owner, ()))]
        why = (Reason.TIED, owners[0][0])
        scaled = any(_is_scaled(graph, calls, owner) for owner in owners)
        for axes in dict.fromkeys(one.axes for use in uses for one in use):
            found = [one for use in uses for one in use if one.axes == axes]
            if len(found) < len(uses) or scaled:
                frozen += [(one.ids, why) for one in found]
                continue
            pairs += [(found[0].ids.ravel(), other.ids.ravel()) for other in found[1:]]
            if len({one.contracted for one in found}) > 1:
                two_ways.update(owners)
                for one in found[: len(held)]:
                    one.contracted = True
    return pairs, frozen, two_ways


def _variables(graph: Graph, reads: Reads) -> Iterator[list[Owner]]:
    """The weights that are one variable each, where that has several uses."""
    tied: set[Owner] = set()
    for refs in graph.ties().values():
        owners = [(ref.layer, ref.key) for ref in refs]
        tied.update(owners)
        yield owners
    yield from ([owner] for owner in reads if owner not in tied)


def _read(calls: Calls, node: str, labels: Labels) -> list[Held]:
    """What an op says of a weight that is an operand of it."""
    call = calls.get(node)
    if call is None or call.operand_changes:
        return []
    return [held for held in call.held if isinstance(held.owner, int) and call.inputs[held.owner] is labels]


def _is_scaled(graph: Graph, calls: Calls, owner: Owner) -> bool:
    """Whether a layer multiplies the weight by a number when it is cut, which the other uses would not want."""
    own = (calls.get(node.name) for node in graph.calls(owner[0]))
    return any(path == owner[1] for call in own if call is not None for path, _ in call.scales)


__all__ = ["tie_uses"]
