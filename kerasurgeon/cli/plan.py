"""``kerasurgeon plan``: look at channel plans, and carry them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_side_files, read_arrays
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.pages import REPORTS, write_report
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.startup import start_keras

app = typer.Typer(help="Look at a channel plan: which channels of a model are kept.", no_args_is_help=True)


@app.command(name="show")
@grouped
def show_plan(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 (.hdf5) file.", show_default=False)],
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan: .json.", show_default=False)],
    importance: Annotated[
        str, typer.Option(help="What matters least, where the plan gives numbers: as for PruneChannels.")
    ] = "l2",
    data: options.Data = None,
    allow_import: options.AllowImport = None,
    sizes: options.Sizes = None,
    report: options.PageFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Show what a plan would cut from a model, before anything goes; ``compress`` with ApplyPlan carries it out."""
    check_input(model, KERAS_SUFFIXES, "model file")
    check_input(plan, (".json",), "plan")
    check_side_files([(report, REPORTS)], overwrite=overwrite, read=[model, plan, data])
    arrays = read_arrays(data, "file of data")
    shapes = sizes_of(sizes)
    with activity() as now, allowing(allow_import, importance):
        start_keras(now)
        from kerasurgeon.channels.plan import ChannelPlan

        wanted = ChannelPlan.load(plan)
        if not wanted.kept:
            raise UsageError("Nothing to do: the plan names no layer.", where=str(plan))
        loaded = load_model(model, now, loading)
        now.phase("looking at the channels")
        found = wanted.show(loaded, importance=importance, data=arrays, sizes=shapes)
        shown = [found.table(), "what it costs", found.costs.table()]
        if report is not None:
            from kerasurgeon.exporting.outline import draw_one

            title, drawing = f"{plan.name} on {model.name}", draw_one(loaded, shapes)
            write_report(report, found.to_dict(), title=title, before=drawing, shown=shown, overwrite=overwrite)
    if json:
        show_json(found.to_dict())
    else:
        show(*shown)
