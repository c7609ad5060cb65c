"""Quantise an ONNX file with ONNX Runtime's tools."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.export.converter_errors import converter_error
from kerasurgeon.export.quiet import quiet, require
from kerasurgeon.export.tensors import Array, Feeds

# Smaller tensors (biases, scales) gain nothing and lose accuracy.
_SMALLEST_HALVED = 1024
_LARGEST_FLOAT16 = 65504.0


def quantize_onnx(proto: Any, quantize: str, calibration: Sequence[Feeds], batch_size: int | None) -> Any:
    """Quantise a float32 model.

    Args:
        proto: An ``onnx.ModelProto``; it may be changed.
        quantize: ``float16``, ``dynamic`` or ``int8``.
        calibration: Samples that int8 finds its ranges from, in batches.
        batch_size: The batch size that is built into the model, or None.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ExportError: ONNX Runtime's tools fail on it.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if quantize == "float16":
        return halve_weights(proto)
    require("onnxruntime", package="onnxruntime", extra="onnx", needed_for="Quantising ONNX files")
    require("onnxruntime.quantization", package="onnxruntime", extra="onnx", needed_for="Quantising ONNX files")
    import onnx

    with quiet() as captured, tempfile.TemporaryDirectory(prefix="kerasurgeon-") as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "quantised.onnx")
        try:
            onnx.save(proto, source)
            if quantize == "dynamic":
                _dynamic(source, target)
                return store_as_int8(onnx.load(target))
            _static(source, target, _reader(calibration, batch_size))
            return onnx.load(target)
        except Exception as error:
            raise converter_error("ONNX int8", error, captured.tail()) from error


def halve_weights(proto: Any) -> Any:
    """Store large float32 weights as float16; they are cast back when the file is loaded.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.

    Returns:
        The same proto.
    """
    import onnx

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALLEST_HALVED:
            continue
        array = onnx.numpy_helper.to_array(tensor)
        if np.abs(array).max() > _LARGEST_FLOAT16:
            continue
        name = tensor.name
        stored = f"{name}__float16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Not Conv: ConvInteger is ten times as slow as the float32 convolution (MobileNetV2: 16.6 and 1.6 ms).
    quantize_dynamic(
        source,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Gather", "LSTM"],
    )


def store_as_int8(proto: Any) -> Any:
    """Store the kernels of convolutions as int8, one scale per channel; they are computed with in float32.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.

    Returns:
        The same proto.
    """
    import onnx

    graph = proto.graph
    axes = {node.input[1]: node.op_type == "ConvTranspose" for node in graph.node if "Conv" in node.op_type}
    decoders = []
    for tensor in [tensor for tensor in graph.initializer if tensor.name in axes]:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALLEST_HALVED:
            continue
        name, axis = tensor.name, int(axes[tensor.name])
        kernel = onnx.numpy_helper.to_array(tensor)
        others = tuple(i for i in range(kernel.ndim) if i != axis)
        scale = np.abs(kernel).max(axis=others, keepdims=True) / 127
        scale[scale == 0] = 1
        integers = np.round(kernel / scale).astype(np.int8)
        tensor.CopyFrom(onnx.numpy_helper.from_array(integers, f"{name}__int8"))
        scales = onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}__scale")
        graph.initializer.append(scales)
        # Not DequantizeLinear: ONNX Runtime runs that every time, and computes these once, when it loads.
        decoders += [
            onnx.helper.make_node("Cast", [f"{name}__int8"], [f"{name}__unscaled"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{name}__unscaled", scales.name], [name]),
        ]
    nodes = [*decoders, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


def _static(source: Path, target: Path, reader: Any) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        target,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Unsigned activations are one and a half to three times as quick as signed ones on x86.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _reader(calibration: Sequence[Feeds], batch_size: int | None) -> Any:
    """The calibration samples one batch at a time, in the class that ONNX Runtime asks for."""
    from onnxruntime.quantization import CalibrationDataReader

    size = batch_size or 1

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # no types there
        def __init__(self) -> None:
            self._next: Callable[[], Feeds | None] = iter_batches(calibration, size).__next__

        def get_next(self) -> Feeds | None:
            try:
                return self._next()
            except StopIteration:
                return None

    return Reader()


def iter_batches(batches: Sequence[Feeds], size: int) -> Iterator[Feeds]:
    """Cut batches of any size into batches of one size, the last sample repeated where one is short.

    Args:
        batches: Named arrays.
        size: Samples per batch.
    """
    for feeds in batches:
        samples = next(iter(feeds.values())).shape[0]
        for start in range(0, samples, size):
            indices = np.minimum(np.arange(start, start + size), samples - 1)
            yield {name: _take(array, indices) for name, array in feeds.items()}


def _take(array: Array, indices: Array) -> Array:
    return np.ascontiguousarray(array[indices])
