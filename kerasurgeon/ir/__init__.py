"""The intermediate representation: layers, calls of layers, and the graph that holds them."""

from kerasurgeon.ir.graph import Graph, ModelInfo, Use
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.text import describe_node, format_graph, neighbourhood
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.ir.verify import verify_structure

__all__ = [
    "Graph",
    "Layer",
    "ModelInfo",
    "Node",
    "Scope",
    "TensorSpec",
    "Use",
    "Value",
    "Weight",
    "WeightRef",
    "describe_node",
    "format_graph",
    "neighbourhood",
    "verify_structure",
]
