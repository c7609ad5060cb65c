"""The ways to an ONNX model: from the graph by the rules of its layers, or by way of TensorFlow and tf2onnx."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import keras

from kerasurgeon.errors import ExportError, LiftError
from kerasurgeon.exporting.graph_writing import CannotWrite, shown
from kerasurgeon.exporting.keras_runner import KerasRunner
from kerasurgeon.exporting.onnx_convert import CONVERTED, convert_to_onnx
from kerasurgeon.exporting.onnx_saving import LARGEST_FILE, OnnxModel
from kerasurgeon.exporting.onnx_writer import WRITTEN, write_onnx
from kerasurgeon.exporting.options import Options
from kerasurgeon.exporting.signature import check_scope_names, weight_bytes


def to_onnx(reference: KerasRunner, options: Options) -> tuple[OnnxModel, tuple[str, ...]]:
    """Make the ONNX model, from the graph if every layer has a rule that says how, else by the converter.

    Args:
        reference: The model.
        options: What to write; ``writer`` says which way.

    Returns:
        The ONNX model, and notes for the report.

    Raises:
        ExportError: It is too large, or cannot be made in the way that was asked for, or in none.
    """
    size = weight_bytes(reference.model)
    if size > LARGEST_FILE and (options.quantize == "int8" or options.writer == "converter"):
        raise _too_large(size, "int8 and the converter need it in one file; leave them out")
    model, border = reference.model, (reference.inputs, reference.outputs)
    batch_size, opset = options.batch_size, options.opset
    reasons: Mapping[str, str] = {}
    if options.writer != "converter" and opset in WRITTEN:
        try:
            return write_onnx(model, *border, batch_size=batch_size, opset=opset, turned=options.turned), ()
        except CannotWrite as cannot:
            reasons = cannot.reasons
        except LiftError as error:
            reasons = {model.name: str(error).splitlines()[0]}
        if options.writer == "graph" or options.turned or not _can_convert(opset):
            raise ExportError(
                "The model has calls that cannot be written to ONNX from its graph.",
                where=f"model {model.name!r}",
                got=shown(reasons),
                hint="register a rule with an onnx method for these layers (kerasurgeon.rules.register_rule), or "
                "replace them with layers that compute the same (ReplaceLayers)"
                + ("; or leave writer='auto', which converts by way of tf2onnx" if options.writer == "graph" else ""),
            )
    if size > LARGEST_FILE:
        raise _too_large(
            size, f"the converter needs it in one file, and it cannot be written otherwise: {shown(reasons)}"
        )
    check_scope_names(model)
    made = OnnxModel(convert_to_onnx(model, *border, batch_size=batch_size, opset=opset), {})
    if not reasons:
        return made, ()
    return made, (f"converted by way of tf2onnx, not written from the graph: {shown(reasons)}",)


def _too_large(size: int, hint: str) -> ExportError:
    """The error for a model that one ONNX file cannot hold."""
    return ExportError(
        "The model is too large for an ONNX file.",
        expected="less than 2 GiB of float32 weights",
        got=f"{size / 2**30:.1f} GiB",
        hint=hint,
    )


def _can_convert(opset: int) -> bool:
    installed = all(find_spec(package) is not None for package in ("tensorflow", "tf2onnx"))
    return installed and opset in CONVERTED and bool(keras.backend.backend() == "tensorflow")
