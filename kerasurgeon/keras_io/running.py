"""Run a graph call by call, so that every tensor on the way can be looked at without keeping all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.derive import built_layer, built_parts, keras_layer, symbolic_operands
from kerasurgeon.keras_io.injection import Made, release, variables_made
from kerasurgeon.keras_io.machine import on_this_machine

Array = np.ndarray[Any, Any]


class Runner:
    """Makes the Keras layers of a graph when they are first called, and calls them on tensors, in inference.

    Args:
        graph: The graph. A layer that changes after its first call is run as it was, until ``forget``.
        like: Runs a graph that shares layers with this one: those are made once for both.
    """

    def __init__(self, graph: Graph, like: Runner | None = None) -> None:
        self.graph, self._like = graph, like
        self._made: dict[str, Any] = {}
        self._variables: dict[str, Made] = {}

    def __del__(self) -> None:
        for variables in self._variables.values():
            release(variables)

    def forget(self, layer: str) -> None:
        """Make a layer anew at its next call."""
        self._made.pop(layer, None)
        release(self._variables.pop(layer, []))

    def call(self, node: Node, tensors: Mapping[Value, Any]) -> list[Any]:
        """What a node gives: its flattened outputs.

        Args:
            node: The node; not an input of the model.
            tensors: What it reads, by value.
        """
        like = self._like
        shared = like is not None and like.graph.layers.get(node.layer) is self.graph.layers[node.layer]
        owner = like if like is not None and shared else self
        made = owner._made.get(node.layer)
        if made is None:
            with variables_made() as owner._variables[node.layer]:
                made = owner._made[node.layer] = keras_layer(self.graph, node)
        return call_layer(self.graph, node, made, tensors)

    def feed(self, batch: Sequence[Array]) -> dict[Value, Any]:
        """The tensors of the model's inputs."""
        values = values_in(self.graph.inputs)
        return {
            value: keras.ops.convert_to_tensor(array, dtype=self.graph.spec(value).dtype)
            for value, array in zip(values, batch, strict=True)
        }

    def walk(self, batch: Sequence[Array], until: set[str] | None = None) -> Iterator[tuple[Node, dict[Value, Any]]]:
        """Run a batch through, giving every node with the tensors that it reads before it is called.

        Args:
            batch: One array per model input.
            until: Nodes to stop behind, once all of them have been given.
        """
        tensors = self.feed(batch)
        order = [node for node in self.graph.nodes() if self.graph.kind(node) != "InputLayer"]
        ends = last_uses(order)
        waiting = None if until is None else set(until)
        for place, node in enumerate(order):
            if waiting is not None and not waiting:
                return
            yield node, tensors
            if waiting is not None:
                waiting.discard(node.name)
                if not waiting:
                    return
            for index, output in enumerate(self.call(node, tensors)):
                tensors[Value(node.name, index)] = output
            for value in ends.get(place, ()):
                tensors.pop(value, None)


def last_uses(order: Sequence[Node]) -> dict[int, list[Value]]:
    """For places in an order of nodes, the values that nothing behind them reads."""
    last: dict[Value, int] = {}
    for place, node in enumerate(order):
        for index in range(len(node.outputs)):
            last[Value(node.name, index)] = place
        for value in node.inputs:
            last[value] = place
    ends: dict[int, list[Value]] = {}
    for value, place in last.items():
        ends.setdefault(place, []).append(value)
    return ends


def call_layer(graph: Graph, node: Node, made: Any, tensors: Mapping[Value, Any]) -> list[Any]:
    """Call a Keras layer or op as a node calls it, in inference, on given tensors.

    Raises:
        CannotRunError: This machine cannot run it.
    """

    def translate(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return tensors[leaf]
        if isinstance(leaf, WeightRef):
            return graph.layers[leaf.layer].weights[leaf.key].array
        return leaf

    args, kwargs = map_leaves(translate, node.operands)
    if "training" in graph.layer_of(node).call_parameters:
        kwargs["training"] = False
    with on_this_machine(f"{graph.kind(node)} {node.name!r}"):
        return list(keras.tree.flatten(made(*args, **kwargs)))


def variant(graph: Graph, node: Node, layer: Layer) -> Any:
    """A Keras layer from another definition than the one that a node calls, built for that node's operands."""
    return built_layer(layer, *symbolic_operands(graph, node), parts=built_parts(graph, layer))
