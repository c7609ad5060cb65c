"""``kerasurgeon compress``: run passes over a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.carrying_out import carry_out
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_side_files, read_data
from kerasurgeon.cli.groups import Formats, Loading, Records, grouped
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.steps import check_steps, made_passes, recipe_of, typed_values, with_budget
from kerasurgeon.cli.writing import plan

if TYPE_CHECKING:
    from kerasurgeon.rewrite.pipeline import Pipeline


@grouped
def compress(
    *,
    model: options.Model,
    output: options.Outputs,
    recipe: options.RecipeFile = None,
    pass_: options.Passes = None,
    settings: options.Settings = None,
    macs: Annotated[
        float | None,
        options.option(
            "Instead of a recipe: keep this share of the multiply-accumulates (or this many), by Compress as it is: "
            "pruned, factorised, or both. With --data it keeps far more of the accuracy.",
            "--macs",
            metavar="SHARE",
        ),
    ] = None,
    unreachable: options.IfUnreachable = options.Unreachable.REFUSE,
    seed: Annotated[
        int | None, typer.Option(min=0, help="All random choices follow from it.", show_default="the recipe's, else 0")
    ] = None,
    verify: options.VerifyLevel = None,
    sizes: options.Sizes = None,
    data: options.Data = None,
    labels: options.Labels = None,
    allow_import: options.AllowImport = None,
    records: Records,
    overwrite: options.Overwrite = False,
    formats: Formats,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Run passes over a model, and write the result as .keras, .tflite or .onnx.

    After each pass the graph is verified; each file is run and compared with the model before it is put in place.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    pass_, settings = with_budget(macs, str(unreachable), recipe, pass_ or [], settings or [])
    check_steps(recipe, pass_, settings)
    shapes = sizes_of(sizes)
    others = check_side_files(records.files(), overwrite=overwrite, read=(model, recipe))
    writing = plan(output, formats, others=others, overwrite=overwrite, seed=seed or 0)
    arrays = read_data(data, labels)

    def make_pipeline() -> Pipeline:
        from kerasurgeon.rewrite.pipeline import Pipeline

        level = verify and str(verify)
        steps = recipe_of(recipe, pass_, settings, seed=seed, verify=level, sizes=shapes)
        made_passes(steps)
        return Pipeline.from_recipe(steps)

    with allowing(allow_import, [pass_, typed_values(settings)]):
        carry_out(
            model,
            make_pipeline,
            writing,
            data=arrays,
            records=records,
            loading=loading,
            json=json,
        )
