"""What the operators of two files give, compared: which layers of a quantised one are far off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.exporting.tensors import Array, Feeds

Step = tuple[list[str], list[str]]
"""The tensors that an operator reads, and those that it makes."""


@dataclass(frozen=True)
class Inside:
    """A run of a file.

    Attributes:
        steps: The operators, in the order in which they run.
        values: The tensors that they make, as reals.
    """

    steps: list[Step]
    values: dict[str, Array]


def run_onnx(proto: Any, feeds: Feeds) -> Inside:
    """Run an ONNX model and keep all tensors of reals.

    Args:
        proto: An ``onnx.ModelProto``; what is inside becomes outputs of it.
        feeds: What to run on.
    """
    import onnx
    import onnxruntime

    nodes = proto.graph.node
    names = [name for node in nodes for name in node.output if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = zip(names, session.run(names, feeds), strict=True)
    kept = {name: value for name, value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f"}
    return Inside([(list(node.input), list(node.output)) for node in nodes], kept)


def run_tflite(content: bytes, feeds: Feeds) -> Inside:
    """Run a TFLite model once and keep all tensors; see `tflite_inside`."""
    return tflite_inside(content)(feeds)


def tflite_inside(content: bytes) -> Callable[[Feeds], Inside]:
    """What runs a TFLite model on a batch and keeps all tensors, integers as the reals that they stand for.

    Args:
        content: The file's content.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    given = interpreter.get_signature_runner().get_input_details()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operators = list(_operators(content))
    steps: list[Step] = [
        ([str(details[i]["name"]) for i in reads if i >= 0], [str(details[i]["name"]) for i in makes])
        for reads, makes in operators
    ]
    shapes: dict[str, tuple[int, ...]] = {}

    def run(feeds: Feeds) -> Inside:
        if shapes != (wanted := {name: feeds[name].shape for name in given}):
            for name, detail in given.items():
                interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
            interpreter.allocate_tensors()
            shapes.update(wanted)
        for name, detail in given.items():
            scale, zero = detail["quantization"]
            array = feeds[name]
            if scale and array.dtype.kind == "f":
                array = np.clip(np.round(array / scale) + zero, -128, 127)
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(array.astype(detail["dtype"])))
        interpreter.invoke()
        values: dict[str, Array] = {}
        for index in (index for _, makes in operators for index in makes):
            scale, zero = details[index]["quantization"]
            try:
                array = interpreter.get_tensor(index)
            except ValueError:  # what a loop gives through and nothing reads, the runtime does not keep
                continue
            if scale:
                values[str(details[index]["name"])] = (array.astype(np.float32) - zero) * scale
            elif array.dtype.kind == "f":
                values[str(details[index]["name"])] = array
        return Inside(steps, values)

    return run


def _operators(content: bytes) -> Iterable[tuple[list[int], list[int]]]:
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).subgraphs[0]
    return [([int(i) for i in operator.inputs], [int(i) for i in operator.outputs]) for operator in graph.operators]


def named_after(layers: Iterable[str], inside: Inside) -> dict[str, Array]:
    """What each of some layers gives in a file whose tensors have the layers' names among other words."""
    wanted = set(layers)
    found: dict[str, Array] = {}
    for _, made in inside.steps:
        for name in made:
            if name in inside.values:
                words = {word for part in name.split(";") for word in (part, *part.split("/"))}
                # TensorFlow's scopes have a number behind a layer's name.
                words = words & wanted or {re.sub(r"_\d+$", "", word) for word in words} & wanted
                found.update(dict.fromkeys(words, inside.values[name]))
    return found


def added_errors(reference: Inside, values: Mapping[str, Array], most: int = 3) -> Sequence[tuple[str, float]]:
    """The layers that add most to the error, and how much: RMS, by the deviation of what they give.

    Args:
        reference: A run of the float file.
        values: The tensors of the other, by the same names.
        most: How many layers.
    """
    errors: dict[str, float] = {}
    added: dict[str, float] = {}
    for read, made in reference.steps:
        before = max((errors[name] for name in read if name in errors), default=0.0)
        for name in made:
            wanted, found = reference.values.get(name), values.get(name)
            if wanted is None or found is None or wanted.shape != found.shape:
                errors[name] = before
                continue
            deviation = float(wanted.std(dtype=np.float64)) or 1.0
            errors[name] = float(np.sqrt(np.mean(np.square(wanted - found, dtype=np.float64)))) / deviation
            layer = name.rsplit("/", 1)[0]
            added[layer] = max(added.get(layer, 0.0), errors[name] - before)
    return sorted(added.items(), key=lambda item: -item[1])[:most]
