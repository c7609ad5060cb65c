"""Arrays that stand for tensors: the values of a variable, read and written without copying them.

An eager tensor never changes. TensorFlow lets variables share one for as long as nobody writes to them, and gives a
variable memory of its own when it is written to. So a weight that no pass has changed goes from the lifted model's
variable to the emitted model's as the tensor it was read as, and is copied once either of them is trained. A weight
that a pass has made becomes a tensor when it is first emitted, and its definition shows that tensor from then on; a
large one can be made in a tensor's memory at once (``new_array``).

Arrays that show a tensor hold it, and so do views of them: that is what tells TensorFlow not to write into it.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.layer import Weight, read_only

# Tensors by the id of the array that shows their memory, for as long as that array lives.
_TENSORS: dict[int, tuple[weakref.ref[Any], Any]] = {}

# Smaller arrays are not worth a tensor of their own before they are emitted, nor being shown one afterwards.
_LARGE = 2**18


def array_of(variable: Any) -> np.ndarray[Any, Any]:
    """The values of a Keras variable, read-only; a view where the backend can give one."""
    value = variable.value
    if _on_tensorflow() and hasattr(value, "read_value"):
        array = _shown(_read(value))
        if array is not None:
            return array
    return read_only(np.array(keras.ops.convert_to_numpy(value)))


def _read(value: Any) -> Any:
    """The tensor that a variable of TensorFlow holds."""
    import tensorflow as tf

    if type(value).__name__ != "ResourceVariable":  # spread over devices, or of another kind
        return value.value()
    return tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)  # without what a gradient needs


def new_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """A new array to be filled, whose memory a tensor can take over; its values are arbitrary.

    Whoever fills it makes it read-only before anything else sees it (``ir.layer.sealed``).

    Args:
        shape: Its shape.
        dtype: Its dtype, as NumPy knows it.
    """
    dtype = np.dtype(dtype)
    if not _on_tensorflow() or dtype.kind != "f" or dtype.itemsize * np.prod(shape) < _LARGE:
        return np.empty(shape, dtype)
    import tensorflow as tf

    with tf.device("CPU:0"):
        tensor = tf.raw_ops.Empty(shape=shape, dtype=dtype.name, init=False)
    array = _shown(tensor)
    if array is None:
        return np.empty(shape, dtype)
    array.flags.writeable = True
    return array


def _on_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


def _shown(tensor: Any) -> np.ndarray[Any, Any] | None:
    """An eager tensor's own memory as a read-only array; ``None`` where the tensor does not give it."""
    if not hasattr(tensor, "_numpy"):  # an eager tensor is immutable, so its buffer may be shared
        return None
    array: np.ndarray[Any, Any] = np.asarray(tensor._numpy()).view()
    array.flags.writeable = False
    if "CPU:" in tensor.device:  # elsewhere the tensor would hold memory that the array does not
        _TENSORS[id(array)] = weakref.ref(array, functools.partial(_forget, id(array))), tensor
    return array


def _forget(key: int, _: Any) -> None:
    _TENSORS.pop(key, None)


def unfilled_initializer() -> Any:
    """An initialiser for weights that are filled afterwards; it takes no memory. ``None`` where there is none."""
    if not _on_tensorflow():
        return None
    import tensorflow as tf

    def unfilled(shape: Any, dtype: Any = None, **_: Any) -> Any:
        return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)

    return unfilled


def tensor_of(weight: Weight, dtype: str | None) -> Any:
    """A tensor with the values of a weight: the one that its array shows, where there is one.

    Where there is none, the weight shows the new tensor from now on, so that values are not held twice.
    """
    array = weight.array
    known = _TENSORS.get(id(array))
    if known is not None and known[0]() is array:
        return _converted(known[1], dtype)
    tensor = _converted(array, dtype)
    if array.nbytes >= _LARGE and array.dtype.kind == "f" and _on_tensorflow() and "CPU:" in tensor.device:
        shown = _shown(tensor)
        if shown is not None and shown.dtype == array.dtype:
            weight.move(shown)
    return tensor


def _converted(value: Any, dtype: str | None) -> Any:
    """``keras.ops.convert_to_tensor`` of an array or tensor, for half of the time where nothing is to be cast."""
    if dtype not in (None, value.dtype.name) or not _on_tensorflow():
        return keras.ops.convert_to_tensor(value, dtype=dtype)
    import tensorflow as tf

    return tf.constant(value) if isinstance(value, np.ndarray) else value
