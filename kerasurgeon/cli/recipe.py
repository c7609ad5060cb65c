"""``kerasurgeon recipe``: check recipes, and begin new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import check_input
from kerasurgeon.cli.pass_source import Option, check_pass_name, import_pass, installed_passes, read_pass
from kerasurgeon.cli.startup import start_keras

app = typer.Typer(help="Check a recipe file, or begin a new one.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe: .toml or .json.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Check that a recipe can be run: its keys, passes, options and their values."""
    check_input(file, (".toml", ".json"), "recipe")
    with activity() as now:
        start_keras(now)
        from kerasurgeon.rewrite.recipe import read_recipe

        recipe = read_recipe(file)
        passes = recipe.make_passes()
    if json:
        steps = [{"name": item.name, "options": {k: str(v) for k, v in item.options.items()}} for item in passes]
        show_json({"recipe": str(file), "seed": recipe.seed, "verify": recipe.verify, "passes": steps})
        return
    table = Table(title=f"{file}: seed {recipe.seed}, verify {recipe.verify}", title_justify="left")
    table.add_column("pass")
    table.add_column("options", overflow="fold")
    for item in passes:
        table.add_row(item.name, ", ".join(f"{key}={value!r}" for key, value in item.options.items()) or "none")
    show(table, "the recipe can be run")


@app.command()
def new(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The passes, in order.", show_default=False)],
) -> None:
    """Print a recipe with these passes, all their options as comments: redirect it to a file and edit it."""
    lines = ["seed = 0", 'verify = "exact"  # structure, types, exact, outputs']
    for name in names:
        check_pass_name(name)
        found = read_pass(name, installed_passes().get(name, name))
        if found is None:
            with activity() as now:
                start_keras(now)
                found = import_pass(name)
        lines += ["", f"[[pass]]  # {found.summary}", f'name = "{name}"']
        lines += [_line(option) for option in found.options]
    show("\n".join(lines))


def _line(option: Option) -> str:
    """An option at its default, as a comment: what is in force without it."""
    meaning = f"{option.type}: {option.doc}" if option.doc else option.type
    if option.default == "required":
        return f"{option.name} =   # required. {meaning}"
    value = {"True": "true", "False": "false", "None": "none"}.get(option.default, option.default)
    return f"# {option.name} = {value}  # {meaning}"
