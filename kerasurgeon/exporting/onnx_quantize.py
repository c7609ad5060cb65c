"""Store the weights of an ONNX file in fewer bits; `onnx_int8` makes it compute in fewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.exporting.onnx_saving import OnnxModel
from kerasurgeon.exporting.onnx_weights import all_nodes
from kerasurgeon.exporting.tensors import Array
from kerasurgeon.rules.onnx_call import np_type, onnx_type

# Smaller tensors (biases, scales) gain nothing and lose accuracy.
SMALLEST_HALVED = 1024
LARGEST_FLOAT16 = 65504.0


def halve_weights(model: OnnxModel, dtype: str = "float16") -> None:
    """Store large float32 weights as float16 or bfloat16; they are cast back when the file is loaded.

    Args:
        model: An ONNX model; changed in place.
        dtype: Which of the two.
    """
    import onnx

    graph = model.proto.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        array = model.values(tensor)
        if dtype == "float16" and max(-array.min(), array.max()) > LARGEST_FLOAT16:
            continue
        name = tensor.name
        model.put(tensor, f"{name}__{dtype}", array.astype(np_type(dtype)), onnx_type(dtype))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    _put_before(graph, casts)


def _put_before(graph: Any, first: Sequence[Any]) -> None:
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


# Which operand of an operation is a weight, and which axes of it get a scale each.
_WEIGHTS: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "Conv": ((1, (0,)),),
    "ConvTranspose": ((1, (1,)),),
    "MatMul": ((1, (-1,)),),
    "Gemm": ((1, (-1,)),),
    "Gather": ((0, (0,)),),
    "LSTM": ((1, (0, 1)), (2, (0, 1))),
    "GRU": ((1, (0, 1)), (2, (0, 1))),
}


def store_as_int8(model: OnnxModel) -> None:
    """Store large weights as int8, one scale per channel; they are computed with in float32.

    ONNX Runtime's own dynamic quantisation computes in int8. Its convolutions are ten times as slow then as the
    float32 ones (MobileNetV2: 16.6 and 1.6 ms), and files with a quantised Embedding kill its process.

    Args:
        model: An ONNX model; changed in place.
    """
    import onnx

    graph = model.proto.graph
    axes: dict[str, tuple[int, ...]] = {}
    for node in all_nodes(graph):
        for operand, kept in _WEIGHTS.get(node.op_type, ()):
            if operand < len(node.input):
                axes.setdefault(node.input[operand], kept)
    decoders = []
    for tensor in [tensor for tensor in graph.initializer if tensor.name in axes]:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        name = tensor.name
        integers, scale = to_int8(model.values(tensor), axes[name])
        model.put(tensor, f"{name}__int8", integers, onnx.TensorProto.INT8)
        scales = onnx.numpy_helper.from_array(scale, f"{name}__scale")
        graph.initializer.append(scales)
        # Not DequantizeLinear: ONNX Runtime runs that every time, and computes these once, when it loads.
        decoders += [
            onnx.helper.make_node("Cast", [f"{name}__int8"], [f"{name}__unscaled"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{name}__unscaled", scales.name], [name]),
        ]
    _put_before(graph, decoders)


def to_int8(array: Array, kept: tuple[int, ...]) -> tuple[Array, Array]:
    """Integers from -127 to 127, and the scales to multiply them by."""
    positive = {axis % array.ndim for axis in kept}
    others = tuple(axis for axis in range(array.ndim) if axis not in positive)
    scale = np.abs(array).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.round(array / scale).astype(np.int8), scale.astype(np.float32)
