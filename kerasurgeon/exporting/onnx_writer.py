"""Write a model to ONNX from its graph: every call by its layer's rule, without another framework."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.exporting.onnx_masks import unrecorded
from kerasurgeon.exporting.onnx_rewrites import protect_pooling_pads
from kerasurgeon.exporting.onnx_simplify import simplified
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io import lift
from kerasurgeon.quiet import require
from kerasurgeon.rules.call import CannotTell, array_spec
from kerasurgeon.rules.onnx_call import OnnxCall, onnx_type
from kerasurgeon.rules.onnx_parts import Operator, Parts, Tensor, natural
from kerasurgeon.rules.registry import rule_for
from kerasurgeon.rules.sizes import resolve

WRITTEN = range(13, 25)
"""The versions of ONNX's operators that can be written."""


class CannotWrite(Exception):  # noqa: N818 - an answer: the caller then takes another way
    """Some calls cannot be written.

    Args:
        reasons: Why, by node.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = dict(reasons)


def write_onnx(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    opset: int,
) -> Any:
    """Write a model from its graph.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        batch_size: The batch size to build in; None leaves it free.
        opset: The version of ONNX's operators, from 13.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        CannotWrite: Some calls have no rule that knows how.
    """
    require("onnx", package="onnx", extra="onnx", needed_for="ONNX export")
    graph = simplified(lift(model))
    parts = Parts(opset)
    tensors = _written(graph, parts, inputs, batch_size, unrecorded(model))
    results = [_result(tensors[value.node][value.index], parts, info.name) for value, info in _outputs(graph, outputs)]
    parts.drop_unused(results)
    proto = _proto(model.name, parts, inputs, outputs, results, batch_size)
    protect_pooling_pads(proto)
    return proto


def _outputs(graph: Graph, outputs: Sequence[TensorInfo]) -> list[tuple[Value, TensorInfo]]:
    return list(zip(leaves(graph.outputs), outputs, strict=True))


def _written(
    graph: Graph, parts: Parts, inputs: Sequence[TensorInfo], batch_size: int | None, masked: frozenset[str]
) -> dict[str, dict[int, Tensor]]:
    """Write every node of a graph; the tensors that stand for its values."""
    tensors: dict[str, dict[int, Tensor]] = {}
    nodes = graph.nodes()
    specs = {node.name: node.outputs for node in nodes} if batch_size is None else resolve(graph, batch_size=batch_size)
    for value, info in zip(leaves(graph.inputs), inputs, strict=True):
        (spec,) = specs[value.node]
        tensors[value.node] = {0: Tensor(spec, forms={natural(len(spec.shape)): parts.fresh(info.name)})}
        parts.shapes[info.name] = spec.shape
    reasons: dict[str, str] = {}
    for node in nodes:
        if node.name in tensors:
            continue
        call = _call(graph, node, specs[node.name], tensors, parts)
        first = len(parts.operators)
        try:
            if call.kwargs.get("training") and not _trains_by_default(call.layer):
                raise CannotTell("it is called in training mode")
            if call.layer.name in masked:
                raise CannotTell("Keras gives it a mask that its graph does not hold; pass the mask to its call")
            rule_for(call.kind).onnx(call)
        except CannotTell as reason:
            reasons[node.name] = str(reason)
            call.given = {
                index: Tensor(spec, forms={natural(len(spec.shape)): ""}) for index, spec in enumerate(call.outputs)
            }
        tensors[node.name] = call.given
        _name_after(node, call, parts.operators[first:])
    if reasons:
        raise CannotWrite(reasons)
    return tensors


def _call(graph: Graph, node: Node, specs: Any, tensors: Mapping[str, Mapping[int, Tensor]], parts: Parts) -> OnnxCall:
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

    return OnnxCall(
        node.name,
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


def _name_after(node: Node, call: OnnxCall, operators: Sequence[Operator]) -> None:
    """Let a node's only operator have the node's name."""
    if len(operators) == 1:
        operators[0].name = node.name


def _result(tensor: Tensor, parts: Parts, name: str) -> str:
    """The ONNX tensor that an output is."""
    call = OnnxCall(name, None, (), parts=parts)  # type: ignore[arg-type]  # there is no layer: nothing asks for it
    return call.read(tensor, dtype=tensor.dtype)


def _proto(
    name: str,
    parts: Parts,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    results: Sequence[str],
    batch_size: int | None,
) -> Any:
    from onnx import helper

    renamed: dict[str, str] = {}
    given = {info.name for info in inputs}
    made = {each for operator in parts.operators for each in operator.outputs}
    for info, result in zip(outputs, results, strict=True):
        if result in renamed or result in given or result not in made:
            parts.operators.append(Operator("Identity", f"{info.name}/Identity", [result], [info.name], {}))
        else:
            renamed[result] = info.name
    nodes = [
        helper.make_node(
            operator.kind,
            [renamed.get(each, each) for each in operator.inputs],
            [renamed.get(each, each) for each in operator.outputs],
            operator.name,
            **operator.attributes,
        )
        for operator in parts.operators
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [_value_info(info, batch_size) for info in inputs],
        [_value_info(info, batch_size) for info in outputs],
    )
    for constant, array in parts.constants.items():
        tensor = graph.initializer.add()
        tensor.name, tensor.data_type = constant, onnx_type(array.dtype.name)
        tensor.dims.extend(array.shape)
        tensor.raw_data = array.tobytes()
    parts.constants.clear()
    opsets = [helper.make_opsetid("", parts.opset)]
    return helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="kerasurgeon",
    )


def _value_info(info: TensorInfo, batch_size: int | None) -> Any:
    from onnx import helper

    sizes: list[int | str | None] = list(info.shape)
    for axis, size in enumerate(sizes):
        if size is None:
            sizes[axis] = (batch_size or "batch") if axis == 0 else f"{info.name}_{axis}"
    return helper.make_tensor_value_info(info.name, onnx_type(info.dtype), sizes)
