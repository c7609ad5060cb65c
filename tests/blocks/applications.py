"""Regions of the published networks, in groups that can be replaced at once."""

from __future__ import annotations

from collections.abc import Sequence

from kerasurgeon.ir import Graph
from kerasurgeon.rewrite.regions import Region, regions

AT_ONCE = 100


def groups(graph: Graph, *, few: bool) -> list[list[Region]]:
    """The regions of a graph, those of one depth together: none of these overlaps another.

    Args:
        graph: The graph.
        few: Take four only, in one group: of the outermost, and of those inside others.
    """
    by_depth: dict[int, list[Region]] = {}
    for region in regions(graph):
        by_depth.setdefault(region.depth, []).append(region)
    if few:
        outer = _spread(by_depth[0], 3)
        covered = {name for region in outer for name in region.nodes}
        inner = [region for region in by_depth.get(1, []) if not covered & set(region.nodes)]
        return [[*outer, *_spread(inner, 1)]]
    return [part for found in by_depth.values() for part in _parts(found)]


def _spread(found: Sequence[Region], count: int) -> list[Region]:
    step = max(1, len(found) // count)
    return list(found[::step][:count])


def _parts(found: Sequence[Region]) -> list[list[Region]]:
    count = -(-len(found) // AT_ONCE)
    return [list(found[start::count]) for start in range(count)]
