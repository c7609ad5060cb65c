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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kerasurgeon.errors import OptionError
from kerasurgeon.file_errors import file_error

try:
    import fcntl
except ImportError:  # not on Windows: there what killed processes left stays, and no place is kept to one process
    fcntl = None  # type: ignore[assignment]

_FOLDER = re.compile(r"\..*-[0-9a-f]{16}\.kerasurgeon")
_LOCK = re.compile(r"\.(.+\.)?lock\.kerasurgeon")
_HELD = ".held"
"""What is locked in a hidden folder."""

_TRIES, _PAUSE_S = 3, 0.02


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
    """Remove what is hidden in a folder and whose process is gone: nobody holds its lock."""
    if fcntl is None:
        return
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _LOCK.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), _unheld(entry.path) as lock:
                    if _is_at(lock, Path(entry.path)):  # else another has it by now
                        os.unlink(entry.path)
    for path in folders:
        with contextlib.suppress(OSError):
            os.rmdir(path)  # one that was killed before it had locked
        with contextlib.suppress(OSError), _unheld(os.path.join(path, _HELD)):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _unheld(path: str) -> Iterator[IO[bytes]]:
    """A lock that nobody holds, held while the block runs.

    Raises:
        OSError: Somebody does, or it cannot be told.
    """
    with open(path, "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock


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
    name = "lock.kerasurgeon"
    path = place / f".{name}" if place.is_dir() else place.with_name(f".{_short(place)}.{name}")
    file = _taken(path, place)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _taken(path: Path, place: Path) -> IO[bytes]:
    """The file of a lock, locked; see ``alone``."""
    tries = 0
    while True:
        try:
            file = path.open("ab")
        except OSError as error:
            raise file_error(place, error) from error
        try:
            _lock(file, wait=False)
        except BlockingIOError as error:
            file.close()
            tries += 1
            if tries == _TRIES:
                raise OptionError(
                    "Another process is at work there.",
                    where=str(place),
                    hint="wait until it has ended, or name another place",
                ) from error
            time.sleep(_PAUSE_S)  # or one looks only whether anybody holds it: see ``sweep``
            continue
        if _is_at(file, path):
            return file
        file.close()  # whoever had it has removed it meanwhile


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what this module leaves there for a while."""
    return all(_LOCK.fullmatch(item.name) or _FOLDER.fullmatch(item.name) for item in folder.iterdir())


def _claimed(target: Path) -> tuple[Path, IO[bytes]]:
    """A new hidden folder, and the file in it that is locked."""
    while True:
        folder = target.with_name(f".{_short(target)}-{secrets.token_hex(8)}.kerasurgeon")
        folder.mkdir(mode=0o700)
        try:
            lock = (folder / _HELD).open("xb")
        except FileNotFoundError:  # swept by another process before there was a lock
            continue
        _lock(lock, wait=True)
        if _is_at(lock, folder / _HELD):
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
