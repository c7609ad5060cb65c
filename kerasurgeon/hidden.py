"""Hidden folders to work in, which no killed process leaves for long, and places that one process has to itself.

A hidden folder holds a file that is locked as long as its process lives. Whoever works in the same place next removes
those that nobody holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kerasurgeon.errors import OptionError
from kerasurgeon.file_errors import file_error

try:
    import fcntl
except ImportError:  # not on Windows: there what killed processes left stays, and no place is kept to one process
    fcntl = None  # type: ignore[assignment]

_OURS = re.compile(r"\..*-[0-9a-f]{16}\.kerasurgeon")
_LOCK = ".lock"


@contextlib.contextmanager
def hidden(target: Path) -> Iterator[Path]:
    """A hidden folder beside a path, to work in; it is removed at the end, as are those that killed processes left.

    Args:
        target: Where what is made is to be; its folder is there.
    """
    sweep(target.parent)
    folder, lock = _claimed(target)
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files that nobody is to see; it is removed at the end.

    Raises:
        FileError: It cannot be made, or written to.
    """
    try:
        with hidden(Path(tempfile.gettempdir(), "scratch")) as place:
            folder = place / "files"
            folder.mkdir()
            yield folder
    except OSError as error:
        hint = "make room there, or set TMPDIR to another folder"
        raise file_error(tempfile.gettempdir(), error, what="temporary file", hint=hint) from error


def sweep(folder: Path) -> None:
    """Remove the hidden folders in a folder whose processes are gone: nobody holds their locks."""
    if fcntl is None:
        return
    left: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left += [entry.path for entry in entries if _OURS.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    for path in left:
        with contextlib.suppress(OSError):
            os.rmdir(path)  # one that was killed before it had locked
        with contextlib.suppress(OSError), Path(path, _LOCK).open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Keep all other processes and threads that ask for the same away from a folder or a file.

    Args:
        path: A folder that is there, or a file, whether it is there or not.

    Raises:
        OptionError: Another one is at work there.
        FileError: Nothing can be written there.
    """
    place = Path(path)
    try:
        place.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise file_error(place, error) from error
    path = place / _LOCK if place.is_dir() else place.with_name(f".{_short(place)}{_LOCK}")
    while True:
        try:
            file = path.open("ab")
        except OSError as error:
            raise file_error(place, error) from error
        try:
            _lock(file, wait=False)
        except BlockingIOError as error:
            file.close()
            raise OptionError(
                "Another process is at work there.",
                where=str(place),
                hint="wait until it has ended, or name another place",
            ) from error
        if _is_at(file, path):
            break
        file.close()  # whoever had it has removed it meanwhile
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what this module leaves there for a while."""
    return all(item.name == _LOCK or _OURS.fullmatch(item.name) for item in folder.iterdir())


def _claimed(target: Path) -> tuple[Path, IO[bytes]]:
    """A new hidden folder, and the file in it that is locked."""
    while True:
        folder = target.with_name(f".{_short(target)}-{secrets.token_hex(8)}.kerasurgeon")
        folder.mkdir(mode=0o700)
        try:
            lock = (folder / _LOCK).open("xb")
        except FileNotFoundError:  # swept by another process before there was a lock
            continue
        _lock(lock, wait=True)
        if _is_at(lock, folder / _LOCK):
            return folder, lock
        lock.close()


def _short(path: Path) -> str:
    """The beginning of a name: as much as leaves room for more."""
    return path.stem.encode()[:64].decode(errors="ignore")


def _lock(file: IO[bytes], *, wait: bool) -> None:
    """Lock a file, where there are locks: on a file system without them, nobody sweeps either.

    Raises:
        BlockingIOError: Another has locked it, and ``wait`` is false.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


__all__ = ["alone", "hidden", "is_empty", "scratch", "sweep"]
