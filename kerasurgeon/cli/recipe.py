"""``kerasurgeon recipe``: check recipes, and begin new ones."""

from __future__ import annotations

import ast
import json as json_module
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import typer

from kerasurgeon.atomic import write_text
from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import check_input, check_outputs
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.pass_source import Option, check_pass_name, import_pass, installed_passes, read_pass
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.steps import refuse_idle
from kerasurgeon.report import grid

app = typer.Typer(help="Check a recipe file, or begin a new one.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe: .toml or .json.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Check that a recipe of passes, or of `kerasurgeon shunt`, can be run: its keys, passes, options and their values.

    Nothing is imported that is not kerasurgeon's; what was not checked for that reason is named.
    """
    check_input(file, (".toml", ".json"), "recipe")
    with activity() as now:
        start_keras(now)
        from kerasurgeon.rewrite.recipe import read_content, read_recipe

        content, _, _ = read_content(file)
        if isinstance(content, dict) and "pass" not in content and content.keys() & _steps():
            _show_procedure(file, json)
            return
        recipe = read_recipe(file)
        passes, unseen = recipe.check()
        refuse_idle(recipe, passes)
    if json:
        steps = [{"name": item.name, "options": {k: str(v) for k, v in item.options.items()}} for item in passes]
        head = {"recipe": str(file), "seed": recipe.seed, "verify": recipe.verify}
        show_json({**head, "passes": steps, "not_checked": unseen})
        return
    rows = [
        (item.name, ", ".join(f"{key}={value!r}" for key, value in item.options.items()) or "none") for item in passes
    ]
    table = grid(("pass", "options"), rows, left=("pass", "options"))
    so_far = ", as far as it was checked" if unseen else ""
    show(f"{file} can be run{so_far}: seed {recipe.seed}, verify {recipe.verify}", table)
    for name in unseen:
        show(f"not checked: {name}, since checking a recipe imports nothing that is not kerasurgeon's")


def _steps() -> set[str]:
    from kerasurgeon.workflows.procedure.keys import STEPS

    return set(STEPS)


def _show_procedure(file: Path, json: bool) -> None:
    """Check a recipe of the shunt procedure, and show its steps."""
    from kerasurgeon.trust import is_own, names_in
    from kerasurgeon.workflows.procedure.keys import NAMING, STEPS
    from kerasurgeon.workflows.procedure.recipe import read_procedure

    recipe = read_procedure(file)
    keys = {step: {**recipe[step], **recipe.arguments[step]} for step in STEPS}
    named = [name for step in STEPS for key in NAMING if key in recipe[step] for name in names_in(recipe[step][key])]
    unseen = sorted({name for name in named if ":" in name and not is_own(name)})
    if json:
        steps = [{"name": step, "runs": recipe.runs(step), "keys": keys[step]} for step in STEPS]
        show_json({"recipe": str(file), "seed": recipe.seed, "steps": steps, "not_checked": unseen})
        return
    given = {step: recipe.given.get(step, {}) for step in STEPS}
    rows = [
        (step, ", ".join(f"{key}={value!r}" for key, value in given[step].items()) or "as by default")
        if recipe.runs(step)
        else (step, "left out")
        for step in STEPS
    ]
    so_far = ", as far as it was checked" if unseen else ""
    show(
        f"{file} can be run by kerasurgeon shunt{so_far}: seed {recipe.seed}",
        grid(("step", "keys"), rows, left=("step", "keys")),
    )
    for name in unseen:
        show(f"not checked: {name}, since checking a recipe imports nothing that is not kerasurgeon's")


# What a recipe of passes begins with, by what it is for: passes, and options that have to be chosen.
_BEGINNINGS: dict[str, dict[str, dict[str, object]]] = {
    "compress": {"PruneChannels": {"macs": 0.5}, "FoldBatchNorm": {}, "Simplify": {}},
    "tucker": {"TuckerSplit": {"energy": 0.9}, "FoldBatchNorm": {}},
    "morphnet": {"MorphNetShrink": {}, "Expand": {"macs": 1.5}},
    "optimize": {"FoldBatchNorm": {}, "Simplify": {}, "MergeBlocks": {}, "RemoveDeadChannels": {}},
}


@app.command()
def new(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help=f"The passes, in order; or what it is for: shunt, {', '.join(_BEGINNINGS)}.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, options.option("Write it to a file.", "--output", "-o", metavar="FILE.toml")] = None,
    overwrite: options.Overwrite = False,
    allow_import: options.AllowImport = None,
) -> None:
    """Begin a recipe with these passes, or for this purpose, with all that may stand there: printed, or in a file."""
    if output is not None:
        check_outputs([output], (".toml",), overwrite=overwrite)
    text = _begun(names, allow_import)
    if output is None:
        show(text)
        return
    write_text(output, f"{text}\n", overwrite=overwrite)
    run = "shunt --recipe" if names == ["shunt"] else "compress MODEL --recipe"
    show(f"{output} is written: look through it, then: kerasurgeon {run} {output} ...")


def _begun(names: list[str], allow_import: list[str] | None) -> str:
    """The text of a recipe that begins with passes, or for a purpose."""
    if names == ["shunt"]:
        with activity() as now:
            start_keras(now)
            from kerasurgeon.workflows.procedure.starting import starting_recipe
        return starting_recipe().rstrip("\n")
    chosen = _BEGINNINGS.get(names[0], {}) if len(names) == 1 else {}
    names = list(chosen) or names
    lines = ["seed = 0", 'verify = "exact"  # structure, types, exact, outputs']
    for name in names:
        check_pass_name(name, ("shunt", *_BEGINNINGS))
        found = read_pass(name, installed_passes().get(name, name))
        if found is None:
            with activity() as now, allowing(allow_import, name):
                start_keras(now)
                found = import_pass(name)
        lines += ["", *_comment(found.summary), "[[pass]]", f'name = "{name}"']
        for option in found.options:
            begins = chosen.get(name, {})
            line = f"{option.name} = {_toml(begins[option.name])}" if option.name in begins else _line(option)
            lines += ["", *_comment(f"{option.doc} ({option.type})"), line]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return wrap(text, 100, initial_indent="# ", subsequent_indent="# ")


def _line(option: Option) -> str:
    """An option at its default, as a comment: what is in force without it."""
    if option.default == "required":
        return f"{option.name} =  # required"
    try:
        value = _toml(ast.literal_eval(option.default))
    except ValueError:  # an expression, such as field(default_factory=dict)
        value = option.default
    return f"# {option.name} = {value}"


def _toml(value: object) -> str:
    # Numbers, texts, lists and truth values look the same in TOML and JSON.
    return "(not set)" if value is None else json_module.dumps(value)
