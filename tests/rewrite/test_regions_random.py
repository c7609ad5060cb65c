"""Regions of random graphs against their definition, by brute force and with nothing but reachability."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasurgeon.errors import GraphError
from kerasurgeon.ir import Graph, Layer, ModelInfo, TensorSpec, Value
from kerasurgeon.rewrite.regions import Region, cut_points, region_between, region_of, regions, runs

SPEC = TensorSpec((None, 4), "float32")
CLASSES: dict[str, Any] = {
    "input": keras.layers.InputLayer,
    "one": keras.layers.ReLU,
    "sum": keras.layers.Add,
    "several": keras.layers.GRU,  # stands for anything with several results
}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A graph of up to 12 nodes: one to two inputs, then nodes of one to three operands and one to three results.

    Operands come mostly from the last few nodes, so that there are chains and blocks to be found.
    """
    graph = Graph(ModelInfo("random", keras.Model))
    values: list[Value] = []

    def add(kind: str, operands: list[Value], results: int = 1) -> None:
        key = graph.add_layer(Layer(graph.unique_name(kind), CLASSES[kind], {}))
        args = (operands if len(operands) > 1 else operands[0],) if operands else ()
        node = graph.add_node(key, args, outputs=[SPEC] * results)
        values.extend(Value(node.name, index) for index in range(results))

    for _ in range(draw(st.integers(1, 2))):
        add("input", [])
    inputs = list(values)
    for _ in range(draw(st.integers(1, 10))):
        reach = draw(st.sampled_from([1, 2, 4, 100]))
        operands = draw(st.lists(st.sampled_from(values[-reach:]), min_size=1, max_size=3))
        if len(operands) > 1:
            add("sum", operands)
        else:
            results = draw(st.sampled_from([1, 1, 1, 2]))
            add("one" if results == 1 else "several", operands, results)
    unread = [value for value in values if not graph.uses(value)]
    extra = draw(st.lists(st.sampled_from(values), max_size=1))
    dropped = draw(st.booleans()) and len(unread) > 1  # something computed for nothing
    graph.set_signature(inputs=inputs, outputs=list(dict.fromkeys([*unread[dropped:], *extra])))
    return graph


def closed_nodes(graph: Graph, entry: Value, exit: Value) -> set[str] | None:
    """The region between two tensors by its definition: what is on a way between, if nothing else crosses."""
    after, before = reached(graph, entry, forward=True), reached(graph, exit, forward=False)
    inside = after & before
    if exit.node not in inside or entry == exit:
        return None
    for name in inside:
        if any(value != entry and value.node not in inside for value in graph[name].inputs):
            return None
        for index in range(len(graph[name].outputs)):
            value = Value(name, index)
            users = {use.node for use in graph.uses(value)}
            if value != exit and (graph.is_output(value) or not users <= inside):
                return None
    return inside


def reached(graph: Graph, start: Value, *, forward: bool) -> set[str]:
    found: set[str] = set()
    waiting = [use.node for use in graph.uses(start)] if forward else [start.node]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            users = (user.name for user in graph.users(name))
            waiting.extend(users if forward else (value.node for value in graph[name].inputs))
    return found


def all_closed(graph: Graph) -> dict[tuple[Value, Value], frozenset[str]]:
    values = [Value(node.name, index) for node in graph.nodes() for index in range(len(node.outputs))]
    pairs = {}
    for entry, exit in itertools.permutations(values, 2):
        nodes = closed_nodes(graph, entry, exit)
        if nodes is not None:
            pairs[entry, exit] = frozenset(nodes)
    return pairs


def canonical(closed: dict[tuple[Value, Value], frozenset[str]]) -> set[tuple[Value, Value]]:
    """Indivisible regions around a merge, and the longest sequences of indivisible regions of one node."""
    values = {value for pair in closed for value in pair}

    def parts(pair: tuple[Value, Value]) -> Iterable[Value]:
        return (v for v in values if (pair[0], v) in closed and (v, pair[1]) in closed)

    whole = {pair for pair in closed if not any(parts(pair))}
    blocks = {pair for pair in whole if len(closed[pair]) > 1}
    singles = {pair for pair in whole if len(closed[pair]) == 1}
    chains = {
        pair
        for pair in closed
        if len(closed[pair]) == sum(closed[single] <= closed[pair] for single in singles)
        and not any(closed[block] <= closed[pair] for block in blocks)
    }
    longest = {pair for pair in chains if not any(closed[pair] < closed[other] for other in chains)}
    return blocks | longest


def pairs_of(found: Iterable[Region]) -> set[tuple[Value, Value]]:
    return {(region.entry, region.exit) for region in found}


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_region_between_agrees_with_the_definition_for_every_pair(graph: Graph) -> None:
    closed = all_closed(graph)
    values = [Value(node.name, index) for node in graph.nodes() for index in range(len(node.outputs))]
    for entry, exit in itertools.product(values, repeat=2):
        if (entry, exit) in closed:
            region = region_between(graph, entry, exit)
            assert set(region.nodes) == closed[entry, exit]
            order = [node.name for node in graph.nodes()]
            assert list(region.nodes) == sorted(region.nodes, key=order.index)
            assert region.nodes[-1] == exit.node
        else:
            with pytest.raises(GraphError, match=r"is not computed from|also (enter|leave)"):
                region_between(graph, entry, exit)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_regions_are_the_canonical_ones_and_no_others(graph: Graph) -> None:
    revision = graph.revision
    closed = all_closed(graph)
    found = regions(graph, min_nodes=1)
    assert pairs_of(found) == canonical(closed)
    assert all(set(region.nodes) == closed[region.entry, region.exit] for region in found)
    assert pairs_of(regions(graph)) == {p for p in canonical(closed) if len(closed[p]) > 1}
    assert graph.revision == revision


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(1, 4))
def test_regions_are_trees_with_names_of_their_own(graph: Graph, min_nodes: int) -> None:
    found = regions(graph, min_nodes=min_nodes)
    names = {region.name: region for region in found}
    assert len(names) == len(found)
    for region in found:
        assert len(region) >= min_nodes
        larger = [other for other in found if set(region.nodes) < set(other.nodes)]
        assert region.depth == len(larger)
        assert region.parent == (min(larger, key=len).name if larger else None)
        assert all(child.parent == region.name and child in found for child in region.children)
        assert [inner.name for inner in region.walk()] == [
            other.name for other in found if set(other.nodes) <= set(region.nodes)
        ]
        assert all(
            set(region.nodes) <= set(other.nodes)
            or set(other.nodes) <= set(region.nodes)
            or not set(region.nodes) & set(other.nodes)
            for other in found
        )
    for node in graph.nodes():
        around = [region for region in found if node.name in region]
        smallest = region_of(graph, node, min_nodes=min_nodes)
        assert smallest == (min(around, key=len) if around else None)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_cut_points_are_what_no_way_can_avoid(graph: Graph) -> None:
    def escapes(without: Value) -> bool:
        """Whether something gets from an input to an output, or to a dead end, and not through a tensor."""
        found: set[str] = set()
        waiting = [node.name for node in graph.input_nodes()]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            results = [Value(name, index) for index in range(len(graph[name].outputs))]
            if not any(graph.is_output(value) or graph.uses(value) for value in results):
                return True
            open_ones = [value for value in results if value != without]
            if any(graph.is_output(value) for value in open_ones):
                return True
            waiting.extend(use.node for value in open_ones for use in graph.uses(value))
        return False

    values = [Value(node.name, index) for node in graph.nodes() for index in range(len(node.outputs))]
    assert list(cut_points(graph)) == [value for value in values if not escapes(value)]


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_any_two_regions_of_a_run_can_be_joined(graph: Graph) -> None:
    found = regions(graph, min_nodes=1)
    sequences = runs(graph, found)
    assert sorted(region.name for run in sequences for region in run) == sorted(r.name for r in found)
    for run in sequences:
        for first, last in itertools.combinations(run, 2):
            joined = region_between(graph, first.entry, last.exit)
            assert set(first.nodes) | set(last.nodes) <= set(joined.nodes)
