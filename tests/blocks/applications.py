"""Regions of the published networks, in groups that can be replaced at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kerasurgeon.ir import Graph
from kerasurgeon.rewrite.regions import Region, cut_points, region_between, regions

AT_ONCE = 100
STRETCH = 4
"""Nodes of the parts that a network without branches is taken in."""


def groups(graph: Graph, *, few: bool) -> list[list[Region]]:
    """The regions of a graph, those of one depth together: none of these overlaps another.

    A network without branches is one region; its stretches stand for it.

    Args:
        graph: The graph.
        few: Take four only, in one group: of the outermost, and of those inside others.
    """
    by_depth: dict[int, list[Region]] = {}
    found = regions(graph)
    for region in found if len(found) > 1 else _stretches(graph):
        by_depth.setdefault(region.depth, []).append(region)
    if few:
        outer = _spread(by_depth[0], 3)
        covered = {name for region in outer for name in region.nodes}
        inner = [region for region in by_depth.get(1, []) if not covered & set(region.nodes)]
        return [[*outer, *_spread(inner, 1)]]
    return [part for found in by_depth.values() for part in _parts(found)]


def _stretches(graph: Graph) -> list[Region]:
    images = [value for value in cut_points(graph) if len(graph.spec(value).shape) == 4]
    return [region_between(graph, entry, exit) for entry, exit in pairwise(images[::STRETCH])]


def _spread(found: Sequence[Region], count: int) -> list[Region]:
    step = max(1, len(found) // count)
    return list(found[::step][:count])


def _parts(found: Sequence[Region]) -> list[list[Region]]:
    count = -(-len(found) // AT_ONCE)
    return [list(found[start::count]) for start in range(count)]
