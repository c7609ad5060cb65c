"""Write an ONNX file by way of tf2onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.converter_errors import converter_error
from kerasurgeon.exporting.onnx_rewrites import declare_shapes, fold_scales, protect_pooling_pads, rename_border
from kerasurgeon.exporting.onnx_weights import restore_weights
from kerasurgeon.exporting.signature import weight_bytes
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.exporting.trace import freeze, output_name, tensorflow, trace, weight_name
from kerasurgeon.keras_io.tensors import array_of
from kerasurgeon.quiet import quiet, require

CONVERTED = range(8, 19)
"""The versions of ONNX's operators that tf2onnx writes."""
# Weights with this many elements or more stay out of the conversion.
_HOISTED_SIZE = 4096
# If the conversion fails with hoisted weights it is tried with all of them inside, below this many bytes.
_RETRY_BELOW = 128 * 2**20


def convert_to_onnx(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    opset: int,
) -> Any:
    """Convert a model.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        batch_size: The batch size to build in; None leaves it free.
        opset: The version of ONNX's operators, 8 to 18.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ExportError: The model has ops that tf2onnx cannot write.
    """
    tensorflow("ONNX export by tf2onnx", "converters")
    require("onnx", package="onnx", extra="onnx", needed_for="ONNX export")
    require("tf2onnx", package="tf2onnx", extra="converters", needed_for="ONNX export by tf2onnx")
    size = weight_bytes(model)
    hoisted = [w for w in model.weights if int(np.prod(w.shape)) >= _HOISTED_SIZE and w.dtype == "float32"]
    with quiet() as captured:
        try:
            proto = _convert(model, inputs, outputs, batch_size, opset, hoisted)
        except Exception as error:
            if not hoisted or size > _RETRY_BELOW:
                raise converter_error("ONNX", error, captured.tail()) from error
            try:
                proto = _convert(model, inputs, outputs, batch_size, opset, [])
            except Exception as second:
                raise converter_error("ONNX", second, captured.tail()) from second
    declare_shapes(proto, [*inputs, *outputs], batch_size)
    protect_pooling_pads(proto)
    return proto


def _convert(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    batch_size: int | None,
    opset: int,
    hoisted: Sequence[Any],
) -> Any:
    import tf2onnx

    function = freeze(trace(model, inputs, batch_size=batch_size, weights=hoisted))
    graph_def = function.graph.as_graph_def()
    _allow_inlining(graph_def)
    arguments = [tensor.name for tensor in function.inputs]
    # The order of the function's flat outputs is that of its structured ones, a dict sorted by key.
    order = sorted(range(len(outputs)), key=output_name)
    results = [tensor.name for tensor in function.outputs]
    names = dict(zip(arguments, [info.name for info in inputs], strict=False))
    names |= {results[place]: outputs[index].name for place, index in enumerate(order)}
    proto, _ = tf2onnx.convert.from_graph_def(
        graph_def,
        name=model.name,
        input_names=arguments,
        output_names=[results[order.index(index)] for index in range(len(outputs))],
        opset=opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _check_converted(proto)
    restore_weights(proto, {f"{weight_name(i)}:0": array_of(weight) for i, weight in enumerate(hoisted)})
    fold_scales(proto)
    rename_border(proto, names)
    return proto


def _allow_inlining(graph_def: Any) -> None:
    """Take XLA's mark off functions: Keras sets it on grouped convolutions, and tf2onnx stops there."""
    nodes = [
        *graph_def.node,
        *(node for function in graph_def.library.function for node in function.node_def),
    ]
    for holder in [*nodes, *graph_def.library.function]:
        for key in ("_XlaMustCompile", "_noinline", "_XlaSeparateCompiledGradients"):
            if key in holder.attr:
                del holder.attr[key]


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write ``Erfc`` (TensorFlow's exact GELU), which ONNX lacks, as ``1 - Erf``."""
    from tf2onnx import utils

    output = node.output[0]
    shape, dtype = context.get_shape(output), context.get_dtype(output)
    context.remove_node(node.name)
    erf = context.make_node("Erf", [node.input[0]], shapes=[shape], dtypes=[dtype])
    one = context.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=[output], shapes=[shape], dtypes=[dtype]
    )


def _check_converted(proto: Any) -> None:
    """tf2onnx leaves operations that it does not know in the file: find them before a runtime refuses it."""
    import onnx

    known = {"", "ai.onnx", "ai.onnx.ml"}
    unknown = sorted(
        {
            node.op_type
            for node in proto.graph.node
            if node.domain not in known or not onnx.defs.has(node.op_type, node.domain)
        }
    )
    if unknown:
        raise ExportError(
            "The model has operations that ONNX lacks or that tf2onnx cannot write.",
            where=", ".join(unknown),
            hint="replace the layers that use them, or export another format (.keras, .tflite)",
        )
