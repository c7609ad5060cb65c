"""Write a file beside its place and move it there when it is good."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kerasurgeon import atomic
from kerasurgeon.errors import ModelFileError


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check, before any work is done, that a file can be written.

    Args:
        path: Where the file is to be.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ModelFileError: It cannot, and why.
    """
    if path.is_dir():
        raise ModelFileError(
            "The path to write to is a directory.",
            where=str(path),
            hint="add a file name, as in model.tflite",
        )
    if not path.parent.is_dir():
        raise ModelFileError(
            "The directory to write to does not exist."
            if not path.parent.exists()
            else "The directory to write to is a file.",
            where=str(path.parent),
            hint=f"create it first: mkdir -p {path.parent}" if not path.parent.exists() else "choose another path",
        )
    if path.exists() and not overwrite:
        raise ModelFileError(
            "The file exists already.", where=str(path), hint="choose another name, or pass overwrite=True"
        )
    probe = atomic.beside(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary path in the target's directory; move it to the target if the block succeeds.

    If the block fails, the temporary file is removed and a file that was at the target before stays as it
    was.

    Args:
        path: Where the file is to be.

    Yields:
        The path to write to; it has the target's suffix.

    Raises:
        ModelFileError: The file cannot be written.
    """
    try:
        with atomic.staged(path) as temporary:
            yield temporary
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(
        "The file cannot be written.",
        where=str(path),
        got=error.strerror or str(error),
        hint="check the directory's permissions and the free space, or choose another path",
    )
