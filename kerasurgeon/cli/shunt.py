"""``kerasurgeon shunt``: the ten steps of the shunt procedure, by a recipe."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import Activity, activity, show, show_json
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import check_input, check_side_files
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.startup import start_keras

if TYPE_CHECKING:
    from kerasurgeon.workflows.procedure import Procedure


def shunt(
    recipe: Annotated[
        Path | None, options.option("What to do: .toml or .json.", "--recipe", "-r", metavar="FILE")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            "-o",
            metavar="RUN",
            help="Where everything is kept. A folder of a run that was interrupted is gone on with, also "
            "without --recipe.",
            show_default="runs/DATE-TIME",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        options.option(
            "A value in place of the recipe's, as train_final.epochs=3. May be repeated.", "--set", metavar="KEY=VALUE"
        ),
    ] = None,
    report: Annotated[
        Path | None,
        options.option(
            "Also write a report: .html is a page with both networks, learning curves and quotients, .json what "
            "--json prints. Of a run that is done, too.",
            "--report",
            metavar="FILE",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    allow_import: options.AllowImport = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="Allow models, also those in RUN, to run Python code of their own (Lambda layers). "
            "Only for files that you trust.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Make a network smaller: train it, put small networks in place of its blocks, train those, train the whole.

    Everything is kept in a folder: models, histories, log, summary. Run it again with --folder to go on after an
    interruption: nothing is done twice.
    """
    if recipe is None and folder is None:
        raise UsageError(
            "There is nothing to do.", expected="--recipe FILE, or --folder RUN of a run that was interrupted"
        )
    if recipe is not None:
        check_input(recipe, (".toml", ".json"), "recipe")
    elif changes:
        raise UsageError("--set changes a recipe.", hint="add --recipe FILE: a run goes on as it was begun")
    check_side_files([(report, (".html", ".json"))], overwrite=overwrite, read=[recipe])
    values = _values(changes or ())
    with activity() as now, allowing(allow_import, values):
        start_keras(now)
        procedure, folder = _procedure(recipe, folder, values, unsafe=unsafe)
        flags = [part for name in allow_import or () for part in ("--allow-import", name)] + ["--unsafe"] * unsafe
        flags += ["--report", str(report)] * (report is not None) + ["--overwrite"] * overwrite + ["--json"] * json
        result = _run(procedure, folder, now, flags)
        if report is not None:
            now.phase(f"writing {report.name}")
            result.save(report, overwrite=overwrite)
    if json:
        show_json({"folder": str(result.folder), **result.summary})
    else:
        show(result.table(), *result.lines(), f"models, histories, log and summary are in {result.folder}")


def _procedure(
    recipe: Path | None, folder: Path | None, values: dict[str, Any], *, unsafe: bool
) -> tuple[Procedure, Path]:
    from kerasurgeon.workflows.procedure import Procedure, RunFolder

    if recipe is None:
        assert folder is not None
        return Procedure.resume(folder, unsafe=unsafe), folder
    procedure = Procedure.from_recipe(recipe, changes=values, unsafe=unsafe)
    # Made now, so that its name is known if the run is interrupted.
    return procedure, RunFolder.new(folder, procedure.recipe).path


def _run(procedure: Procedure, folder: Path, now: Activity, flags: list[str]) -> Any:
    try:
        return procedure.run(folder, phase=now.phase, progress=now.tell)
    except KeyboardInterrupt:
        again = shlex.join(["kerasurgeon", "shunt", "--folder", str(folder), *flags])
        typer.echo(f"\nInterrupted. To go on: {again}", err=True)
        raise typer.Exit(130) from None


def _values(changes: Sequence[str]) -> dict[str, Any]:
    """What ``--set`` says: values as TOML writes them, or texts."""
    found: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise UsageError("--set needs a key and a value.", expected="KEY=VALUE", got=change)
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = text.strip()
    return found
