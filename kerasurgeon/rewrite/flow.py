"""Dominators and post-dominators of the tensors of a graph, and the nodes they enclose.

The flow graph has a vertex for every node and, where a node has several results, one for each result in use.
A virtual source stands before the inputs and a virtual sink behind the outputs. ``a`` dominates ``b`` if every
way from the source to ``b`` passes ``a``; it post-dominates ``b`` if every way from ``b`` to the sink does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import networkx as nx

from kerasurgeon.ir import Graph, Value
from kerasurgeon.ir.structure import values_in

_SOURCE, _SINK = -1, -2


class Flow:
    """The flow graph of one revision of a graph, with both dominator trees.

    Attributes:
        graph: The graph it was made from.
        order: The place of every tensor in use, in a topological order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # Vertices are numbers, in topological order. Each is a tensor, or a node of several results.
        self._vertices: list[Value | str] = []
        self.order: dict[Value, int] = {}
        digraph = self._flow_graph(graph)
        self._before: dict[int, list[int]] = {vertex: list(digraph.pred[vertex]) for vertex in digraph}
        self._above = _immediate_dominators(digraph, _SOURCE)
        self._below = _immediate_dominators(digraph.reverse(copy=False), _SINK)
        self._from_source = _intervals(self._above, _SOURCE)
        self._to_sink = _intervals(self._below, _SINK)

    def dominates(self, value: Value, other: Value) -> bool:
        """Whether every way from the inputs to ``other`` passes ``value``."""
        return _encloses(self._from_source, self.order.get(value), self.order.get(other))

    def postdominates(self, value: Value, other: Value) -> bool:
        """Whether every way from ``other`` to the outputs passes ``value``."""
        return _encloses(self._to_sink, self.order.get(value), self.order.get(other))

    def dominator(self, value: Value) -> Value | None:
        """The nearest tensor that dominates another, if there is any."""
        above = self._above[self.order[value]]
        while above != _SOURCE:
            vertex = self._vertices[above]
            if isinstance(vertex, Value):
                return vertex
            above = self._above[above]  # a node of several results is no tensor
        return None

    def spine(self) -> tuple[Value, ...]:
        """The tensors that everything flows through, in order."""
        found: list[Value] = []
        above = self._above[_SINK]
        while above != _SOURCE:
            vertex = self._vertices[above]
            if isinstance(vertex, Value):
                found.append(vertex)
            above = self._above[above]
        return tuple(reversed(found))

    def enclosed(self, entry: Value, exit: Value) -> tuple[str, ...] | None:
        """The nodes on all ways from one tensor to another, or ``None`` if those are not closed.

        They are closed if ``entry`` dominates ``exit`` and ``exit`` post-dominates them, so that no other
        tensor enters or leaves. ``entry`` itself may be used elsewhere. Stops at the first node that is not
        enclosed, so that this costs the size of the region, or less if there is none.
        """
        if entry == exit or not self.dominates(entry, exit):
            return None
        start, end = self.order[entry], self.order[exit]
        inside, waiting = {end}, [end]
        while waiting:
            for vertex in self._before[waiting.pop()]:
                if vertex == start or vertex in inside:
                    continue
                if not _encloses(self._to_sink, end, vertex):
                    return None
                inside.add(vertex)
                waiting.append(vertex)
        return self._node_names(inside)

    def _node_names(self, vertices: Iterable[int]) -> tuple[str, ...]:
        found = (self._vertices[index] for index in sorted(vertices))
        return tuple(dict.fromkeys(v.node if isinstance(v, Value) else v for v in found))

    def _flow_graph(self, graph: Graph) -> nx.DiGraph:
        outputs = dict.fromkeys(values_in(graph.outputs))
        reads = {node.name: node.inputs for node in graph.nodes()}
        used: dict[str, set[int]] = defaultdict(set)
        for values in (outputs, *reads.values()):
            for value in values:
                used[value.node].add(value.index)
        edges: list[tuple[int, int]] = []
        for name, inputs in reads.items():
            single = len(graph[name].outputs) == 1
            vertex = self._add(Value(name) if single else name)
            edges += [(self.order[value], vertex) for value in inputs] or [(_SOURCE, vertex)]
            if not single:
                edges += [(vertex, self._add(Value(name, index))) for index in sorted(used[name])]
            if not used[name]:  # what nothing reads still leaves whatever region it hangs on
                edges.append((vertex, _SINK))
        edges += [(self.order[value], _SINK) for value in outputs]
        return nx.DiGraph(edges)

    def _add(self, vertex: Value | str) -> int:
        index = len(self._vertices)
        self._vertices.append(vertex)
        if isinstance(vertex, Value):
            self.order[vertex] = index
        return index


def _immediate_dominators(digraph: nx.DiGraph, start: int) -> dict[int, int]:
    found = dict(nx.immediate_dominators(digraph, start))
    found.pop(start, None)  # networkx before 3.6 lets the start dominate itself
    return found


def _intervals(parent: dict[int, int], root: int) -> dict[int, tuple[int, int]]:
    """When a walk of a tree enters and leaves each vertex: nested if and only if the vertices are."""
    children: dict[int, list[int]] = defaultdict(list)
    for vertex, above in parent.items():
        children[above].append(vertex)
    entered: dict[int, int] = {}
    intervals: dict[int, tuple[int, int]] = {}
    clock = 0
    stack = [(root, False)]
    while stack:
        vertex, leaving = stack.pop()
        clock += 1
        if leaving:
            intervals[vertex] = (entered[vertex], clock)
            continue
        entered[vertex] = clock
        stack.append((vertex, True))
        stack.extend((child, False) for child in children[vertex])
    return intervals


def _encloses(intervals: dict[int, tuple[int, int]], vertex: int | None, other: int | None) -> bool:
    if vertex not in intervals or other not in intervals:
        return False
    (start, end), (first, last) = intervals[vertex], intervals[other]
    return start <= first and last <= end
