"""Write a model to ONNX from its graph: every call by its layer's rule, without another framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from kerasurgeon.exporting.graph_writing import border_order, written
from kerasurgeon.exporting.onnx_rewrites import protect_pooling_pads
from kerasurgeon.exporting.onnx_saving import OnnxModel
from kerasurgeon.exporting.onnx_simplify import simplified
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import lift
from kerasurgeon.quiet import require
from kerasurgeon.rules.onnx_call import OnnxCall, onnx_type
from kerasurgeon.rules.onnx_parts import Body, Operator, Parts, Tensor
from kerasurgeon.rules.onnx_unsaid import preparation

WRITTEN = range(13, 25)
"""The versions of ONNX's operators that can be written."""


def write_onnx(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    opset: int,
    turned: bool = False,
) -> OnnxModel:
    """Write a model from its graph.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        batch_size: The batch size to build in; None leaves it free.
        opset: The version of ONNX's operators, from 13.
        turned: Whether inputs and outputs of four axes have their channels at place 1, and not last as in Keras.

    Returns:
        The ONNX model.

    Raises:
        CannotWrite: Some calls have no rule that knows how.
    """
    require("onnx", package="onnx", extra="onnx", needed_for="ONNX export")
    graph = simplified(lift(model))
    parts = Parts(opset)
    tensors = written(graph, parts, inputs, batch_size, preparation(model), OnnxCall, turned=turned)
    results = [
        _result(tensors[value.node][value.index], parts, info.name, turned=turned)
        for value, info in _outputs(graph, outputs)
    ]
    parts.drop_unused(results)
    parts.merge_equal(results)
    if turned:
        inputs, outputs = [_turned(info) for info in inputs], [_turned(info) for info in outputs]
    made = _model(model.name, parts, inputs, outputs, results, batch_size)
    protect_pooling_pads(made.proto)
    return made


def _outputs(graph: Graph, outputs: Sequence[TensorInfo]) -> list[tuple[Value, TensorInfo]]:
    return list(zip(leaves(graph.outputs), outputs, strict=True))


def _turned(info: TensorInfo) -> TensorInfo:
    order = border_order(len(info.shape), turned=True)
    return replace(info, shape=tuple(info.shape[axis] for axis in order))


def _result(tensor: Tensor, parts: Parts, name: str, *, turned: bool) -> str:
    """The ONNX tensor that an output is."""
    call = OnnxCall(name, None, (), parts=parts)  # type: ignore[arg-type]  # there is no layer: nothing asks for it
    return call.read(tensor, border_order(tensor.rank, turned=turned), dtype=tensor.dtype)


def _model(
    name: str,
    parts: Parts,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    results: Sequence[str],
    batch_size: int | None,
) -> OnnxModel:
    from onnx import helper

    renamed: dict[str, str] = {}
    given = {info.name for info in inputs}
    made = {each for operator in parts.operators for each in operator.outputs}
    for info, result in zip(outputs, results, strict=True):
        if result in renamed or result in given or result not in made:
            parts.operators.append(Operator("Identity", f"{info.name}/Identity", [result], [info.name], {}))
        else:
            renamed[result] = info.name
    border = ([_value_info(info, batch_size) for info in infos] for infos in (inputs, outputs))
    graph = helper.make_graph([], name, *border)
    opsets = [helper.make_opsetid("", parts.opset)]
    proto = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="kerasurgeon",
    )
    _add_nodes(proto.graph, parts.operators, renamed)
    model = OnnxModel(proto, {})
    for constant, array in parts.constants.items():
        model.put(proto.graph.initializer.add(), constant, array, onnx_type(array.dtype.name))
    return model


def _add_nodes(graph: Any, operators: Sequence[Operator], renamed: Mapping[str, str]) -> None:
    from onnx import helper

    for operator in operators:
        node = graph.node.add(op_type=operator.kind, name=operator.name)
        node.input.extend(renamed.get(each, each) for each in operator.inputs)
        node.output.extend(renamed.get(each, each) for each in operator.outputs)
        for key, value in sorted(operator.attributes.items()):
            if isinstance(value, Body):
                value = _inner_graph(f"{operator.name}/{key}", value, renamed)
            node.attribute.append(helper.make_attribute(key, value))


def _inner_graph(name: str, body: Body, renamed: Mapping[str, str]) -> Any:
    from onnx import helper

    infos = {
        each: helper.make_tensor_value_info(each, onnx_type(spec.dtype), spec.shape)
        for each, spec in body.specs.items()
    }
    graph = helper.make_graph([], name, *([infos[each] for each in several] for several in (body.inputs, body.outputs)))
    _add_nodes(graph, body.operators, renamed)
    return graph


def _value_info(info: TensorInfo, batch_size: int | None) -> Any:
    from onnx import helper

    sizes: list[int | str | None] = list(info.shape)
    for axis, size in enumerate(sizes):
        if size is None:
            sizes[axis] = (batch_size or "batch") if axis == 0 else f"{info.name}_{axis}"
    return helper.make_tensor_value_info(info.name, onnx_type(info.dtype), sizes)
