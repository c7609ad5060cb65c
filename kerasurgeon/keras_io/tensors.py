"""Arrays that stand for tensors: the values of a variable, read and written without copying them.

An eager tensor never changes. TensorFlow lets variables share one for as long as nobody writes to them, and gives a
variable memory of its own when it is written to. So a weight that no pass has changed goes from the lifted model's
variable to the emitted model's as the tensor it was read as, and is copied once either of them is trained.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.layer import read_only

# Tensors by the id of the array that shows their memory, for as long as that array lives.
_TENSORS: dict[int, tuple[weakref.ref[Any], Any]] = {}


def array_of(variable: Any) -> np.ndarray[Any, Any]:
    """The values of a Keras variable, read-only; a view where the backend can give one."""
    value = variable.value
    if keras.backend.backend() == "tensorflow" and hasattr(value, "read_value"):
        tensor = value.value()
        if hasattr(tensor, "_numpy"):  # an eager tensor is immutable, so its buffer may be shared
            array: np.ndarray[Any, Any] = np.asarray(tensor._numpy())
            array = array.view()
            array.flags.writeable = False
            if "CPU:" in tensor.device:  # elsewhere the tensor would hold memory that the array does not
                forget = functools.partial(_forget, id(array))
                _TENSORS[id(array)] = weakref.ref(array, forget), tensor
            return array
    return read_only(np.array(keras.ops.convert_to_numpy(value)))


def _forget(key: int, _: Any) -> None:
    _TENSORS.pop(key, None)


def tensor_of(array: np.ndarray[Any, Any], dtype: str | None) -> Any:
    """A tensor with the values of an array: the one that the array shows, where there is one."""
    known = _TENSORS.get(id(array))
    if known is not None and known[0]() is array:
        return keras.ops.convert_to_tensor(known[1], dtype=dtype)
    return keras.ops.convert_to_tensor(array, dtype=dtype)
