"""Files that appear whole or not at all: written in a hidden folder beside their place, moved when they are done."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasurgeon.errors import FileError, KerasurgeonError
from kerasurgeon.file_errors import file_error, of_the_system
from kerasurgeon.hidden import hidden


@dataclass(frozen=True)
class AsSeen:
    """What was at a path at some moment: it may be replaced, what has come there since may not.

    Attributes:
        identity: Of the file; ``None`` where there was none.
    """

    identity: tuple[int, ...] | None

    @classmethod
    def now(cls, path: str | os.PathLike[str]) -> AsSeen:
        """What is there now."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return cls(None)
        return cls((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


Overwrite = bool | AsSeen
"""Whether a file that is there may be replaced; or only the one that was there at some moment."""


@contextlib.contextmanager
def staged(
    path: str | Path, *, overwrite: Overwrite = True, what: str = "file", kind: type[KerasurgeonError] = FileError
) -> Iterator[Path]:
    """Give a path to write to; what is there when the block ends is moved to its place.

    If the block fails, what was written is removed, and a file that was there before stays as it was. A link stays a
    link: the file it points to is replaced.

    Args:
        path: Where the file is to be.
        overwrite: Whether a file that is there then may be replaced. If not, and one has appeared meanwhile, what was
            written is kept beside it, under a name that the error says. With an ``AsSeen`` what was there at its moment
            may be replaced.
        what: What messages call it.
        kind: The class of errors.

    Yields:
        The path to write to; it has the name of ``path``, its suffix in lower case.

    Raises:
        FileError: The file cannot be written, the block did not write it, or another is there.
    """
    with staged_together([path], overwrite=overwrite, what=what, kind=kind) as (temporary,):
        yield temporary


@contextlib.contextmanager
def staged_together(
    paths: Sequence[str | Path],
    *,
    overwrite: Overwrite = True,
    what: str = "file",
    kind: type[KerasurgeonError] = FileError,
) -> Iterator[list[Path]]:
    """The same for files that belong together: with ``overwrite=False`` all of them are moved, or none.

    Args:
        paths: Where the files are to be, in one folder; moved in this order.
        overwrite: As for ``staged``.
        what: As for ``staged``.
        kind: As for ``staged``.
    """
    where = paths[0]
    try:
        targets = [_real(path) for path in paths]
        for path, target in reversed(list(zip(paths, targets, strict=True))):  # the last is what the user named
            where = path
            _check_place(Path(path), target, overwrite=overwrite, what=what, kind=kind)
        with hidden(targets[0]) as folder:
            temporaries = [folder / (target.stem + target.suffix.lower()) for target in targets]
            yield temporaries
            for path, temporary in zip(paths, temporaries, strict=True):
                where = path
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            try:
                _place(temporaries, targets, overwrite=overwrite)
            except FileExistsError as error:
                kept = _keep(temporaries, targets)
                raise _taken(error.filename, kept, what, kind) from error
    except KerasurgeonError:
        raise
    except Exception as error:
        found = of_the_system(error)
        if found is None:
            raise
        raise file_error(where, found, what=what, kind=kind) from error


@contextlib.contextmanager
def staged_folder(path: str | Path, *, overwrite: bool = False, what: str = "folder") -> Iterator[Path]:
    """Give a folder to write to; when the block ends, the files in it are moved to a folder.

    Args:
        path: The folder, which need not be there.
        overwrite: Whether files that are there then may be replaced. If not, and there are any, what was written is
            kept in a folder beside it, under a name that the error says.
        what: What messages call it.

    Yields:
        The folder to write to.

    Raises:
        FileError: The folder cannot be written, or is taken.
    """
    try:
        target = _real(path)
        with hidden(target / target.name if target.is_dir() else target) as place:
            folder = place / target.name
            folder.mkdir()
            yield folder
            with contextlib.suppress(OSError):  # the folder is there, and not empty
                os.rename(folder, target)
                return
            files = sorted(folder.iterdir())
            try:
                _place(files, [target / file.name for file in files], overwrite=overwrite)
            except FileExistsError as error:
                kept = _keep([folder], [target])
                raise _taken(error.filename, kept, what, FileError) from error
    except OSError as error:
        raise file_error(path, error, what=what) from error


def write_text(
    path: str | Path,
    text: str,
    *,
    overwrite: Overwrite = True,
    what: str = "file",
    kind: type[KerasurgeonError] = FileError,
) -> None:
    """Write a text file in UTF-8; see ``staged``.

    Raises:
        FileError: It cannot be written; what was there before stays.
    """
    with staged(path, overwrite=overwrite, what=what, kind=kind) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(
    path: Path, *, overwrite: Overwrite, what: str = "file", kind: type[KerasurgeonError] = FileError
) -> None:
    """Check, before any work is done, that a file can be written.

    Args:
        path: Where the file is to be.
        overwrite: Whether a file that is there may be replaced.
        what: What messages call it.
        kind: The class of errors.

    Raises:
        FileError: It cannot, and why.
    """
    try:
        target = _real(path)
        _check_place(Path(path), target, overwrite=overwrite, what=what, kind=kind)
        with hidden(target):
            pass
    except OSError as error:
        raise file_error(path, error, what=what, kind=kind) from error


def make_folder(path: Path, what: str = "folder") -> None:
    """Make a folder, and those that it is in, where they are not there.

    Raises:
        FileError: It cannot be made.
    """
    try:
        _real(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(path, error, what=what, doing="made") from error


def _real(path: str | os.PathLike[str]) -> Path:
    """A path without links.

    Raises:
        OSError: It cannot be one.
    """
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a zero byte
        raise OSError(errno.EINVAL, str(error)) from error


def _check_place(path: Path, target: Path, *, overwrite: Overwrite, what: str, kind: type[KerasurgeonError]) -> None:
    if target.is_dir():
        raise kind(
            f"The {what} cannot be written: the path is a directory.",
            where=str(path),
            hint="add a file name, as in model.tflite",
        )
    if not target.parent.is_dir():
        missing = not target.parent.exists()
        raise kind(
            f"The {what} cannot be written: its folder " + ("does not exist." if missing else "is a file."),
            where=str(path),
            hint=f"create it first: mkdir -p {path.parent}" if missing else "choose another path",
        )
    try:
        target.stat()
    except FileNotFoundError:
        return
    if overwrite is False:
        raise kind(
            f"The {what} exists already." if what == "file" else f"The file of the {what} exists already.",
            where=str(path),
            hint="choose another name, or pass overwrite=True",
        )


def _place(temporaries: Sequence[Path], targets: Sequence[Path], *, overwrite: Overwrite) -> None:
    """Move files to their places; without ``overwrite`` all of them or none.

    Raises:
        FileExistsError: A file is there.
    """
    if _may_replace(targets[0], overwrite):
        for temporary, target in zip(temporaries, targets, strict=True):
            os.replace(temporary, target)
        return
    done: list[tuple[Path, Path]] = []
    try:
        for temporary, target in zip(temporaries, targets, strict=True):
            _place_anew(temporary, target)
            done.append((temporary, target))
    except OSError:
        for temporary, target in done:
            if temporary.exists():
                target.unlink()
            else:
                os.replace(target, temporary)
        raise


def _may_replace(target: Path, overwrite: Overwrite) -> bool:
    if isinstance(overwrite, AsSeen):
        return overwrite.identity is not None and overwrite == AsSeen.now(target)
    return overwrite


def _place_anew(temporary: Path, target: Path) -> None:
    """Give a file its name, unless another has it: in one step, as no process can do between two.

    Raises:
        FileExistsError: Another has it.
    """
    try:
        if temporary.is_dir():
            target.mkdir()
            os.rename(temporary, target)
        else:
            os.link(temporary, target)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
    except OSError:  # a file system without hard links: an empty file takes the name first
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, target)


def _keep(temporaries: Sequence[Path], targets: Sequence[Path]) -> list[Path]:
    """Move files to the first names with a number that are free; nowhere if that fails too."""
    with contextlib.suppress(OSError):
        for number in range(2, 1000):
            kept = [target.with_name(f"{target.stem}-{number}{target.suffix}") for target in targets]
            with contextlib.suppress(FileExistsError):
                _place(temporaries, kept, overwrite=False)
                return kept
    return []


def _taken(path: str, kept: Sequence[Path], what: str, kind: type[KerasurgeonError]) -> KerasurgeonError:
    """The error for a file that has appeared where another was to be put."""
    names = ", ".join(map(str, kept))
    return kind(
        f"The {what} cannot be put in its place: another process has put a file there meanwhile, which stays.",
        where=path,
        got=f"what was to be there is kept as {names}" if kept else "what was to be there could not be kept",
        hint="rename it, or choose another name, or pass overwrite=True" if kept else "choose another name",
    )


__all__ = [
    "AsSeen",
    "Overwrite",
    "check_place",
    "make_folder",
    "staged",
    "staged_folder",
    "staged_together",
    "write_text",
]
