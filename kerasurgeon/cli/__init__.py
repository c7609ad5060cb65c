"""The command line, ``kerasurgeon``. What it does, it does with the public API.

Exit status: 0, 1 (the work failed, or two models differ), 2 (a wrong command: options, also of passes where only the
model tells, recipes, missing files, files in the way; nothing was written), 130 (Ctrl-C). Results go to standard
output, everything else to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line and exit."""
    # `kill` and a closed terminal end a process on the spot; as an exception they let unfinished files be removed.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    arguments = sys.argv[1:]
    if "--debug" in arguments:  # allowed anywhere, while Typer wants it before the command
        arguments = ["--debug", *(item for item in arguments if item != "--debug")]
    try:
        from kerasurgeon.cli.app import app

        app(args=arguments, prog_name="kerasurgeon")
    except KeyboardInterrupt:  # before a command has started; `app` handles the rest
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # standard output cannot be written to, and Typer was writing there by itself
        if "--debug" in arguments:
            raise
        _refused(error)
    finally:
        _flush()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _flush() -> None:
    """Write out what is buffered; a reader that has gone (``| head``) is not an error worth a word."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _refused(error)


def _refused(error: OSError) -> None:
    """Say that standard output cannot be written to, and leave; what it still holds goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"error: The output cannot be written: {error.strerror or error}.\n")
        sys.exit(1)


__all__ = ["main"]
