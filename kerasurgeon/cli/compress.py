"""``kerasurgeon compress``: run passes over a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, as_json, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_outputs, read_arrays, write_text
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.steps import check_steps, recipe_of
from kerasurgeon.cli.writing import file_notes, files_table, plan, write_all

if TYPE_CHECKING:
    from kerasurgeon.cost import CostComparison
    from kerasurgeon.export import ExportReport
    from kerasurgeon.rewrite.pipeline import Result


def compress(
    model: options.Model,
    output: options.Outputs,
    recipe: options.RecipeFile = None,
    pass_: options.Passes = None,
    settings: options.Settings = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="All random choices follow from it.", show_default="the recipe's, else 0"),
    ] = None,
    verify: options.VerifyLevel = None,
    data: options.Data = None,
    report: options.ReportFile = None,
    save_recipe: options.SaveRecipe = None,
    overwrite: options.Overwrite = False,
    quantize: options.Quantise = None,
    calibration: options.Calibration = None,
    integer_io: options.IntegerIo = False,
    batch_size: options.BatchSize = "auto",
    opset: options.Opset = None,
    inputs: options.Inputs = None,
    unsafe: options.Unsafe = False,
    custom_objects: options.CustomObjects = None,
    json: options.Json = False,
) -> None:
    """Run passes over a model, and write the result as .keras, .tflite or .onnx.

    After each pass the graph is verified; each file is run and compared with the model before it is put in place.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    check_steps(recipe, pass_ or [], settings or [])
    others = [path for path in (model, recipe) if path]
    for path, suffixes in ((report, (".json",)), (save_recipe, (".toml", ".json"))):
        if path:
            check_outputs([path], suffixes, overwrite=overwrite, others=others)
            others.append(path)
    writing = plan(
        output,
        others=others,
        overwrite=overwrite,
        quantize=quantize,
        calibration=calibration,
        integer_io=integer_io,
        batch_size=batch_size,
        opset=opset,
        inputs=inputs,
        seed=seed or 0,
    )
    arrays = read_arrays(data, "file of data")
    with activity() as now:
        start_keras(now)
        from kerasurgeon.cost import compare_costs, cost
        from kerasurgeon.rewrite.pipeline import Pipeline

        steps = recipe_of(recipe, pass_ or [], settings or [], seed=seed, verify=verify and str(verify))
        pipeline = Pipeline.from_recipe(steps)
        loaded = load_model(model, now, unsafe=unsafe, custom_objects=custom_objects)
        now.phase("running the passes")
        result = pipeline.run(loaded, data=arrays, progress=now.tell)
        costs = compare_costs(cost(loaded), cost(result.graph))
        files = write_all(result.model, writing, now)
        document = _document(model, result, costs, files)
        if report:
            write_text(report, as_json(document))
        if save_recipe:
            result.recipe.save(save_recipe)
    if json:
        show_json(document)
    else:
        show(result.report.table(), *result.report.reasons(), *result.report.notes)
        show(costs.table(), files_table(files), *file_notes(files))


def _document(model: Path, result: Result, costs: CostComparison, files: list[ExportReport]) -> dict[str, object]:
    """What ``--json`` prints and ``--report`` writes."""
    return {
        "model": str(model),
        "report": result.report.to_dict(),
        "cost": costs.to_dict(),
        "files": [item.to_dict() for item in files],
        "recipe": result.recipe.to_dict(),
    }
