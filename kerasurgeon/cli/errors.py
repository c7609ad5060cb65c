"""Errors as the command line shows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from kerasurgeon.errors import KerasurgeonError, OptionError, PassError, PlanError, RecipeError
from kerasurgeon.file_errors import file_error, of_the_system

# Errors are written for Python. What they tell the user to pass is called something else here.
_SPOKEN = (
    (r"\b(safe_mode=False|unsafe=True)", "--unsafe"),
    (r"\ballow=\['?([\w.:]+)'?\]", r"--allow-import \1"),
    (r"\bcustom_objects=\{[^}]*\}", "--custom-objects MODULE"),
    (r"\boverwrite=True", "--overwrite"),
    (r"\bunreachable='nearest'", "--unreachable nearest"),
    (r"\bpartial=True", "--partial"),
    (r"\brename=\{[^}]*\}", "--rename PATTERN=NAME"),
    (r"\bcalibration=\w+", "--calibration FILE"),
    (r"\bapply_passes\(model, passes, data=\w+\)", "--data FILE"),
    (r"\bdata=some_inputs\b", "--data FILE"),
    (r"\binputs=(\.\.\.|\w+)", "--inputs FILE"),
    (r"\bsizes=", "--sizes"),
    (r"\b(quantize|verify|batch_size|opset|writer|layout|samples|seed)=['\"]?(\w+)['\"]?", r"--\1 \2"),
    (r"\binteger_io(=True)?\b", "--integer-io"),
    (r"\bprecision='own'", "--own-precision"),
    (r"\bint8_weights='(\w+)'", r"--int8-weights \1"),
    (r"\baccept=([\d.]+)", r"--accept \1"),
    (r"--batch_size\b", "--batch-size"),
    (r"report\.to_dict\(\)", "--json"),
)


class UsageError(KerasurgeonError):
    """The command asks for what cannot be; nothing was done."""


@contextmanager
def usage() -> Iterator[None]:
    """Turn what the block raises into a usage error: it only checks what the user wrote."""
    try:
        yield
    except UsageError:
        raise
    except KerasurgeonError as error:
        raise UsageError(
            error.what,
            where=error.where,
            expected=error.expected,
            got=error.got,
            hint=error.hint,
            context=error.context,
        ) from error


def exit_code(error: BaseException) -> int:
    """2 if the command was wrong, 1 if the work failed.

    What is wrong with an option may show only once a pass sees the model (a layer that there is not, data that does not
    fit): the pass has failed then, but by what the command said.
    """
    if isinstance(error, PassError) and error.__cause__ is not None:
        error = error.__cause__
    return 2 if isinstance(error, (UsageError, OptionError, PlanError, RecipeError)) else 1


def show_error(error: BaseException) -> None:
    """Write an error to standard error: kerasurgeon's own by its parts, any other in one line."""
    notes = getattr(error, "__notes__", ())
    error = _of_the_machine(error) or _of_the_system(error) or error
    if isinstance(error, KerasurgeonError):
        first, _, rest = spoken(str(error)).partition("\n")
    elif isinstance(error, MemoryError):
        first, rest = str(error) or type(error).__name__, ""
    else:
        lines = str(error).strip().splitlines() or [""]
        first = f"{type(error).__name__}: {lines[0]}"
        rest = "  this should not happen: please report it, with what `--debug` shows"
    rest = "\n".join([*filter(None, [rest]), *(f"  {note}" for note in notes)])
    typer.echo(typer.style("error: ", fg="red", bold=True) + first, err=True)
    if rest:
        typer.echo(rest, err=True)


def _of_the_machine(error: BaseException) -> KerasurgeonError | None:
    """The error in words, if the backend says that the machine lacks something; it is not loaded to find out."""
    if "keras" not in sys.modules:
        return None
    from kerasurgeon.keras_io.machine import cannot_run

    return cannot_run(error, "the model")


def _of_the_system(error: BaseException) -> KerasurgeonError | None:
    """The error in words, if the operating system has refused a file."""
    found = None if isinstance(error, KerasurgeonError) else of_the_system(error)
    if found is None:
        return None
    if found.filename is None:
        return file_error("standard output, or a file that the system does not name", found, what="output")
    return file_error(found.filename, found, doing="used")


def spoken(text: str) -> str:
    """The text of an error with Python's keywords replaced by the options of the command line."""
    for pattern, replacement in _SPOKEN:
        text = re.sub(pattern, replacement, text)
    return text
