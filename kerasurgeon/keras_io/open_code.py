"""The code of a layer that has been run on symbolic tensors: where it failed, and what it has left in attributes."""

from __future__ import annotations

import linecache
import traceback
from typing import Any

import keras

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io.open_redirects import Training
from kerasurgeon.keras_io.open_sizes import FreeSize


def line_of(error: BaseException) -> str | None:
    """The last line of a user's code that an error went through."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            found = frame.f_code.co_filename, number
    if found is None:
        return None
    path, number = found
    return f"{path}, line {number}: {linecache.getline(path, number).strip()}"


_LIBRARIES = frozenset({"keras", "kerasurgeon", "tensorflow", "numpy", "jax", "torch", "optree"})


def put_back(layer: Any, before: dict[str, Any]) -> None:
    """Undo what code that was run on symbolic tensors has left in the attributes of a layer."""
    now = vars(layer)
    for name in [name for name, value in now.items() if value is not before.get(name, now)]:
        value = now[name]
        simple = value is None or isinstance(value, (bool, int, float, str))
        if name in _BY_KERAS or not (simple or any(isinstance(leaf, _FOREIGN) for leaf in leaves(value))):
            continue
        if name in before:
            now[name] = before[name]
        else:
            del now[name]


_BY_KERAS = frozenset({"built", "_lock", "_parent_path"})
_FOREIGN = (keras.KerasTensor, FreeSize, Training)

__all__ = ["line_of", "put_back"]
