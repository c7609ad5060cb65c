"""``kerasurgeon passes``: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, note, show, show_json
from kerasurgeon.cli.imports import allowing
from kerasurgeon.cli.pass_source import PassDoc, check_pass_name, import_pass, installed_passes, read_pass
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.errors import KerasurgeonError


def passes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One pass, or module:Class, with its options.", show_default=False),
    ] = None,
    allow_import: options.AllowImport = None,
    json: options.Json = False,
) -> None:
    """List the passes that are installed, or show one with its options."""
    if name is not None:
        check_pass_name(name)
        with allowing(allow_import, name):
            found = _describe(name)
        if json:
            show_json(found.to_dict())
        else:
            _show_one(found)
        return
    every = []
    for known in sorted(installed_passes()):
        try:
            every.append(_describe(known))
        except KerasurgeonError as error:  # one broken package must not hide the others
            note(f"the pass {known!r} is installed but cannot be imported: {error.got or error.what}")
    if json:
        show_json({"passes": [item.to_dict() for item in every]})
    else:
        show(_table(every), "`kerasurgeon passes NAME` shows what a pass does and what its options mean.")


def _describe(name: str) -> PassDoc:
    found = read_pass(name, installed_passes().get(name, name))
    if found is not None:
        return found
    with activity() as now:
        start_keras(now)
        return import_pass(name)


def _table(passes: list[PassDoc]) -> Table:
    table = Table(title="passes", title_justify="left", show_lines=True)
    for column in ("pass", "outputs", "what it does", "options"):
        table.add_column(column, overflow="fold")
    for item in passes:
        shown = ", ".join(
            option.name if option.default == "required" else f"{option.name}={option.default}"
            for option in item.options
        )
        table.add_row(item.name, item.preserves, item.summary, shown or "none")
    return table


def _show_one(item: PassDoc) -> None:
    # The options get a table of their own, below.
    lines, skipping = [f"{item.name} ({item.path}), outputs: {item.preserves}", ""], False
    for line in item.doc.splitlines():
        if line.strip() and not line.startswith(" "):
            skipping = line.strip() == "Args:"
        if not skipping:
            lines.append(line)
    show("\n".join(lines).rstrip() + "\n")
    if not item.options:
        show("It takes no options.")
        return
    table = Table(title="options", title_justify="left", show_lines=True)
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for option in item.options:
        table.add_row(option.name, option.type, option.default, option.doc)
    show(table)
