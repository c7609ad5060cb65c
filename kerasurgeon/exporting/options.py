"""The options of an export, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.exporting.onnx_convert import CONVERTED
from kerasurgeon.exporting.onnx_int8 import FORMS
from kerasurgeon.exporting.onnx_writer import WRITTEN
from kerasurgeon.keras_io import flatten_layers
from kerasurgeon.rewrite.option_checks import check_choice

Format = Literal["keras", "tflite", "onnx"]
FORMATS: dict[str, Format] = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx"}
QUANTIZATIONS = ("float16", "dynamic", "int8")
WRITERS = ("auto", "graph", "converter")
LAYOUTS = ("keras", "nchw")
PRECISIONS = ("float32", "own")
DEFAULT_OPSET = 17
# Per-channel int8 needs an axis on QuantizeLinear, which opset 13 brought.
_LEAST_INT8_OPSET = 13


@dataclass(frozen=True, slots=True)
class Options:
    """Options that fit each other.

    Args:
        format: The file's format.
        quantize: How to quantise; None for float32.
        integer_io: Whether an int8 TFLite file takes and gives int8.
        batch_size: The batch size to build in; None leaves it free.
        opset: The version of ONNX's operators.
        int8_weights: How an int8 ONNX file stores weights: ``auto`` or a name of `onnx_int8.FORMS`.
        writer: Which way a TFLite or ONNX file is made, one of ``WRITERS``.
        layout: The order of axes of images that an ONNX file takes and gives, one of ``LAYOUTS``.
        precision: In what an ONNX file computes, one of ``PRECISIONS``.
        stored: As what dtype large float32 weights are stored, if another.
    """

    format: Format
    quantize: str | None
    integer_io: bool
    batch_size: int | None
    opset: int
    int8_weights: str = "auto"
    writer: str = "auto"
    layout: str = "keras"
    precision: str = "float32"
    stored: str | None = None

    @property
    def turned(self) -> bool:
        """Whether images have their channels at place 1 in the file, and last in Keras."""
        return self.layout == "nchw"


def check_options(
    path: Path,
    *,
    quantize: Any,
    integer_io: bool,
    batch_size: Any,
    opset: Any,
    calibration: Any,
    int8_weights: Any = "auto",
    writer: Any = "auto",
    accept: Any = None,
    layout: Any = "keras",
    precision: Any = "float32",
) -> Options:
    """Check the options of an export against each other and against the format.

    Args:
        path: The file to write; its suffix says the format.
        quantize: See `kerasurgeon.export`.
        integer_io: See there.
        batch_size: See there.
        opset: See there.
        calibration: See there.
        int8_weights: See there.
        writer: See there.
        accept: See there.
        layout: See there.
        precision: See there.

    Raises:
        OptionError: An option has a value that it may not have, or does nothing for this format.
    """
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise OptionError(
            "The suffix does not name a format that can be exported.",
            where=str(path),
            expected=", ".join(FORMATS),
            got=path.suffix or "no suffix",
            hint=did_you_mean(path.suffix, FORMATS) if path.suffix else "add one of these suffixes",
        )
    _check_quantize(quantize, file_format)
    if integer_io and (quantize != "int8" or file_format != "tflite"):
        raise OptionError(
            "integer_io needs an int8 TFLite file.",
            got=f"quantize={quantize!r} and format {file_format}",
            hint="ONNX files keep a float32 interface and quantise inside"
            if file_format == "onnx"
            else "add quantize='int8' and calibration data, or leave integer_io out",
        )
    if calibration is not None and quantize != "int8":
        raise OptionError("Calibration data is of use for quantize='int8' only.", got=f"quantize={quantize!r}")
    _check_int8_weights(int8_weights, quantize, file_format)
    _check_writer(writer, file_format)
    if accept is not None:
        _check_accept(accept, quantize)
    _check_layout(layout, file_format, writer)
    _check_precision(precision, file_format, quantize, writer)
    return Options(
        file_format,
        quantize,
        integer_io,
        _check_batch_size(batch_size, file_format),
        _check_opset(opset, file_format, quantize, writer),
        int8_weights,
        writer,
        layout,
        precision,
        "float16" if quantize == "float16" else None,
    )


def _check_quantize(quantize: Any, file_format: Format) -> None:
    check_choice("", "quantize", quantize, (*QUANTIZATIONS, None))
    if quantize is not None and file_format == "keras":
        raise OptionError(
            f".keras files are not quantised (quantize={quantize!r}): they keep the model to train on.",
            hint="export a .tflite or .onnx file, or quantise the model itself with model.quantize('int8')",
        )


def _check_int8_weights(int8_weights: Any, quantize: Any, file_format: Format) -> None:
    check_choice("", "int8_weights", int8_weights, ("auto", *FORMS))
    if int8_weights != "auto" and (quantize != "int8" or file_format != "onnx"):
        raise OptionError(
            "int8_weights is of use for int8 ONNX files only.", got=f"quantize={quantize!r} and format {file_format}"
        )


def _check_accept(accept: Any, quantize: Any) -> None:
    if quantize is None:
        raise OptionError("accept is of use for quantised files only.", got="quantize=None")
    if not isinstance(accept, (int, float)) or isinstance(accept, bool) or not accept > 0:
        raise OptionError(
            "accept is no error that a file may have.",
            expected="a number above 0: the RMS error by the deviation of an output",
            got=repr(accept),
        )


def _check_layout(layout: Any, file_format: Format, writer: Any) -> None:
    check_choice("", "layout", layout, LAYOUTS)
    if layout != "keras" and (file_format != "onnx" or writer == "converter"):
        raise OptionError(
            "layout='nchw' is of use for ONNX files that are written from the graph.",
            got=f"format {file_format} and writer={writer!r}",
        )


def _check_precision(precision: Any, file_format: Format, quantize: Any, writer: Any) -> None:
    check_choice("", "precision", precision, PRECISIONS)
    if precision != "float32" and (file_format != "onnx" or quantize is not None or writer == "converter"):
        raise OptionError(
            "precision='own' is of use for ONNX files that are written from the graph and not quantised.",
            got=f"format {file_format}, quantize={quantize!r} and writer={writer!r}",
        )


def _check_writer(writer: Any, file_format: Format) -> None:
    check_choice("", "writer", writer, WRITERS)
    if writer != "auto" and file_format == "keras":
        raise OptionError(
            "writer is of use for .tflite and .onnx files only.", got=f"writer={writer!r} and format {file_format}"
        )


def _check_batch_size(batch_size: Any, file_format: Format) -> int | None:
    if batch_size == "auto":
        # A fixed batch gives TFLite cleaner graphs (ConvNeXtTiny: 1 partition instead of 73).
        return 1 if file_format == "tflite" else None
    if batch_size is None:
        return None
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError(
            "batch_size is no batch size.",
            expected="a whole number from 1, None for a free batch size, or 'auto'",
            got=repr(batch_size),
        )
    if file_format == "keras":
        raise OptionError(".keras files keep the model's own batch size.", where="batch_size", got=repr(batch_size))
    return batch_size


def _check_opset(opset: Any, file_format: Format, quantize: Any, writer: str) -> int:
    if opset is None:
        return DEFAULT_OPSET
    if file_format != "onnx":
        raise OptionError("opset is of use for .onnx files only.", got=f"opset={opset!r} and format {file_format}")
    ways = {"graph": WRITTEN, "converter": CONVERTED}.get(writer, range(CONVERTED.start, WRITTEN.stop))
    least = max(ways.start, _LEAST_INT8_OPSET if quantize == "int8" else 0)
    if isinstance(opset, bool) or not isinstance(opset, int) or not least <= opset < ways.stop:
        why = f" for quantize={quantize!r}" if least != ways.start else f" for writer={writer!r}" * (writer != "auto")
        raise OptionError(
            "This ONNX opset cannot be written.",
            where="opset",
            expected=f"{least} to {ways.stop - 1}{why}",
            got=repr(opset),
        )
    return opset


def check_quantised_layers(model: keras.Model, file_format: Format) -> str | None:
    """Which layers, if any, Keras itself has quantised.

    Args:
        model: The model.
        file_format: The format it is exported to.

    Returns:
        The first such layer's name where that format cannot hold it, else None.
    """
    if file_format != "tflite":
        return None
    for layer in flatten_layers(model):
        if getattr(layer, "quantization_mode", None):
            return str(layer.name)
    return None
