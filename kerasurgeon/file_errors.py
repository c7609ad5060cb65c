"""What the operating system refuses, in words: which file, why, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kerasurgeon.errors import FileError, KerasurgeonError, did_you_mean

_SPACE = "make room there, or choose another place"
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EROFS: "the file system can only be read: choose another place",
    errno.ENAMETOOLONG: "choose a shorter name: most file systems take 255 bytes",
    errno.EINVAL: "choose another name: no file can have this one",
    errno.EISDIR: "name a file, not a folder",
    errno.EMFILE: "close files, or raise the limit: ulimit -n 4096",
    errno.ENFILE: "close files: the system has too many open",
    errno.EIO: "the device fails: copy what is there, and choose another place",
    errno.ELOOP: "links lead in a circle there: choose another path",
}
_MOST_TEXT = 1 << 28
"""The longest text that is read: many times the longest plan."""

# What stands behind the errors of libraries. HDF5 says the number in its text, TensorFlow the system's words.
_NUMBER = re.compile(r"\berrno = (\d+)")
_SPOKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.EACCES)


def file_error(
    path: str | os.PathLike[str],
    error: BaseException,
    *,
    what: str = "file",
    doing: str = "written",
    kind: type[KerasurgeonError] = FileError,
    hint: str | None = None,
) -> KerasurgeonError:
    """The error to raise for what the operating system said of a file.

    Args:
        path: The file or folder.
        error: What was raised.
        what: What messages call it: ``"plan of channels"``.
        doing: What could not be done: ``"written"`` or ``"read"``.
        kind: The class of the error.
        hint: What to do, where that is not for the error alone to say.
    """
    number = getattr(error, "errno", None)
    return kind(
        f"The {what} cannot be {doing}.",
        where=os.fsdecode(path),
        got=(number and os.strerror(number)) or str(error).strip() or type(error).__name__,
        hint=hint or _HINTS.get(number or 0) or _hint(Path(path), number, doing),
    )


def _hint(path: Path, number: int | None, doing: str) -> str:
    if number in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(path.parent):
        if os.path.lexists(path.parent) or number == errno.ENOTDIR:
            return f"choose another path: {path.parent} is no folder"
        return f"create the folder first: mkdir -p {path.parent}" if doing == "written" else "check the path"
    if number == errno.ENOENT:
        return nearest(path)
    if number in (errno.EACCES, errno.EPERM):
        return f"see who may do that: ls -ld '{path.parent}' '{path}'; or choose another place"
    return "check the path, the permissions of its folder and the free space, or choose another one"


def nearest(path: Path, suffixes: tuple[str, ...] = ()) -> str:
    """What may have been meant by the path of a file that is not there.

    Args:
        path: The path.
        suffixes: Those that count, in lower case; by default the path's own.
    """
    wanted = suffixes or (path.suffix.lower(),)
    with contextlib.suppress(OSError, ValueError):
        there = [item.name for item in path.parent.iterdir() if item.suffix.lower() in wanted]
        if there:
            return did_you_mean(path.name, there)
    return "check the path"


def of_the_system(error: BaseException) -> OSError | None:
    """The error of the operating system behind one that a library raised, if that is what it comes from."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        if isinstance(now, OSError) and (now is error or now.errno in _SPOKEN):
            return now
        text = str(now)
        found = _NUMBER.search(text)
        numbers = [int(found[1])] if found else [code for code in _SPOKEN if os.strerror(code) in text]
        if numbers:
            return OSError(numbers[0], os.strerror(numbers[0]))
        now = now.__cause__ or now.__context__
    return None


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], what: str = "file", kind: type[KerasurgeonError] = FileError
) -> Iterator[None]:
    """Let what the operating system says while a file is read be said in words.

    Args:
        path: The file.
        what: What messages call it.
        kind: The class of the error.
    """
    try:
        yield
    except OSError as error:
        raise file_error(path, error, what=what, doing="read", kind=kind) from error


def read_text(path: str | os.PathLike[str], what: str = "file", kind: type[KerasurgeonError] = FileError) -> str:
    """The text of a file.

    Args:
        path: The file.
        what: What messages call it.
        kind: The class of errors.

    Raises:
        KerasurgeonError: Of that class: it cannot be read, is no file (a device gives text without end) or absurdly
            long.
        UnicodeDecodeError: It is no UTF-8.
    """
    file = Path(path)
    with reading(path, what, kind):
        size = file.stat().st_size
        if not (file.is_file() or file.is_dir()) or size > _MOST_TEXT:
            got = f"{size:,} bytes, more than {_MOST_TEXT:,}" if file.is_file() else "a device, or a pipe"
            raise kind(f"The {what} cannot be read.", where=os.fsdecode(path), expected="a file of text", got=got)
        return file.read_text(encoding="utf-8")


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], what: str = "file") -> Iterator[None]:
    """The same for a file that is written otherwise than by ``atomic``: one that grows line by line.

    Args:
        path: The file.
        what: What messages call it.
    """
    try:
        yield
    except OSError as error:
        raise file_error(path, error, what=what) from error


def check_path(path: Path, what: str, kind: type[KerasurgeonError] = FileError) -> None:
    """Refuse a path at which nothing is, before it is read.

    Args:
        path: A file or a folder.
        what: What messages call it.
        kind: The class of the error.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        raise file_error(path, error, what=what, doing="read", kind=kind) from error


def check_file(path: Path, what: str, kind: type[KerasurgeonError] = FileError) -> None:
    """Refuse what is no file that is there, before it is read; see ``check_path``."""
    check_path(path, what, kind)
    with reading(path, what, kind), path.open("rb"):
        pass


__all__ = ["check_file", "check_path", "file_error", "nearest", "of_the_system", "read_text", "reading", "writing"]
