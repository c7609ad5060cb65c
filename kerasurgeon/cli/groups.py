"""Options that belong together, as one parameter of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, get_type_hints

from kerasurgeon.cli import options


@dataclass(frozen=True)
class Loading:
    """How a model file is loaded.

    Attributes:
        unsafe: Whether Python code inside the file may run.
        custom_objects: Modules to import first, whose classes and functions the model may need.
    """

    unsafe: options.Unsafe = False
    custom_objects: options.CustomObjects = None


@dataclass(frozen=True)
class Formats:
    """How files of other formats are written and checked.

    Attributes:
        quantize: How .tflite and .onnx files are quantised.
        calibration: Data for int8.
        integer_io: Whether int8 .tflite files take and give int8.
        int8_weights: How int8 .onnx files store weights.
        accept: The largest RMS error of quantised files.
        batch_size: The batch size built into .tflite and .onnx files.
        opset: The version of ONNX's operators.
        writer: How .tflite and .onnx files are made.
        layout: The order of axes of images in .onnx files.
        own_precision: Whether .onnx files compute in what the model does, and not in float32.
        inputs: What outputs are compared on.
    """

    quantize: options.Quantise = None
    calibration: options.Calibration = None
    integer_io: options.IntegerIo = False
    int8_weights: options.Int8Weights = "auto"
    accept: options.Accept = None
    batch_size: options.BatchSize = "auto"
    opset: options.Opset = None
    writer: options.Writer = "auto"
    layout: options.Layout = "keras"
    own_precision: options.OwnPrecision = False
    inputs: options.Inputs = None


@dataclass(frozen=True)
class Records:
    """What is written of a run beside its models.

    Attributes:
        report: Where to write the page of the run, or what ``--json`` prints.
        save_recipe: Where to write the recipe.
    """

    report: options.ReportFile = None
    save_recipe: options.SaveRecipe = None

    def files(self) -> list[tuple[Path | None, tuple[str, ...]]]:
        """The files, with the suffixes that each may have."""
        return [(self.report, (".html", ".json")), (self.save_recipe, (".toml", ".json"))]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command for Typer, of a function some of whose parameters are groups: each field is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=kind))
            continue
        groups[parameter.name] = kind
        types = get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(kind)
        ]

    def run(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run


__all__ = ["Formats", "Loading", "Records", "grouped"]
