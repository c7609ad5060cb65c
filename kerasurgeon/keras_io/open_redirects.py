"""What stands replaced in Keras while the code of a layer is run on symbolic tensors.

Each of these asks, by thread, whether a layer is being opened and its own code runs at the moment; if not, it does what
Keras does.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

import keras
from keras import ops

from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.keras_io import open_sizes
from kerasurgeon.keras_io.open_elsewhere import ELSEWHERE
from kerasurgeon.keras_io.open_sizes import UntraceableError, has_free
from kerasurgeon.keras_io.replaced import Replaced


class Frame(Protocol):
    """The layer that is being opened, as ``open_tracing`` keeps it."""

    layer: Any
    calling: Any
    training: Any
    inside: bool
    asked: bool
    elsewhere: bool

    def called(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """The call of a layer by the code that is being opened."""

    def variable(self, variable: Any) -> Any:
        """A variable as a tensor."""

    def gives(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """What a layer gives that the code calls, as Keras can record it."""

    def reshaping(self, shape: Any) -> Any:
        """A layer that reshapes all axes behind the first."""

    def aside(self) -> Any:
        """A context in which Keras is as it is."""


class Done(BaseException):
    """Leaves Keras' ``__call__`` of the layer before it records a call."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs


class Training:
    """``training`` for code that is being opened: handed on it is forgotten.

    Args:
        answer: What code sees that looks at it; with ``None`` it is refused.

    Attributes:
        seen: Whether code has looked at it.
    """

    def __init__(self, answer: bool | None = None) -> None:
        self.answer, self.seen = answer, False

    def __bool__(self) -> bool:
        self.seen = True
        if self.answer is None:
            raise UntraceableError("it does something else in training")
        return self.answer

    def __eq__(self, other: object) -> bool:
        return bool(self) == other

    __hash__ = object.__hash__


def takes_training(layer: Any) -> bool:
    """Whether the code of a layer is told whether it trains."""
    return "training" in inspect.signature(layer.call).parameters


class _Now(threading.local):
    """What this thread opens."""

    frame: Frame | None = None


NOW = _Now()


def _active() -> Frame | None:
    frame = NOW.frame
    return None if frame is None or frame.inside else frame


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    frame = _active()
    return CALL.original(self, *args, **kwargs) if frame is None else frame.called(self, args, kwargs)


def _symbolic_call(self: Any, *args: Any, **kwargs: Any) -> Any:
    frame = NOW.frame
    if frame is not None and self is frame.calling:
        return frame.gives(self, args, kwargs)
    if frame is None or self is not frame.layer:
        return SYMBOLIC.original(self, *args, **kwargs)
    kwargs.pop("training", None)
    if takes_training(self):
        kwargs["training"] = frame.training
    frame.inside = False
    try:
        outputs = self.call(*args, **kwargs)
    finally:
        frame.inside = True
    raise Done(outputs)


def _add_loss(self: Any, loss: Any) -> Any:
    if _active() is not None:
        raise UntraceableError("it adds a loss")
    return _ADD_LOSS.original(self, loss)


def _value(self: Any) -> Any:
    if _active() is not None and keras.backend.is_float_dtype(self.dtype):
        raise UntraceableError(f"it reads the variable {self.path!r} where it is no attribute of a layer")
    return _VALUE.original.fget(self)


def _assign(self: Any, value: Any) -> Any:
    if _active() is not None:
        raise UntraceableError(f"it assigns to the variable {self.path!r}")
    return _ASSIGN.original(self, value)


def _next(self: Any, *args: Any, **kwargs: Any) -> Any:
    if _active() is not None:
        raise UntraceableError("it draws random numbers")
    return _NEXT.original(self, *args, **kwargs)


def _backend(replaced: Replaced) -> Callable[[], str]:
    def backend() -> str:
        frame = _active()
        if frame is not None:
            frame.asked = True
        return str(replaced.original()) if frame is None or not frame.elsewhere else ELSEWHERE

    return backend


def _shape(self: Any) -> Any:
    shape = _SHAPE.original.fget(self)
    if None not in shape or _active() is None:
        return shape
    if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] in ("keras", "kerasurgeon"):
        return shape
    return open_sizes.sizes_of(self, shape)


def _getitem(self: Any, key: Any) -> Any:
    frame = _active()
    if frame is None or not has_free(key):
        return _GETITEM.original(self, key)
    with frame.aside():
        return open_sizes.taken(self, key)


def _ops_shape(x: Any) -> Any:
    if _active() is None or not isinstance(x, keras.KerasTensor):
        return _OPS["shape"].original(x)
    return open_sizes.sizes_of(x, _SHAPE.original.fget(x))


def _convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    frame = _active()
    if frame is None or not isinstance(x, keras.KerasTensor):
        return _OPS["convert_to_tensor"].original(x, dtype, sparse, ragged)
    return open_sizes.as_tensor(x, dtype)


def _getattribute(self: Any, name: str) -> Any:
    value = object.__getattribute__(self, name)
    frame = _active()
    if frame is None:
        return value
    if isinstance(value, keras.Variable):
        return frame.variable(value)
    if isinstance(value, (list, tuple, dict)) and any(isinstance(leaf, keras.Variable) for leaf in leaves(value)):
        return map_leaves(lambda leaf: frame.variable(leaf) if isinstance(leaf, keras.Variable) else leaf, value)
    return value


def _sized(name: str, written: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        frame = _active()
        if frame is None or not has_free((args, tuple(kwargs.values()))):
            return _OPS[name].original(*args, **kwargs)
        with frame.aside():
            return written(frame, *args, **kwargs)

    return call


def _triangle(name: str) -> Callable[..., Any]:
    def call(x: Any, k: int = 0) -> Any:
        frame = _active()
        if frame is None or not frame.elsewhere or not isinstance(x, keras.KerasTensor):
            return _OPS[name].original(x, k)
        with frame.aside():
            return open_sizes.triangle(x, k, upper=name == "triu")

    return call


def _product(replaced: Replaced) -> Callable[[Any, Any], Any]:
    """Products of truths, as numpy has them and TensorFlow does not."""

    def call(x1: Any, x2: Any) -> Any:
        frame = _active()
        if frame is None or not frame.elsewhere or {_dtype(x1), _dtype(x2)} != {"bool"}:
            return replaced.original(x1, x2)
        with frame.aside():
            return ops.logical_and(x1, x2)

    return call


def _dtype(x: Any) -> str:
    return str(keras.backend.standardize_dtype(x.dtype)) if hasattr(x, "dtype") else ""


_WRITTEN: dict[str, Callable[..., Any]] = {
    "arange": lambda frame, *args, **kwargs: open_sizes.arange(*args, **kwargs),
    "broadcast_to": lambda frame, x, shape: open_sizes.spread(x, shape),
    "full": lambda frame, shape, fill_value, dtype=None: open_sizes.filled(fill_value, shape, dtype),
    "ones": lambda frame, shape, dtype=None: open_sizes.filled(1, shape, dtype),
    "repeat": lambda frame, x, repeats, axis=None: open_sizes.repeat(x, repeats, axis),
    "reshape": lambda frame, x, newshape: open_sizes.reshape(x, newshape, frame.reshaping),
    "slice": lambda frame, inputs, start_indices, shape: open_sizes.cut(inputs, start_indices, shape),
    "tile": lambda frame, x, repeats: open_sizes.tile(x, repeats),
    "zeros": lambda frame, shape, dtype=None: open_sizes.filled(0, shape, dtype),
}
_OPS = {name: Replaced(ops, name, _sized(name, written)) for name, written in _WRITTEN.items()}
_OPS |= {name: Replaced(ops, name, _triangle(name)) for name in ("tril", "triu")}
_OPS["multiply"] = Replaced(ops, "multiply", None)
_OPS["shape"] = Replaced(ops, "shape", _ops_shape)
_OPS["convert_to_tensor"] = Replaced(ops, "convert_to_tensor", _convert_to_tensor)
CALL = Replaced(keras.Layer, "__call__", _call)
SYMBOLIC = Replaced(keras.Layer, "symbolic_call", _symbolic_call)
_ADD_LOSS = Replaced(keras.Layer, "add_loss", _add_loss)
_VALUE = Replaced(keras.Variable, "value", property(_value))
_ASSIGN = Replaced(keras.Variable, "assign", _assign)
_NEXT = Replaced(keras.random.SeedGenerator, "next", _next)
_SHAPE = Replaced(keras.KerasTensor, "shape", property(_shape))
_GETITEM = Replaced(keras.KerasTensor, "__getitem__", _getitem)
_MUL = Replaced(keras.KerasTensor, "__mul__", None)
for _each in (_OPS["multiply"], _MUL):
    _each.replacement = _product(_each)


_BACKENDS = [Replaced(owner, "backend", None) for owner in (keras.config, keras.backend)]
for _each in _BACKENDS:
    _each.replacement = _backend(_each)


class _Attributes(Replaced):
    """``__getattribute__``, which classes of layers inherit: taken away in the end, for Python to be quick."""

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with self._lock:
            if not self._open and vars(keras.Layer).get(self.name) is object.__getattribute__:
                delattr(keras.Layer, self.name)


_GETATTRIBUTE = _Attributes(keras.Layer, "__getattribute__", _getattribute)
REPLACED = (
    CALL, SYMBOLIC, _ADD_LOSS, _VALUE, _ASSIGN, _NEXT, _SHAPE, _GETITEM, _MUL, _GETATTRIBUTE, *_OPS.values(),
    *_BACKENDS,
)  # fmt: skip

__all__ = ["CALL", "NOW", "REPLACED", "SYMBOLIC", "Done", "Training", "takes_training"]
