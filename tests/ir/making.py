"""Graphs put together by hand: nothing here needs Keras to build a layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.ir import Graph, Layer, ModelInfo, TensorSpec, Value, Weight, WeightRef

SPEC = TensorSpec((None, 4), "float32")


def input_layer(name: str) -> Layer:
    return Layer(name, keras.layers.InputLayer, {"name": name, "batch_shape": (None, 4), "dtype": "float32"})


def dense(name: str, **config: Any) -> Layer:
    weights = {"kernel": Weight(np.eye(4, dtype="float32")), "bias": Weight(np.zeros(4, "float32"))}
    return Layer(name, keras.layers.Dense, {"name": name, "units": 4, **config}, weights=weights)


def plain(name: str, cls: type[Any] = keras.layers.ReLU) -> Layer:
    return Layer(name, cls, {"name": name})


def put(graph: Graph, layer: Layer, *args: Any, **options: Any) -> Value:
    """Add a layer and a call of it, of one output."""
    return graph.add_node(graph.add_layer(layer), args, outputs=[SPEC], **options).value


def diamond() -> Graph:
    """x -> shared -> relu -> add(shared, relu) -> shared again -> tied (reads shared's kernel)."""
    graph = Graph(ModelInfo("diamond", keras.Model))
    x = put(graph, input_layer("x"))
    first = put(graph, dense("shared"), x)
    relu = put(graph, plain("relu"), first)
    total = put(graph, plain("add", keras.layers.Add), [first, relu])
    again = graph.add_node("shared", (total,), outputs=[SPEC]).value
    tied = put(graph, plain("tied", keras.layers.Dot), again, WeightRef("shared", "kernel"))
    graph.set_signature(inputs=x, outputs={"main": tied, "side": relu})
    graph.mark_checked(*graph.unchecked)
    return graph


def picture(graph: Graph) -> Any:
    """All that a reader of a graph can see: equal pictures, equal graphs."""
    digraph = graph.digraph
    return (
        graph.nodes(),
        dict(graph.layers),
        dict(graph.scopes),
        sorted(digraph.edges(keys=True, data="output")),
        {key: graph.calls(key) for key in graph.layers},
        graph.inputs,
        graph.outputs,
        graph.unchecked,
        graph.tied_layers(),
        graph.revision,
    )
