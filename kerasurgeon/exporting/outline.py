"""Model files as drawings: what can be said of any format without running it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.costs import cost
from kerasurgeon.exporting.onnx_weights import inner_nodes
from kerasurgeon.exporting.opening import check_model_file
from kerasurgeon.exporting.runners import unreadable
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.quiet import quiet, require
from kerasurgeon.report.drawing import Drawing, assemble, draw, mark, reweighed
from kerasurgeon.report.files import finite

_BROKEN = (ValueError, IndexError, TypeError, AttributeError, struct.error)  # what parsers raise at broken files
_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
_NOT_COUNTED = "multiply-accumulates are counted of Keras models, not of this format"


@dataclass
class _Outline:
    """What is gathered of a file."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    reads: dict[str, list[str]] = field(default_factory=dict)
    maker: dict[str, str] = field(default_factory=dict)  # of each tensor
    sums: dict[str, int] = field(default_factory=dict)  # of the weights of each node
    counted: set[str] = field(default_factory=set)

    def add(
        self,
        name: str,
        kind: str,
        reads: Iterable[str],
        makes: Iterable[str],
        shape: list[int | None],
        options: Mapping[str, Any],
        weights: Mapping[str, np.ndarray[Any, Any]],
    ) -> None:
        """Add a node: the tensors that it reads and makes, and the weights that are among what it reads."""
        unique, number = name, 1
        while unique in self.reads:
            unique, number = f"{name}:{number}", number + 1
        fresh = [array for key, array in weights.items() if key not in self.counted]  # each is counted once
        self.counted |= set(weights)
        self.reads[unique] = list(dict.fromkeys(self.maker[each] for each in reads if each in self.maker))
        self.maker |= dict.fromkeys(makes, unique)
        self.sums[unique] = zlib.crc32(b"".join(array.tobytes() for array in weights.values()))
        self.nodes.append(
            {
                "name": unique,
                "kind": kind,
                "shape": shape,
                "macs": None if weights else 0,
                "parameters": sum(array.size for array in fresh),
                "weight_bytes": sum(array.nbytes for array in fresh),
                "activation_bytes": None,
                "options": finite(options),
                "weights": {key: [list(array.shape), str(array.dtype)] for key, array in weights.items()},
                **({"unknown": _NOT_COUNTED} if weights else {}),
            }
        )

    def drawing(self, name: str, folds: Drawing | None) -> Drawing:
        totals = {key: sum(node[key] for node in self.nodes) for key in ("parameters", "weight_bytes")}
        totals |= {"macs": None, "peak_activation_bytes": None}
        scopes = dict.fromkeys(self.reads, "")
        return assemble(name, self.nodes, self.reads, totals, scopes, folds)


def draw_both(before: Any, after: Any) -> tuple[Drawing, Drawing, list[str]]:
    """Two models as drawings that are compared with each other.

    Args:
        before: A Keras model, a graph, or the path of a .tflite or .onnx file.
        after: Another.

    Returns:
        Both drawings, marked, and what should be known of the comparison.

    Raises:
        LiftError: A Keras model has no graph.
        ModelFileError: A file cannot be read.
        MissingExtraError: What reads it is not installed.
    """
    one, other = (_opened(item) for item in (before, after))
    first = one if isinstance(one, _Outline) else draw(one, cost(one).to_dict())
    names = [str(getattr(item, "name", item)) for item in (before, after)]
    old = first.drawing(names[0], None) if isinstance(first, _Outline) else first
    new = other.drawing(names[1], old) if isinstance(other, _Outline) else draw(other, cost(other).to_dict(), folds=old)
    if isinstance(one, Graph) and isinstance(other, Graph):
        mark(old, new, reweighed(one, other))
        return old, new, []
    if isinstance(one, _Outline) and isinstance(other, _Outline) and Path(before).suffix == Path(after).suffix:
        mark(old, new, {name for name in one.sums if other.sums.get(name, one.sums[name]) != one.sums[name]})
        return old, new, [_NOT_COUNTED]
    mark(old, new, parts=())
    return old, new, ["The models are of different formats: nodes are compared by their names alone", _NOT_COUNTED]


def draw_one(model: Any, sizes: Any = None) -> Drawing:
    """One model as a drawing.

    Args:
        model: As for ``draw_both``.
        sizes: Sizes of the inputs that costs are counted for, where the model leaves them open.

    Raises:
        LiftError: A Keras model has no graph.
        ModelFileError: A file cannot be read.
        MissingExtraError: What reads it is not installed.
    """
    found = _opened(model)
    if isinstance(found, _Outline):
        return found.drawing(Path(model).name, None)
    return draw(found, cost(found, sizes=sizes).to_dict())


def _opened(model: Any) -> Graph | _Outline:
    if isinstance(model, Graph):
        return model
    if not isinstance(model, (str, Path)):
        return lift(model)
    path = Path(model)
    check_model_file(path)
    try:
        return _onnx(path) if path.suffix.lower() == ".onnx" else _tflite(path)
    except (
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        struct.error,
    ) as error:  # what parsers raise at broken files
        raise unreadable(path, f"a {path.suffix} file", error) from error


def _onnx(path: Path) -> _Outline:
    onnx = require("onnx", package="onnx", extra="onnx", needed_for="Reading ONNX files")
    with quiet():
        try:
            model = onnx.load(str(path))
        except Exception as error:
            raise unreadable(path, "an ONNX file", error) from error
        shapes = {}
        if path.stat().st_size < 2**31:  # of what protobuf can hold
            model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    outline = _Outline()
    for value in graph.input:
        if value.name not in arrays:
            outline.add(value.name, "Input", [], [value.name], shapes[value.name], {}, {})
    for node in graph.node:
        options = {each.name: _attribute(onnx.helper.get_attribute_value(each)) for each in node.attribute}
        if node.op_type == "Constant":
            continue
        reads = [*node.input, *(key for inner in inner_nodes(node) for key in inner.input)]
        weights = {key: arrays[key] for key in reads if key in arrays}
        shape = shapes.get(node.output[0], [])
        name = node.name or node.output[0]
        outline.add(name, node.op_type, reads, node.output, shape, _plain(options), weights)
    return outline


def _attribute(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (bool, int, float, str)
    lists = {key: list(value) for key, value in options.items() if not isinstance(value, kinds) and _is_list(value)}
    return {key: value for key, value in options.items() if isinstance(value, kinds)} | lists


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= 16 and all(isinstance(v, (int, float)) for v in value)


def _tflite(path: Path) -> _Outline:
    module = "ai_edge_litert.schema_py_generated"
    schema = require(module, package="ai-edge-litert", extra="tflite", needed_for="Reading TFLite files")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError("the file does not begin as a TFLite file does")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    dtypes = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    names = [tensor.name.decode("utf-8", "replace") for tensor in graph.tensors]
    arrays = _arrays(model, graph, dtypes)
    outline = _Outline()
    for place in graph.inputs:
        outline.add(names[place], "Input", [], [str(place)], _sizes(graph.tensors[place]), {}, {})
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")
        reads = [int(place) for place in operator.inputs if place >= 0]
        weights = {names[place]: arrays[place] for place in reads if place in arrays}
        first = int(operator.outputs[0])
        options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
        for inner in (model.subgraphs[options[key]] for key in options if key.endswith("SubgraphIndex")):
            own = _arrays(model, inner, dtypes)
            weights |= {inner.tensors[place].name.decode("utf-8", "replace"): own[place] for place in own}
        makes = [str(int(place)) for place in operator.outputs]
        shape = _sizes(graph.tensors[first])
        outline.add(names[first], kind, map(str, reads), makes, shape, _plain(options), weights)
    return outline


def _arrays(model: Any, graph: Any, dtypes: Mapping[int, str]) -> dict[int, np.ndarray[Any, Any]]:
    """The constants of a graph of a TFLite file, by their numbers."""
    arrays: dict[int, np.ndarray[Any, Any]] = {}
    for place, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            raw, dtype = np.asarray(data, np.uint8), dtypes[tensor.type]
            arrays[place] = raw.view(dtype) if dtype in _NUMBERS else raw
    return arrays


def _sizes(tensor: Any) -> list[int | None]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


__all__ = ["draw_both", "draw_one"]
