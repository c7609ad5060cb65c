"""The application: its commands, and what happens to errors."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kerasurgeon.cli import (
    blocks,
    change,
    compare,
    compress,
    convert,
    demo,
    diff,
    explain,
    export,
    inspect,
    morphnet,
    passes,
    plan,
    plot,
    recipe,
    shunt,
    tucker,
)
from kerasurgeon.cli.errors import exit_code, show_error
from kerasurgeon.errors import KerasurgeonError


class Commands(TyperGroup):
    """The commands. An error of kerasurgeon becomes a message and an exit status, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("\nInterrupted; no unfinished file was left behind.", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader has gone, as in `| head`
            raise typer.Exit(1) from None
        except Exception as error:
            # Typer's own exceptions carry the exit status that they stand for.
            if hasattr(error, "exit_code") or ctx.params.get("debug"):
                raise
            show_error(error)
            raise typer.Exit(exit_code(error)) from None


app = typer.Typer(
    name="kerasurgeon",
    cls=Commands,
    help="Model surgery for Keras 3: shrink a trained model, and prove that what ships computes what it should.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from kerasurgeon import __version__

        typer.echo(f"kerasurgeon {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors. May stand anywhere.")] = False,
) -> None:
    """Options of all commands."""


app.command("inspect")(inspect.inspect)
app.command("blocks")(blocks.blocks)
app.command("compress")(compress.compress)
app.command("tucker")(tucker.tucker)
app.command("shunt")(shunt.shunt)
app.command("morphnet")(morphnet.morphnet)
app.command("plot")(plot.plot)
app.command("change")(change.change)
app.command("convert")(convert.convert)
app.command("export")(export.export)
app.command("compare")(compare.compare)
app.command("diff")(diff.diff)
app.command("explain")(explain.explain)
app.command("passes")(passes.passes)
app.add_typer(recipe.app, name="recipe")
app.add_typer(plan.app, name="plan")
app.command("demo")(demo.demo)

__all__ = ["KerasurgeonError", "app"]
