"""Files that a command is given, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import check_place, make_folder
from kerasurgeon.cli.errors import UsageError, usage
from kerasurgeon.file_errors import file_error, nearest, reading
from kerasurgeon.hidden import alone, hidden, is_empty

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
EXPORT_SUFFIXES = (".keras", ".tflite", ".onnx")
MODEL_SUFFIXES = (*KERAS_SUFFIXES, *EXPORT_SUFFIXES[1:])
ARRAY_SUFFIXES = (".npy", ".npz")


def check_input(path: Path, suffixes: Sequence[str], what: str) -> None:
    """Check that a file to be read is there and of a kind that can be.

    Args:
        path: The file.
        suffixes: The suffixes it may have.
        what: What it is, as in ``model file``.

    Raises:
        UsageError: It is not.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise UsageError(f"The {what} does not exist.", where=str(path), hint=nearest(path, tuple(suffixes))) from None
    except (OSError, ValueError) as error:
        raise file_error(path, error, what=what, doing="read", kind=UsageError) from error
    if path.is_dir():
        hint = f"name a file ending in {' or '.join(suffixes)}"
        if (path / "saved_model.pb").exists():
            hint = (
                "Keras 3 cannot read SavedModel folders as networks: where TensorFlow below 2.16 is installed, save it "
                "again by tf.keras.models.load_model(FOLDER).save('model.h5'), then `kerasurgeon convert` that"
            )
        raise UsageError(f"The {what} is a directory.", where=str(path), hint=hint)
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"The {what} is of a kind that cannot be read here.",
            where=str(path),
            expected=f"a name ending in {', '.join(suffixes)}",
            got=path.suffix or "no suffix",
        )
    with reading(path, what, UsageError):
        path.open("rb").close()


def check_outputs(
    paths: Sequence[Path], suffixes: Sequence[str], *, overwrite: bool, others: Sequence[Path] = ()
) -> None:
    """Check that files can be written, all of them.

    Args:
        paths: The files.
        suffixes: The suffixes they may have.
        overwrite: Whether files that are there may be replaced.
        others: What else the command reads or writes.

    Raises:
        UsageError: One of them cannot.
    """
    seen = {os.path.realpath(path) for path in others}
    for path in paths:
        if path.suffix.lower() not in suffixes:
            raise UsageError(
                "The suffix does not name a format that can be written.",
                where=str(path),
                expected=" or ".join(suffixes),
                got=path.suffix or "no suffix",
            )
        if os.path.realpath(path) in seen:
            raise UsageError("The same file is named twice.", where=str(path), hint="choose another name")
        seen.add(os.path.realpath(path))
        if os.path.isfile(path) and not overwrite:
            raise UsageError(
                "The file exists already.",
                where=str(path),
                hint="choose another name, or add --overwrite to replace it",
            )
        with usage():
            check_place(path, overwrite=True)


def check_folder(folder: Path, *, overwrite: bool, hint: str) -> None:
    """Check that a folder can be written to: a new or an empty one. Folders that it is in are made with it.

    Args:
        folder: The folder.
        overwrite: Whether it may hold files.
        hint: What to do where it does.

    Raises:
        UsageError: It cannot.
    """
    parent = Path(os.path.realpath(folder)).parent
    while not parent.exists():  # the root does
        parent = parent.parent
    try:
        folder.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise file_error(folder, error, what="folder", kind=UsageError) from error
    if folder.exists() and not folder.is_dir():
        raise UsageError("The folder to write to is a file.", where=str(folder), hint="choose another name")
    if folder.is_dir() and not overwrite and not is_empty(folder):
        raise UsageError("The folder is not empty.", where=str(folder), hint=hint)
    try:
        with hidden((folder if folder.is_dir() else parent) / "it"):
            pass
    except OSError as error:
        raise file_error(folder, error, what="folder", kind=UsageError) from error


@contextmanager
def claimed(folder: Path, *, overwrite: bool, hint: str) -> Iterator[None]:
    """A folder to write to, made where it is not there, and kept from other processes while the block runs.

    Args:
        folder: The folder, which ``check_folder`` has found good before.
        overwrite: As for ``check_folder``.
        hint: As for ``check_folder``.

    Raises:
        UsageError: Another process has written to it meanwhile.
        OptionError: Another process is at work in it.
    """
    there = folder.is_dir()
    make_folder(folder)
    try:
        with alone(folder):
            check_folder(folder, overwrite=overwrite, hint=hint)
            yield
    finally:
        if not there:
            with suppress(OSError):  # it holds what was made
                folder.rmdir()


def check_side_files(
    files: Sequence[tuple[Path | None, Sequence[str]]], *, overwrite: bool, read: Sequence[Path | None]
) -> list[Path]:
    """Check that the files which a command writes beside its models can be written, and differ from what it reads.

    Args:
        files: Those that were asked for, or None, each with the suffixes that it may have.
        overwrite: Whether files that are there may be replaced.
        read: What the command reads.

    Returns:
        What is read and what is written: no other file may be either.

    Raises:
        UsageError: One of them cannot be written.
    """
    taken = [path for path in read if path]
    for path, suffixes in files:
        if path:
            check_outputs([path], suffixes, overwrite=overwrite, others=taken)
            taken.append(path)
    return taken


def read_arrays(path: Path | None, what: str) -> Any:
    """The arrays of a .npy or .npz file.

    Args:
        path: The file; None for none.
        what: What it is, as in ``calibration file``.

    Returns:
        One array, or a mapping by name where a .npz file holds several; None without a file.

    Raises:
        UsageError: The file cannot be read.
    """
    if path is None:
        return None
    from kerasurgeon.array_files import load_arrays

    check_input(path, ARRAY_SUFFIXES, what)
    try:
        with reading(path, what, UsageError):
            arrays = load_arrays(path)
    except ValueError as error:
        raise UsageError(
            f"The {what} cannot be read as an array of numbers.",
            where=str(path),
            got=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            hint="write it with numpy.save (one input) or numpy.savez (an array for each input, by name)",
        ) from error
    if isinstance(arrays, dict) and not arrays:
        raise UsageError(f"The {what} holds no array.", where=str(path))
    return next(iter(arrays.values())) if isinstance(arrays, dict) and len(arrays) == 1 else arrays


def read_data(data: Path | None, labels: Path | None) -> Any:
    """What a pipeline is given as data: inputs, or inputs and labels.

    Raises:
        UsageError: A file cannot be read, or there are labels without inputs.
    """
    if labels is not None and data is None:
        raise UsageError("Labels need the inputs that they belong to.", where=str(labels), hint="add --data FILE")
    arrays = read_arrays(data, "file of data")
    return arrays if labels is None else (arrays, read_arrays(labels, "file of labels"))
