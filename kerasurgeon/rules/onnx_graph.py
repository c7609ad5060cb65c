"""The calls of a graph written to ONNX, one after the other, each by its rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.rules.call import CannotTell, Specs, array_spec
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Operator, Parts, Tensor, natural
from kerasurgeon.rules.registry import rule_for

Tensors = dict[str, dict[int, Tensor]]


def write_nodes(
    graph: Graph,
    specs: Specs,
    tensors: Tensors,
    parts: Parts,
    *,
    prefix: str = "",
    prepare: Callable[[OnnxCall], None] = lambda call: None,
    call_type: type[OnnxCall] = OnnxCall,
) -> dict[str, str]:
    """Write every node of a graph that has no tensors yet.

    Args:
        graph: The graph.
        specs: The outputs of all nodes.
        tensors: What stands for the values, by node and index: of the inputs to begin with, of all nodes in the end.
        parts: Where operators and constants go.
        prefix: What the names of calls begin with.
        prepare: Told of every call before it is written; raises ``CannotTell`` for those that are not to be.
        call_type: The class of calls, which says in which format's operators they are written.

    Returns:
        Why calls could not be written, by node.
    """
    reasons: dict[str, str] = {}
    for node in graph.nodes():
        if node.name in tensors:
            continue
        call = _call(graph, node, specs[node.name], tensors, parts, prefix, call_type)
        first = len(parts.operators)
        try:
            if call.kwargs.get("training") and not _trains_by_default(call.layer):
                raise CannotTell("it is called in training mode")
            prepare(call)
            call.write_by(rule_for(call.kind))
        except CannotTell as reason:
            reasons[node.name] = str(reason)
            call.given = {
                index: Tensor(spec, forms={natural(len(spec.shape)): parts.known(parts.fresh("?"), spec)})
                for index, spec in enumerate(call.outputs)
            }
        tensors[node.name] = call.given
        _name_after(call, parts.operators[first:])
    return reasons


def _call(
    graph: Graph,
    node: Node,
    specs: Any,
    tensors: Mapping[str, Mapping[int, Tensor]],
    parts: Parts,
    prefix: str,
    call_type: type[OnnxCall],
) -> OnnxCall:
    def translate(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return tensors[leaf.node][leaf.index]
        if isinstance(leaf, WeightRef):
            array = graph.layers[leaf.layer].weights[leaf.key].array
            return Tensor(array_spec(array), array)
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            array = np.asarray(leaf)
            return Tensor(array_spec(array), array)
        return leaf

    return call_type(
        prefix + node.name,
        _told(graph.layers[node.layer]),
        map_leaves(translate, node.args),
        map_leaves(translate, dict(node.kwargs)),
        specs,
        parts,
    )


def _told(layer: Layer) -> Layer:
    """A layer with its settings in its config: an op whose config Keras cannot make has them as attributes."""
    if layer.prototype is None:
        return layer
    return replace(layer, config={key: value for key, value in vars(layer.prototype).items() if key[:1] != "_"})


def _trains_by_default(layer: Layer) -> bool:
    """Whether a call that says nothing is noted as one in training; what runs the model then decides."""
    parameter = inspect.signature(layer.cls.call).parameters.get("training")
    return parameter is not None and parameter.default is True


def _name_after(call: OnnxCall, operators: Sequence[Operator]) -> None:
    """Let a node's only operator have the node's name."""
    if len(operators) == 1:
        operators[0].name = call.name
