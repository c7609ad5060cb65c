"""Random sequences of changes: each holds the graph together, or raises GraphError and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasurgeon.errors import GraphError
from kerasurgeon.ir import Graph, Value, WeightRef, verify_structure
from tests.ir.making import SPEC, diamond, picture, plain

Draw = Callable[[st.SearchStrategy[Any]], Any]


def value(graph: Graph, draw: Draw) -> Value:
    """Mostly a tensor of the graph; sometimes one that is not there."""
    return Value(
        draw(st.sampled_from([*(node.name for node in graph.nodes()), "nope"])), draw(st.sampled_from([0, 0, 0, 1]))
    )


def node(graph: Graph, draw: Draw) -> str:
    return value(graph, draw).node


def operands(graph: Graph, draw: Draw) -> tuple[Any, ...]:
    many = [value(graph, draw) for _ in range(draw(st.integers(1, 3)))]
    tied = WeightRef(draw(st.sampled_from(sorted(graph.layers))), draw(st.sampled_from(["kernel", "nope"])))
    chosen: tuple[Any, ...] = draw(st.sampled_from([(many[0],), (many, 3), (many[0], tied)]))
    return chosen


def add(graph: Graph, draw: Draw) -> None:
    layer = draw(st.sampled_from([*sorted(graph.layers), None]))
    args = operands(graph, draw)
    if layer is None:
        probe = graph.copy()  # a layer of its own only where the call will stand: an uncalled one breaks I4
        probe.add_node(probe.add_layer(plain("new", keras.layers.Add)), args, outputs=[SPEC])
        layer = graph.add_layer(plain("new", keras.layers.Add))
    elif graph.layers[layer].kind == "InputLayer":
        return
    graph.add_node(layer, args, outputs=[SPEC])


def rewire(graph: Graph, draw: Draw) -> None:
    name = node(graph, draw)
    if name in graph and graph.kind(name) == "InputLayer":
        return
    graph.set_operands(name, operands(graph, draw))


def replace_uses(graph: Graph, draw: Draw) -> None:
    graph.replace_uses(
        value(graph, draw), value(graph, draw), keep=draw(st.sampled_from([[], ["add"], ["relu", "new"]]))
    )


def remove(graph: Graph, draw: Draw) -> None:
    graph.remove(node(graph, draw))


def remove_unused(graph: Graph, draw: Draw) -> None:
    graph.remove_unused()


def fork(graph: Graph, draw: Draw) -> None:
    graph.fork_layer(node(graph, draw))


def rename(graph: Graph, draw: Draw) -> None:
    graph.rename(node(graph, draw), draw(st.sampled_from(["one", "two", "relu", "a/b"])))


def set_output(graph: Graph, draw: Draw) -> None:
    graph.set_output(value(graph, draw), value(graph, draw))


def set_weight(graph: Graph, draw: Draw) -> None:
    graph.set_weight(
        draw(st.sampled_from(["shared", "relu", "one"])), "kernel", np.full((4, 4), draw(st.integers(0, 9)))
    )


CHANGES = (add, add, rewire, replace_uses, remove, remove_unused, fork, rename, set_output, set_weight)


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_changes_hold_the_graph_together_or_are_refused(data: st.DataObject) -> None:
    graph = diamond()
    original = picture(graph.copy())
    first = graph.copy()
    for _ in range(data.draw(st.integers(1, 12))):
        change = data.draw(st.sampled_from(CHANGES))
        before = picture(graph)
        try:
            change(graph, data.draw)
        except GraphError:
            assert picture(graph) == before
        else:
            after = picture(graph)
            assert (after == before) == (after[-1] == before[-1]), "the revision counts every change, and only those"
        verify_structure(graph)
        assert graph.nodes() == graph.copy().nodes() == graph.sorted_anew(), "a change drops the order that is kept"
        twin = graph.copy()
        twin.adopt(first)
        assert twin.nodes() == first.nodes()
    assert picture(first) == original, "copies share nothing that changes"
