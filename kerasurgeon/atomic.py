"""Files that appear whole or not at all: written beside their place, and moved there when they are done."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """Give a path beside a file's place; what is written to it is moved there if the block succeeds.

    If the block fails, what was written is removed, and a file that was there before stays as it was. A link stays a
    link: the file it points to is replaced.

    Args:
        path: Where the file is to be.

    Yields:
        The path to write to; it has the suffix of ``path``.

    Raises:
        OSError: The file cannot be written, or the block did not write it.
    """
    target = Path(os.path.realpath(path))
    temporary = beside(target)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A new name, hidden, in the directory of a file, with its suffix."""
    return path.with_name(f".{path.stem[:64]}-{secrets.token_hex(4)}{path.suffix}")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


__all__ = ["beside", "staged", "write_text"]
