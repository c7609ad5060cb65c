"""Write a TFLite file.

Two routes, both through TensorFlow's own converter. Small models go through a frozen function: it is two to
four times as quick. Large ones go through a SavedModel in a temporary folder, which takes a third of the time
and memory for VGG16 (31 s and 3.3 GB instead of 96 s and 8.7 GB). ``from_concrete_functions([f], model)``,
which TensorFlow's warning recommends, is never used: it writes files without weights.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.converter_errors import converter_error
from kerasurgeon.exporting.origin import origin
from kerasurgeon.exporting.signature import weight_bytes
from kerasurgeon.exporting.tensors import Feeds, TensorInfo
from kerasurgeon.exporting.tflite_names import name_tensors, packed
from kerasurgeon.exporting.trace import input_name, tensorflow, trace
from kerasurgeon.hidden import scratch
from kerasurgeon.keras_io.replaced import Replaced
from kerasurgeon.quiet import quiet

# Above this many bytes of weights the SavedModel route is no slower and needs less memory (ResNet50, 98 MiB:
# 9.6 s and 1.7 GB frozen, 10.1 s and 0.8 GB saved).
_FREEZE_BELOW = 64 * 2**20
# A TFLite file is a flatbuffer, whose offsets are signed 32-bit integers.
_LARGEST_FILE = 2**31 - 2**24


@dataclass(frozen=True, slots=True)
class TfliteOptions:
    """How to write a TFLite file.

    Args:
        quantize: None, ``float16`` (weights), ``dynamic`` (int8 weights) or ``int8`` (weights and
            activations).
        calibration: Samples that int8 finds its ranges from, in batches.
        integer_io: Whether an int8 file's inputs and outputs are int8 as well.
        batch_size: The batch size that is built in; None leaves it free.
    """

    quantize: str | None
    calibration: Sequence[Feeds]
    integer_io: bool
    batch_size: int | None


def convert_to_tflite(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    options: TfliteOptions,
) -> tuple[memoryview, tuple[str, ...]]:
    """Convert a model.

    Args:
        model: A model of float32 layers.
        inputs: Its inputs.
        outputs: Its outputs.
        options: What kind of file to write.

    Returns:
        The file's content, and notes on what it is for the report.

    Raises:
        ExportError: The model is too large, or has ops that TFLite lacks.
    """
    tf = tensorflow("Converting to TFLite", "converters")
    size = weight_bytes(model)
    if size > _LARGEST_FILE:
        raise ExportError(
            "The model is too large for a TFLite file.",
            expected="less than 2 GiB of float32 weights",
            got=f"{size / 2**30:.1f} GiB",
            hint="write .onnx, or make the model smaller first",
        )
    notes: tuple[str, ...] = ()
    with quiet() as captured:
        try:
            function = trace(model, inputs, batch_size=options.batch_size)
        except Exception as error:
            raise converter_error("TFLite", error, captured.tail()) from error
        if options.quantize == "int8":
            _refuse_loops(function)
        try:
            data = _convert(tf, model, function, inputs, options, only_integers=True)
        except Exception as error:
            if options.quantize != "int8" or options.integer_io:
                raise converter_error("TFLite", error, captured.tail()) from error
            # Some op has no int8 kernel: let it stay float32, and say so.
            try:
                data = _convert(tf, model, function, inputs, options, only_integers=False)
            except Exception as second:
                raise converter_error("TFLite", second, captured.tail()) from second
            notes = ("some operations have no int8 kernel and stay float32",)
    return name_tensors(data, [i.name for i in inputs], [o.name for o in outputs], origin(model)), notes


def _refuse_loops(function: Any) -> None:
    """Refuse to calibrate loops: TensorFlow's calibrator kills the process on them."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    loops = [node.name for node in nodes if node.op in ("While", "StatelessWhile")]
    if loops:
        raise ExportError(
            "TFLite cannot quantise loops to int8.",
            where=", ".join(loops[:3]),
            hint="build recurrent layers with unroll=True, or use quantize='dynamic' or the .onnx format",
        )


def _convert(
    tf: Any,
    model: keras.Model,
    function: Any,
    inputs: Sequence[TensorInfo],
    options: TfliteOptions,
    *,
    only_integers: bool,
) -> bytes | memoryview:
    if weight_bytes(model) < _FREEZE_BELOW:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        _configure(tf, converter, inputs, options, by_name=False, only_integers=only_integers)
        return _run(converter, options)
    holder = tf.Module()
    # SavedModel writes the variables that it finds on the object, and a trace holds on to them only weakly.
    holder.variables_kept = [variable.value for variable in model.variables]
    with scratch() as folder:
        tf.saved_model.save(holder, str(folder), signatures={"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        _configure(tf, converter, inputs, options, by_name=True, only_integers=only_integers)
        return _run(converter, options)


def _run(converter: Any, options: TfliteOptions) -> bytes | memoryview:
    """Convert. TensorFlow packs the file twice more in Python, through buffers that double as they grow; not so here.

    Quantising to int8 hands what was packed to code that takes nothing but bytes.
    """
    _PACKING.lean = options.quantize != "int8"
    try:
        with _lean_packing():
            result: bytes | memoryview = converter.convert()
            return result
    finally:
        _PACKING.lean = False


class _Packing(threading.local):
    """Whether the conversion that this thread runs packs files our way."""

    lean = False


_PACKING = _Packing()


@functools.cache
def _lean_packing() -> Replaced:
    from tensorflow.lite.tools import flatbuffer_utils

    original = flatbuffer_utils.convert_object_to_bytearray

    def pack(model: Any, *args: Any, **kwargs: Any) -> Any:
        return packed(model) if _PACKING.lean and not args and not kwargs else original(model, *args, **kwargs)

    return Replaced(flatbuffer_utils, "convert_object_to_bytearray", pack)


def _configure(
    tf: Any,
    converter: Any,
    inputs: Sequence[TensorInfo],
    options: TfliteOptions,
    *,
    by_name: bool,
    only_integers: bool,
) -> None:
    builtins = tf.lite.OpsSet.TFLITE_BUILTINS
    # Never SELECT_TF_OPS: such files need a runtime with all of TensorFlow in it.
    converter.target_spec.supported_ops = [builtins]
    if options.quantize is None:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if options.quantize == "int8":
        integers = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        converter.target_spec.supported_ops = [integers] if only_integers else [integers, builtins]
        converter.representative_dataset = _representative(options, inputs, by_name=by_name)
        if options.integer_io:
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8


def _representative(
    options: TfliteOptions, inputs: Sequence[TensorInfo], *, by_name: bool
) -> Callable[[], Iterator[Any]]:
    size = options.batch_size or 1

    def batches() -> Iterator[Any]:
        for feeds in options.calibration:
            samples = next(iter(feeds.values())).shape[0]
            for start in range(0, samples, size):
                chunk = [_chunk(feeds[info.name], start, size) for info in inputs]
                yield {input_name(i): array for i, array in enumerate(chunk)} if by_name else chunk

    return batches


def _chunk(array: np.ndarray[Any, Any], start: int, size: int) -> np.ndarray[Any, Any]:
    """A slice of exactly ``size`` samples, the last one repeated where the array ends."""
    indices = np.minimum(np.arange(start, start + size), array.shape[0] - 1)
    return np.ascontiguousarray(array[indices])
