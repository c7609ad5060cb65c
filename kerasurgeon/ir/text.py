"""Graphs as text, one line a node: for errors, reports and golden tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value, WeightRef

_SHOWN_CONSTANT = 4


def describe_node(graph: Graph, node: Node) -> str:
    """One node as ``name = Kind(operands) {weights} -> specs``."""
    layer = graph.layer_of(node)
    operands = [_operand(arg) for arg in node.args]
    operands += [f"{key}={_operand(arg)}" for key, arg in node.kwargs.items() if arg is not None]
    called = "" if node.layer == node.name else f" [{node.layer}]"
    weights = ", ".join(f"{key} {'x'.join(map(str, weight.shape)) or '()'}" for key, weight in layer.weights.items())
    specs = ", ".join(str(spec) for spec in node.outputs)
    return (
        f"{node.name} = {layer.kind}{called}({', '.join(operands)})"
        + (f" {{{weights}}}" if weights else "")
        + f" -> {specs}"
    )


def format_graph(graph: Graph) -> str:
    """The whole graph, one line a node in topological order, then the outputs."""
    lines = [f"graph {graph.name!r}"]
    lines += ["  " + describe_node(graph, node) for node in graph.nodes()]
    lines.append(f"  return {_operand(graph.outputs)}")
    return "\n".join(lines)


def neighbourhood(graph: Graph, name: str, reach: int = 3) -> str:
    """A node with up to ``reach`` nodes before and after it that it reads or that read it."""
    if name not in graph:
        return ""
    node = graph[name]
    before = list(dict.fromkeys(value.node for value in node.inputs if value.node in graph))[-reach:]
    after = [user.name for user in graph.users(node)][:reach]
    lines = [f"  {describe_node(graph, graph[other])}" for other in before]
    lines.append(f"> {describe_node(graph, node)}")
    lines += [f"  {describe_node(graph, graph[other])}" for other in after]
    return "\n".join(lines)


def _operand(part: Any) -> str:
    if isinstance(part, (Value, WeightRef)):
        return str(part)
    if isinstance(part, np.ndarray):
        if part.size <= _SHOWN_CONSTANT:
            return f"array({part.tolist()})"
        return f"array({'x'.join(map(str, part.shape))} {part.dtype})"
    if isinstance(part, (list, tuple)):
        inner = ", ".join(_operand(item) for item in part)
        return f"[{inner}]" if isinstance(part, list) else f"({inner})"
    if isinstance(part, dict):
        return "{" + ", ".join(f"{key}: {_operand(item)}" for key, item in part.items()) + "}"
    return repr(part)
