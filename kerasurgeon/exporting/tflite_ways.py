"""The ways to a TFLite file: from the graph by the rules of its layers, or by way of TensorFlow's converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import keras

from kerasurgeon.errors import ExportError, LiftError
from kerasurgeon.exporting.converter_errors import digest
from kerasurgeon.exporting.graph_writing import CannotWrite, shown
from kerasurgeon.exporting.keras_runner import KerasRunner
from kerasurgeon.exporting.options import Options
from kerasurgeon.exporting.signature import check_scope_names
from kerasurgeon.exporting.tensors import Feeds
from kerasurgeon.exporting.tflite_convert import TfliteOptions, convert_to_tflite
from kerasurgeon.exporting.tflite_int8 import write_int8
from kerasurgeon.exporting.tflite_writer import write_tflite
from kerasurgeon.quiet import import_quietly, quiet

_WEIGHTS: Mapping[str | None, Literal["float32", "float16", "int8"]] = {
    None: "float32",
    "float16": "float16",
    "dynamic": "int8",
}
"""How weights are stored, by how a file that computes with reals is quantised."""


def to_tflite(reference: KerasRunner, path: Path, options: Options, calibration: Sequence[Feeds]) -> tuple[str, ...]:
    """Write the TFLite file, from the graph if every layer has a rule that says how, else by the converter.

    Args:
        reference: The model.
        path: Where to write.
        options: What to write; ``writer`` says which way.
        calibration: For int8, the samples to find ranges from.

    Returns:
        Notes for the report.

    Raises:
        ExportError: It cannot be written in the way that was asked for, or in none.
    """
    model, inputs, outputs = reference.model, reference.inputs, reference.outputs
    reasons: Mapping[str, str] = {}
    wanted = TfliteOptions(options.quantize, calibration, options.integer_io, options.batch_size)
    if options.writer != "converter":
        said: tuple[str, ...] = ()
        try:
            if options.quantize == "int8":
                content, said = write_int8(model, inputs, outputs, wanted)
                path.write_bytes(content)
            else:
                weights = _WEIGHTS[options.quantize]
                path.write_bytes(write_tflite(model, inputs, outputs, batch_size=options.batch_size, weights=weights))
            refused = _refused(path)
            if refused is None:
                return said
            reasons = {model.name: f"the runtime refuses what is written from the graph: {refused}"}
        except CannotWrite as cannot:
            reasons = cannot.reasons
        except LiftError as error:
            reasons = {model.name: str(error).splitlines()[0]}
        if options.writer == "graph" or not _can_convert():
            raise ExportError(
                "The model has calls that cannot be written to TFLite from its graph.",
                where=f"model {model.name!r}",
                got=shown(reasons),
                hint="register a rule with a tflite or an onnx method for these layers "
                "(kerasurgeon.rules.register_rule), or replace them with layers that compute the same (ReplaceLayers)"
                + ("; or leave writer='auto', which converts" if options.writer == "graph" else ""),
            )
    check_scope_names(model)
    converted, notes = convert_to_tflite(model, inputs, outputs, wanted)
    path.write_bytes(converted)
    if reasons:
        return (*notes, f"converted by way of TensorFlow, not written from the graph: {shown(reasons)}")
    return notes


_OPEN_SIZES = (1, 16, 256, 2048)
"""What open sizes are tried at, as a kernel may be longer than the smallest."""


def _refused(path: Path) -> str | None:
    """Why the runtime does not take a file at any size; ``None`` if it does, or is not installed."""
    try:
        interpreter_class: Any = import_quietly("ai_edge_litert.interpreter").Interpreter
    except ModuleNotFoundError:
        return None
    first = None
    given: dict[int, Any] = {}
    for size in _OPEN_SIZES:
        try:
            with quiet():
                runtime = interpreter_class(model_path=str(path), num_threads=1)
                shapes = {each["index"]: each["shape_signature"] for each in runtime.get_input_details()}
                given = {index: shape for index, shape in shapes.items() if -1 in shape}
                for index, shape in given.items():
                    runtime.resize_tensor_input(index, [size if length == -1 else int(length) for length in shape])
                runtime.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = first or digest(str(error), lines=1, first=True) or type(error).__name__
            if not given:
                break
        else:
            return None
    return first


def _can_convert() -> bool:
    return find_spec("tensorflow") is not None and bool(keras.backend.backend() == "tensorflow")
