"""``kerasurgeon plot``: the learning curves of a run, as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kerasurgeon.cli.console import activity, show
from kerasurgeon.cli.errors import UsageError, usage
from kerasurgeon.cli.files import check_outputs
from kerasurgeon.cli.startup import start_keras


def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIELD...]",
            help="What to draw: loss, accuracy, final/loss, ...",
            show_default="all but the learning rate",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf.")
    ] = Path("curves.png"),
    overwrite: Annotated[bool, typer.Option("--overwrite", "-f", help="Replace the file if it is there.")] = False,
) -> None:
    """Draw the learning curves of a run of `kerasurgeon shunt`: training and validation, one below the other."""
    if not os.path.isdir(run):
        raise UsageError("There is no such folder.", where=str(run))
    check_outputs([output], (".png", ".svg", ".pdf"), overwrite=overwrite)
    with activity() as now:
        start_keras(now)
        from kerasurgeon.report.pictures import plot_curves
        from kerasurgeon.workflows.procedure.plot import read_curves

        with usage():
            curves = read_curves(run, fields or ())
        now.phase(f"writing {output.name}")
        plot_curves(curves, output, title=run.resolve().name, overwrite=overwrite)
    show(f"{len(curves)} curves, written to {output}")
