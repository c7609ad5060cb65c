"""Files of arrays, .npy and .npz: numbers only, and no more of them than the file holds and the memory has room for.

A file of a few kilobytes may say that it holds more numbers than any memory, and one of a few megabytes may really hold
them, all alike and compressed. Both are told by what stands at the beginning of each array, before any is read.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

Array = np.ndarray[Any, Any]

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def load_arrays(path: str | Path) -> Array | dict[str, Array]:
    """What a .npy or .npz file holds: an array, or arrays by name. No Python object is made of it.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It holds something else than arrays of numbers, or more than there is memory for.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:  # numpy leaves a damaged file open, if it opens it
            if zipfile.is_zipfile(stream):
                _check_room(_declared_in_archive(stream))
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as archive:
                    return {name: archive[name] for name in archive.files}
            stream.seek(0)
            _check_room(_declared(stream, file.stat().st_size))
            stream.seek(0)
            array: Array = np.load(stream, allow_pickle=False)
            return array
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # what zipfile, zlib and numpy raise for damaged files is of many kinds
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _declared_in_archive(file: Any) -> int:
    with zipfile.ZipFile(file) as archive:
        total = 0
        for info in archive.infolist():
            with archive.open(info) as stream:
                total += _declared(stream, info.file_size)
        return total


def _declared(stream: Any, size: int) -> int:
    """How many bytes an array takes by what stands at its beginning, if there are so many."""
    start = stream.read(npy.MAGIC_LEN)
    if not start.startswith(npy.MAGIC_PREFIX):
        return size  # not of an array
    read = _HEADERS.get((start[-2], start[-1]))
    if read is None:
        return size
    shape, _, dtype = read(stream)
    declared = math.prod(shape) * dtype.itemsize
    if declared > size:
        raise ValueError(f"an array of shape {shape} takes {declared:,} bytes, and the file holds {size:,}")
    return declared


def _check_room(needed: int) -> None:
    free = free_memory()
    if free is not None and needed > free:
        raise ValueError(f"its arrays take {needed >> 20:,} MiB, and {free >> 20:,} MiB of memory are free")


def free_memory() -> int | None:
    """How many bytes of memory are free; or there at all, where it is not known how many are free."""
    try:
        with open("/proc/meminfo", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file)
        return int(lines[b"MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):  # not Linux
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


__all__ = ["Array", "free_memory", "load_arrays"]
