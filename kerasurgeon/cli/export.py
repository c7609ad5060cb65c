"""``kerasurgeon export``: write a model in other formats."""

from __future__ import annotations

from typing import Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input
from kerasurgeon.cli.groups import Formats, Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.writing import file_notes, files_table, plan, write_all


@grouped
def export(
    *,
    model: options.Model,
    output: options.Outputs,
    overwrite: options.Overwrite = False,
    formats: Formats,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs that outputs are compared on.")] = 0,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Write a model as .keras, .tflite or .onnx.

    Each file is run on its runtime and compared with the model before it is put in place. A float32 file that
    differs by more than 1e-3 relative is an error and is not kept.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    writing = plan(output, formats, others=[model], overwrite=overwrite, seed=seed)
    with activity() as now:
        start_keras(now)
        loaded = load_model(model, now, loading)
        reports = write_all(loaded, writing, now)
    if json:
        show_json({"files": [report.to_dict() for report in reports]})
    else:
        show(files_table(reports), *file_notes(reports))
