"""Put operators and constants into a TFLite file, a flatbuffer; every constant is copied once, to its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.exporting.tflite_metadata import describe
from kerasurgeon.exporting.tflite_names import SIGNATURE
from kerasurgeon.quiet import require
from kerasurgeon.rules.onnx_parts import Body, Operator
from kerasurgeon.rules.tflite_call import TfliteParts

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # the schema asks for it (force_align); the generated Python code does not do it
_LARGEST = 2**31 - 2**20  # offsets are signed, of 32 bits

_OPTIONS = {
    "ADD": "AddOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "CONV_3D": "Conv3DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "CUMSUM": "CumsumOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "PACK": "PackOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SHAPE": "ShapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNPACK": "UnpackOptions",
    "WHILE": "WhileOptions",
}
"""The table of an operator's options, of those that have settings."""

_PADDINGS = {"SAME": 0, "VALID": 1}
_GRAPHS = {"cond": "condSubgraphIndex", "body": "bodySubgraphIndex"}
_TYPED = ("inDataType", "outDataType", "outType", "outputType")


def packed(
    name: str,
    parts: TfliteParts,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    results: Sequence[str],
    titles: Mapping[str, str],
    said: Mapping[str, str],
) -> memoryview:
    """The file's content.

    Args:
        name: What the graph is called.
        parts: Operators and constants; the constants are taken out.
        inputs: The model's inputs.
        outputs: The model's outputs.
        results: The tensors that they are.
        titles: What tensors are called in the file, where it is not as here.
        said: What is to be known of the model, texts by key.

    Raises:
        ExportError: The file would be too large.
    """
    schema = require(
        "ai_edge_litert.schema_py_generated", package="ai-edge-litert", extra="tflite", needed_for="TFLite export"
    )
    weight = sum(array.nbytes + _ALIGNMENT for array in parts.constants.values())
    if weight > _LARGEST:
        raise ExportError(
            "The model is too large for a TFLite file.",
            expected="less than 2 GiB of weights",
            got=f"{weight / 2**30:.1f} GiB",
        )
    filler = _Filler(schema, parts, titles)
    graph = filler.graph(name, [info.name for info in inputs], parts.operators, results)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    for key, infos, places in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        entries = []
        for info, place in zip(infos, places, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = info.name.encode(), place
            entries.append(entry)
        setattr(signature, key, entries)
    model = schema.ModelT()
    model.version = 3
    model.subgraphs, model.signatureDefs = filler.graphs, [signature]
    model.operatorCodes, model.buffers = filler.codes, filler.buffers
    describe(model, said)
    parts.constants.clear()
    size = weight + sum(map(len, said.values()))
    rows = sum(len(each.tensors) + len(each.operators) for each in filler.graphs)
    builder = _builder(size + 2**16 + 512 * rows)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return memoryview(builder.Bytes)[builder.Head() :]


class _Filler:
    """The schema's objects for graphs, and for what they share: numbered as they come."""

    def __init__(self, schema: Any, parts: TfliteParts, titles: Mapping[str, str]) -> None:
        self.schema, self.parts, self.titles = schema, parts, titles
        self.graphs: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]  # the first is empty, for what is computed
        self.codes: list[Any] = []
        self._filled: dict[str, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def graph(self, name: str, inputs: Sequence[str], operators: Sequence[Operator], outputs: Sequence[str]) -> Any:
        """A graph, numbered before those that its operators have."""
        made = self.schema.SubGraphT()
        self.graphs.append(made)
        tensors = _Tensors(self)
        made.name, made.tensors = name.encode(), tensors.made
        made.inputs = [tensors.number(each) for each in inputs]
        made.operators = [self._operator(operator, tensors) for operator in operators]
        made.outputs = [tensors.number(each) for each in outputs]
        return made

    def buffer(self, name: str) -> int:
        """Where the values of a constant stand; the first buffer, which is empty, for other tensors."""
        if name not in self.parts.constants:
            return 0
        if name not in self._filled:
            made = self.schema.BufferT()
            made.data = self.parts.constants[name]
            self._filled[name] = len(self.buffers)
            self.buffers.append(made)
        return self._filled[name]

    def type_number(self, dtype: str) -> int:
        """The schema's number of a type."""
        found: int = getattr(self.schema.TensorType, dtype.upper())
        return found

    def _operator(self, operator: Operator, tensors: _Tensors) -> Any:
        made = self.schema.OperatorT()
        inputs = list(operator.inputs)
        while inputs and not inputs[-1] and operator.kind != "FULLY_CONNECTED":
            inputs.pop()
        made.inputs = [tensors.number(name) for name in inputs]
        made.outputs = [tensors.number(name) for name in operator.outputs]
        made.opcodeIndex = self._code(operator.kind, _version(operator, self.parts))
        table = _OPTIONS.get(operator.kind)
        if table is not None:
            options = getattr(self.schema, f"{table}T")()
            for key, value in operator.attributes.items():
                setattr(options, _GRAPHS.get(key, key), self._setting(operator, key, value))
            made.builtinOptions = options
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, table)
        return made

    def _setting(self, operator: Operator, key: str, value: Any) -> Any:
        if isinstance(value, Body):
            number = len(self.graphs)
            self.graph(f"{operator.name}/{key}", value.inputs, value.operators, value.outputs)
            return number
        if key == "padding":
            return _PADDINGS[value]
        return self.type_number(value) if key in _TYPED else value

    def _code(self, kind: str, version: int) -> int:
        if (kind, version) not in self._codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
            self._codes[kind, version] = len(self.codes)
            self.codes.append(code)
        return self._codes[kind, version]


class _Tensors:
    """The tensors of one graph, numbered as they come."""

    def __init__(self, filler: _Filler) -> None:
        self.filler = filler
        self.made: list[Any] = []
        self._places: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a tensor; -1 for what is left out."""
        if not name:
            return -1
        if name not in self._places:
            self._places[name] = len(self.made)
            self.made.append(self._tensor(name))
        return self._places[name]

    def _tensor(self, name: str) -> Any:
        filler, parts, schema = self.filler, self.filler.parts, self.filler.schema
        made = schema.TensorT()
        array = parts.constants.get(name)
        made.name, made.hasRank = filler.titles.get(name, name).encode(), True
        sizes = parts.shapes[name] if array is None else array.shape
        made.type = filler.type_number(parts.types[name] if array is None else array.dtype.name)
        made.shape = [1 if size is None else int(size) for size in sizes]
        if None in sizes:
            made.shapeSignature = [-1 if size is None else int(size) for size in sizes]
        made.buffer = filler.buffer(name)
        if name in parts.scales:
            scales, axis = parts.scales[name]
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = scales.tolist(), [0] * len(scales)
            made.quantization.quantizedDimension = axis
        return made


def _version(operator: Operator, parts: TfliteParts) -> int:
    """The least version of an operator that knows what is asked of it."""
    kind, options = operator.kind, operator.attributes
    if kind == "CONV_2D":
        grouped = parts.shapes.get(operator.inputs[0], (0,))[-1] != _sizes(parts, operator.inputs[1])[-1]
        return 6 if grouped or operator.inputs[1] in parts.scales else 1
    if kind == "DEPTHWISE_CONV_2D":
        return 2 if max(options["dilationHFactor"], options["dilationWFactor"]) > 1 else 1
    if kind == "FULLY_CONNECTED":
        return 12 if operator.inputs[1] in parts.scales else 5 if options["keepNumDims"] else 1
    if kind == "DEQUANTIZE":
        return 5 if operator.inputs[0] in parts.scales else 3
    if kind == "BROADCAST_TO":
        return 2
    if kind == "TRANSPOSE_CONV":
        return 3 if operator.inputs[-1] else 1
    if kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        return 3
    return 1


def _sizes(parts: TfliteParts, name: str) -> Sequence[int | None]:
    return parts.constants[name].shape if name in parts.constants else parts.shapes[name]


def _builder(size: int) -> Any:
    flatbuffers = require("flatbuffers", package="flatbuffers", extra="tflite", needed_for="TFLite export")

    class Builder(flatbuffers.Builder):  # type: ignore[name-defined]  # no types there
        def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> Any:  # noqa: N802 - overrides theirs
            """An array of any shape and order, as the bytes of its elements, copied to its place."""
            self.StartVector(1, x.nbytes, _ALIGNMENT)
            self.head = int(self.Head() - x.nbytes)
            place = np.frombuffer(self.Bytes, x.dtype, x.size, self.Head()).reshape(x.shape)
            place[...] = x
            self.vectorNumElems = x.nbytes
            return self.EndVector()

    return Builder(size)
