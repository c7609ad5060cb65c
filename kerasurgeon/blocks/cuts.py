"""Cuts: what lies between the end of one layer and the beginning of another, where one tensor crosses at both."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import final

from kerasurgeon.blocks.geometry import channel_axis, data_format_of, spatial_axes
from kerasurgeon.blocks.places import node_named
from kerasurgeon.costs import Cost, cost
from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.report import format_count, format_partial
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.regions import Region, cut_points, region_between
from kerasurgeon.rules import Sizes, resolve


@final
@dataclass(frozen=True, slots=True)
class CutPair:
    """Two layers between which everything can be replaced by a pooling and a 1x1 convolution.

    Attributes:
        first: Node A, the last that stays in front.
        last: Node B, the first that stays behind.
        entry: The tensor of A that the translator reads.
        exit: The tensor, read by B, whose place the translator's result takes.
        nodes: How many nodes lie between.
        parameters_saved: Parameters of these, less those of the translator; negative where that costs more.
        macs_saved: Multiply-accumulates of one sample likewise.
        parameters_kept_ratio: Parameters of the whole model afterwards, over those before.
        macs_kept_ratio: Multiply-accumulates likewise.
        macs_unknown: Whether the multiply-accumulates of calls between are unknown: what is saved leaves them out.
    """

    first: str
    last: str
    entry: Value
    exit: Value
    nodes: int
    parameters_saved: int
    macs_saved: int
    parameters_kept_ratio: float
    macs_kept_ratio: float
    macs_unknown: bool = False

    def __str__(self) -> str:
        return (
            f"{self.first} -> {self.last}: {self.nodes} nodes, "
            f"{format_count(self.parameters_saved)} parameters ({1 - self.parameters_kept_ratio:.1%}) and "
            f"{format_partial(self.macs_saved, self.macs_unknown)} MACs ({1 - self.macs_kept_ratio:.1%}) saved"
        )


@naming()
def between(graph: Graph, first: str, last: str) -> Region:
    """The region strictly between two nodes: its entry is what ``first`` makes, its exit what ``last`` reads.

    Args:
        graph: The graph.
        first: Name of node A, or of one of its tensors (``"split#1"``).
        last: Name of node B, which reads one tensor.

    Raises:
        PlaceError: There is no such node, B reads several tensors, nothing lies between, the order is wrong, or other
            tensors enter or leave; the message names them.
    """
    name, mark, index = first.rpartition("#")
    numbered = bool(mark) and index.isdigit() and first not in graph
    start = node_named(graph, name if numbered else first)
    entry = Value(start, int(index) if numbered else 0)
    graph.spec(entry)
    stop = node_named(graph, last)
    read = tuple(dict.fromkeys(graph[stop].inputs))
    if len(read) != 1:
        raise GraphError(
            f"A cut cannot end before {last!r}: it reads {len(read)} tensors.",
            got=", ".join(map(str, read)) or "none",
            expected="a node that reads one tensor",
            hint="cut_pairs(graph) lists the cuts there are",
        )
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    if order[start] >= order[stop]:
        raise GraphError(
            f"{first!r} does not come before {last!r}.",
            expected="node A, whose result stays, then node B, which is kept behind it",
            hint=None if start == stop else f"did you mean ({last!r}, {first!r})?",
        )
    if read[0] == entry:
        raise GraphError(f"There is nothing between {first!r} and {last!r}: the one reads what the other makes.")
    return replace(region_between(graph, entry, read[0]), name=f"{start}|{stop}")


def cut_pairs(graph: Graph, *, saving: bool = True, sizes: Sizes | None = None) -> tuple[CutPair, ...]:
    """Every cut of a network between two tensors that all flows through, which a translator can bridge.

    These are tensors of images, the second no larger than the first. What a cut saves is what lies between, less the
    translator.

    Args:
        graph: The graph.
        saving: Leave out those that save no parameters.
        sizes: Sizes of the inputs that multiply-accumulates are counted for, as for ``kerasurgeon.cost``.

    Returns:
        The cuts, ordered by their beginning, then by their end.

    Reference:
        Camacho et al., "Neuroplasticity-Based Pruning Method for Deep Convolutional Neural Networks", Applied Sciences
        12 (2022), 4945.
    """
    spine = cut_points(graph)
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    behind = [_first_user(graph, value, order) for value in spine]
    segments = _Segments(graph, spine, cost(graph, sizes=sizes))
    specs = resolve(graph, sizes=sizes)
    data_format = data_format_of(graph, ())
    found = []
    for start, entry in enumerate(spine):
        for end, (params, macs, nodes, unknown) in enumerate(segments.removed_from(start), start + 1):
            exit, last = spine[end], behind[end]
            if last is None:
                continue
            before, after = (specs[value.node][value.index] for value in (entry, exit))
            added = _translator_cost(before, after, data_format)
            if added is None or (saving and params <= added[0]):
                continue
            found.append(
                CutPair(
                    entry.node if entry.index == 0 else str(entry),
                    last,
                    entry,
                    exit,
                    nodes,
                    params - added[0],
                    macs - added[1],
                    (segments.params - params + added[0]) / max(segments.params, 1),
                    (segments.macs - macs + added[1]) / max(segments.macs, 1),
                    bool(unknown),
                )
            )
    return tuple(found)


class _Segments:
    """What the nodes between neighbouring tensors of the spine cost, counted from any of them on."""

    def __init__(self, graph: Graph, spine: tuple[Value, ...], total: Cost) -> None:
        self.params, self.macs = total.parameters, total.macs
        self._count = len(spine)
        rows = {row.name: row for row in total.rows}
        self._macs, self._nodes, self._unknown = ([0] * len(spine) for _ in range(3))
        place: dict[str, int] = {}
        for index, (entry, exit) in enumerate(pairwise(spine), start=1):
            for name in region_between(graph, entry, exit).nodes:
                place[name] = index
                self._nodes[index] += 1
                self._macs[index] += rows[name].macs or 0
                self._unknown[index] += rows[name].macs is None
        # A layer is saved where all its calls are: it lies between the first and the last of them.
        self._by_first: dict[int, list[tuple[int, int]]] = defaultdict(list)
        tied = graph.tied_layers()
        for key, layer in graph.layers.items():
            places = [place.get(call.name, 0) for call in graph.calls(key)]
            if places and min(places) > 0 and key not in tied:
                self._by_first[min(places)].append((max(places), layer.parameters))

    def removed_from(self, start: int) -> list[tuple[int, int, int, int]]:
        """For each later tensor in turn: parameters, MACs and number of the nodes between, and of those unknown."""
        ending: dict[int, int] = defaultdict(int)
        for first, layers in self._by_first.items():
            for last, params in layers if first > start else ():
                ending[last] += params
        result, params, macs, nodes, unknown = [], 0, 0, 0, 0
        for end in range(start + 1, self._count):
            params, macs, nodes = params + ending[end], macs + self._macs[end], nodes + self._nodes[end]
            unknown += self._unknown[end]
            result.append((params, macs, nodes, unknown))
        return result


def _first_user(graph: Graph, value: Value, order: dict[str, int]) -> str | None:
    """The first node that reads a tensor and no other one: where a cut can end before it."""
    users = sorted({use.node for use in graph.uses(value)}, key=order.__getitem__)
    return next((name for name in users if set(graph[name].inputs) == {value}), None)


def _translator_cost(before: TensorSpec, after: TensorSpec, data_format: str) -> tuple[int, int] | None:
    """Parameters and MACs of the 1x1 convolution from one tensor to the other; ``None`` where none can be."""
    if len(before.shape) != 4 or len(after.shape) != 4 or before.dtype != after.dtype:
        return None
    axis = channel_axis(data_format)
    inputs, outputs = before.shape[axis], after.shape[axis]
    if inputs is None or outputs is None:
        return None
    pixels = 1
    for place in spatial_axes(data_format):
        size, wanted = before.shape[place], after.shape[place]
        if size is not None and wanted is not None and size < wanted:
            return None
        pixels *= wanted or 1  # an open size counts as one pixel, as in the cost of what is removed
    return inputs * outputs + outputs, pixels * inputs * outputs


__all__ = ["CutPair", "between", "cut_pairs"]
