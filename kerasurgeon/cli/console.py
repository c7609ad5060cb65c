"""What commands write: tables and text on standard output, progress on standard error."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from kerasurgeon.report.files import as_json

# Without a terminal there is no width to fit: wide enough for every table there is.
_FILE_WIDTH = 180
_PATIENCE_S = 1.0


def show(*items: Any) -> None:
    """Print tables and plain text to standard output."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, emoji=False, width=_FILE_WIDTH)
    for item in items:
        console.print(item, markup=False, soft_wrap=isinstance(item, str))


def note(text: str) -> None:
    """Print a remark to standard error, where it does not mix with results."""
    typer.echo(f"note: {text}", err=True)


def show_json(data: Any) -> None:
    """Print the one JSON document of a command."""
    typer.echo(as_json(data))


class Activity:
    """What a command is doing now. This one tells nobody."""

    def phase(self, label: str) -> None:
        """Begin something new, of unknown length until ``tell`` is called.

        Args:
            label: What is being done, as in ``loading model.keras``.
        """

    def tell(self, fraction: float, message: str) -> None:
        """How far the phase is.

        Args:
            fraction: In [0, 1].
            message: What it is doing.
        """


class _Bar(Activity):
    """A bar on a terminal, drawn from a thread of its own."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        line = Column(no_wrap=True, overflow="ellipsis")
        text = TextColumn("{task.description}", markup=False, table_column=line)
        columns = (SpinnerColumn(), BarColumn(24), TimeElapsedColumn(), text)
        # The streams are redirected elsewhere while TensorFlow works; two redirections would undo each other.
        self.bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self.task = self.bar.add_task("", total=None)
        self.label = ""

    def phase(self, label: str) -> None:
        self.label = label
        self.bar.reset(self.task, total=None, description=label)

    def tell(self, fraction: float, message: str) -> None:
        self.bar.update(self.task, total=1.0, completed=fraction, description=f"{self.label}: {message}")


@contextmanager
def activity() -> Iterator[Activity]:
    """Show what is going on, if standard error is a terminal and it takes over a second."""
    if not sys.stderr.isatty():
        yield Activity()
        return
    # A duplicate, which stays on the terminal while standard error itself is silenced.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stream:
        bar = _Bar(Console(file=stream))
        timer = threading.Timer(_PATIENCE_S, bar.bar.start)
        timer.daemon = True
        timer.start()
        try:
            yield bar
        finally:
            timer.cancel()
            timer.join()
            bar.bar.stop()
