"""``kerasurgeon export``: write a model in other formats."""

from __future__ import annotations

from typing import Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.writing import file_notes, files_table, plan, write_all


def export(
    model: options.Model,
    output: options.Outputs,
    overwrite: options.Overwrite = False,
    quantize: options.Quantise = None,
    calibration: options.Calibration = None,
    integer_io: options.IntegerIo = False,
    int8_weights: options.Int8Weights = "auto",
    batch_size: options.BatchSize = "auto",
    opset: options.Opset = None,
    inputs: options.Inputs = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs that outputs are compared on.")] = 0,
    unsafe: options.Unsafe = False,
    custom_objects: options.CustomObjects = None,
    json: options.Json = False,
) -> None:
    """Write a model as .keras, .tflite or .onnx.

    Each file is run on its runtime and compared with the model before it is put in place. A float32 file that
    differs by more than 1e-3 relative is an error and is not kept.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    writing = plan(
        output,
        others=[model],
        overwrite=overwrite,
        quantize=quantize,
        calibration=calibration,
        integer_io=integer_io,
        int8_weights=int8_weights,
        batch_size=batch_size,
        opset=opset,
        inputs=inputs,
        seed=seed,
    )
    with activity() as now:
        start_keras(now)
        loaded = load_model(model, now, unsafe=unsafe, custom_objects=custom_objects)
        reports = write_all(loaded, writing, now)
    if json:
        show_json({"files": [report.to_dict() for report in reports]})
    else:
        show(files_table(reports), *file_notes(reports))
