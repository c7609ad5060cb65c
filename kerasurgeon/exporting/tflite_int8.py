"""TFLite of int8 from the graph: TensorFlow's quantiser on the float file that is written from the graph.

Ranges are found here. TensorFlow's calibrator looks at an operator's inputs when the operator may have put its result
in their place: what is multiplied by 40 then has the range of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.exporting.converter_errors import digest
from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.inside import Inside, tflite_inside
from kerasurgeon.exporting.onnx_int8 import iter_batches
from kerasurgeon.exporting.origin import origin
from kerasurgeon.exporting.tensors import Feeds, TensorInfo
from kerasurgeon.exporting.tflite_convert import TfliteOptions
from kerasurgeon.exporting.tflite_metadata import describe
from kerasurgeon.exporting.tflite_names import packed
from kerasurgeon.exporting.tflite_storing import HUGE
from kerasurgeon.exporting.tflite_writer import write_tflite
from kerasurgeon.quiet import quiet, require

_LONGEST = 512
"""How many steps of a recurrence are written one by one: what a loop computes, TensorFlow's quantiser leaves real."""

_LOOKED_AT = 4  # batches in which scores are looked for
_SAME = 0.01  # how far apart files may be, by an output's deviation, that hide the same


def write_int8(
    model: keras.Model, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], options: TfliteOptions
) -> tuple[memoryview, tuple[str, ...]]:
    """Write a model of int8: ranges found by running the float file, masks by numbers that leave them alone.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        options: How to write it.

    Returns:
        The file's content, and notes on what it is for the report.

    Raises:
        CannotWrite: Some calls have no rule that knows how, or TensorFlow refuses the file.
        MissingExtraError: TensorFlow is not installed.
    """
    require("tensorflow", package="tensorflow", extra="converters", needed_for="Quantising TFLite to int8")
    content = bytes(write_tflite(model, inputs, outputs, batch_size=options.batch_size, longest=_LONGEST))
    batches = list(iter_batches(options.calibration, options.batch_size or 1))
    with quiet() as captured:
        try:
            run = tflite_inside(content)
            runs = [run(feeds) for feeds in batches[:_LOOKED_AT]]
            scores = _scores(runs)
            if scores is not None:
                size = options.batch_size
                narrow = bytes(write_tflite(model, inputs, outputs, batch_size=size, scores=scores, longest=_LONGEST))
                nearer = tflite_inside(narrow)
                if _alike(runs, map(nearer, batches), [info.name for info in outputs]):
                    content, run = narrow, nearer
            ranges = _ranges(run, batches)
            made = _opened(_quantised(_with_ranges(content, ranges), options))
            _refine(made, ranges)
            describe(made, origin(model))
            return packed(made), _left(made)
        except Exception as error:
            said = digest(str(error) or captured.tail(), lines=1, first=True) or type(error).__name__
            raise CannotWrite({model.name: f"TensorFlow's quantiser refuses what is written: {said}"}) from error


def _quantised(content: bytes, options: TfliteOptions) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python import convert

    border = tf.int8 if options.integer_io else tf.float32
    made: Any = convert.mlir_quantize(
        content, fully_quantize=options.integer_io, input_data_type=border, output_data_type=border
    )
    return bytes(made)


def _ranges(run: Callable[[Feeds], Inside], batches: Sequence[Feeds]) -> dict[str, tuple[float, float]]:
    """The least and the largest number of every tensor that is not constant."""
    found: dict[str, tuple[float, float]] = {}
    for feeds in batches:
        for name, array in (feeds | run(feeds).values).items():
            if array.size and array.dtype.kind == "f":
                low, high = float(array.min()), float(array.max())
                before = found.get(name, (low, high))
                found[name] = min(low, before[0]), max(high, before[1])
    return found


def _with_ranges(content: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """A file that says the ranges of its tensors."""
    from ai_edge_litert import schema_py_generated as schema

    model = _opened(content)
    for tensor in model.subgraphs[0].tensors:
        known = ranges.get(tensor.name.decode())
        if known is not None and tensor.type == schema.TensorType.FLOAT32:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.min, tensor.quantization.max = [known[0]], [known[1]]
    return bytes(packed(model))


def _refine(model: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Let the results of tanh have the steps of their ranges.

    TensorFlow's quantiser gives them steps of 1/128 whatever they are: of a recurrence whose cells hold little, few are
    left. The kernel looks its results up in a table that it makes for any steps.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    for operator in graph.operators:
        made = graph.tensors[operator.outputs[0]]
        if (
            model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.TANH
            and made.type == schema.TensorType.INT8
            and made.name.decode() in ranges
        ):
            low, high = (each(bound, 0.0) for each, bound in zip((min, max), ranges[made.name.decode()], strict=True))
            scale = (high - low) / 255
            if 0 < scale < made.quantization.scale[0]:
                made.quantization.scale = [scale]
                made.quantization.zeroPoint = [int(np.clip(round(-128 - low / scale), -128, 127))]


def _scores(runs: Sequence[Inside]) -> tuple[float, float] | None:
    """The range of what is hidden by huge numbers, without these; ``None`` if nothing is."""
    arrays = [array for run in runs for array in run.values.values() if array.size and array.min() <= -HUGE]
    found = [array[array > -HUGE] for array in arrays]
    found = [array for array in found if array.size]
    if not found:
        return None
    return float(min(array.min() for array in found)), float(max(array.max() for array in found))


def _alike(runs: Sequence[Inside], others: Iterator[Inside], names: Sequence[str]) -> bool:
    """Whether outputs are the same: huge numbers were those of masks, and nothing else."""
    return all(
        np.sqrt(np.mean(np.square(run.values[name] - other.values[name])))
        <= _SAME * max(run.values[name].std(), np.finfo(np.float32).tiny)
        for run, other in zip(runs, others, strict=False)
        for name in names
        if name in run.values
    )


def _opened(content: bytes) -> Any:
    """The schema's object for a file."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _left(model: Any) -> tuple[str, ...]:
    """What to say of operators that compute with reals still."""
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    graph = model.subgraphs[0]
    kinds = {
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in graph.operators
        if any(graph.tensors[place].type == schema.TensorType.FLOAT32 for place in operator.outputs)
    } - {"DEQUANTIZE"}
    return (f"some operations have no int8 kernel and stay float32: {', '.join(sorted(kinds))}",) if kinds else ()
