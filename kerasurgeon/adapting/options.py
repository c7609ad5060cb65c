"""Options of what fits networks to other inputs, classes and vocabularies, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kerasurgeon.array_files import load_arrays
from kerasurgeon.errors import FileError, OptionError
from kerasurgeon.file_errors import reading

Shape: TypeAlias = Sequence[int | None]


def check_shape(owner: str, shape: Any) -> Any:
    """A shape, or shapes by name, as tuples.

    Args:
        owner: What has the option, for errors.
        shape: What was given; texts such as ``"any"`` stand for sizes that are left open, as a recipe has no ``None``.

    Raises:
        OptionError: It is none.
    """
    if isinstance(shape, Mapping) and shape:
        return {str(name): check_shape(owner, each) for name, each in shape.items()}
    sizes = [None if each in ("any", "None") else each for each in shape] if isinstance(shape, (list, tuple)) else []
    if not sizes or any(
        size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1) for size in sizes
    ):
        raise OptionError(
            f"{owner}: option 'shape' is no shape.",
            expected="sizes without the batch, as (96, 96, 1), or such by the names of inputs",
            got=repr(shape),
        )
    return tuple(sizes)


def read_ids(owner: str, option: str, value: Any) -> tuple[int, ...]:
    """Ids or numbers of classes: a sequence, or a file of them.

    Args:
        owner: What has the option, for errors.
        option: Its name.
        value: Whole numbers, or the path of a .npy file, or of a text with one on each line.

    Raises:
        FileError: The file cannot be read.
        OptionError: They are no whole numbers from 0.
    """
    if isinstance(value, (str, Path)):
        with reading(Path(value), "file of ids", FileError):
            try:
                if Path(value).suffix.lower() == ".npy":
                    value = np.asarray(load_arrays(value)).ravel().tolist()
                else:
                    value = [int(line) for line in Path(value).read_text(encoding="utf-8").split()]
            except ValueError as error:
                raise OptionError(
                    f"{owner}: the file of option {option!r} holds no ids.",
                    where=str(value),
                    expected="a .npy file of whole numbers, or a text with one on each line",
                    got=str(error),
                ) from error
    found = np.asarray(value)
    if found.ndim != 1 or (found.size and (found.dtype.kind not in "iu" or found.min() < 0)):
        raise OptionError(f"{owner}: option {option!r} needs whole numbers from 0.", got=repr(value)[:200])
    return tuple(int(each) for each in found)


__all__ = ["Shape", "check_shape", "read_ids"]
