"""What stands in for Keras' own functions while ``quick_keras`` is active, to the same effect with less bookkeeping.

Half of the time that a small layer takes goes into what Keras does anew for each: it asks ``inspect`` for the
signatures of the same few functions, and it sends every attribute that is set through the tracking of Keras and of
TensorFlow, be it a number or an empty list, that have nothing in them to track. Here signatures are remembered and such
attributes are set directly. Variables, layers and all else that tracking may react to, and layers of classes that
change how attributes are set, go the way that Keras has laid. What TensorFlow does for each variable is in
``quick_variables``.

This module is imported only with the releases of Keras that ``quick.VERIFIED`` names.
``tests/keras_io/test_quick.py`` compares layers made either way.
"""

from __future__ import annotations

import inspect
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import keras
from keras.src import backend as backend_module
from keras.src.layers import layer as layer_module
from keras.src.ops import operation as operation_module
from keras.src.utils.tracking import TrackedDict, TrackedList, TrackedSet, is_tracking_enabled

from kerasurgeon.keras_io.quick_variables import INITIALIZE
from kerasurgeon.keras_io.replaced import Replaced

# Signatures, by function.

_SIGNATURES: dict[Any, inspect.Signature] = {}
_BOUND_SIGNATURES: dict[Any, inspect.Signature] = {}
_ARGUMENTS: dict[Any, inspect.FullArgSpec] = {}
# What is there for one block only: functions from outside Keras, which are not to be kept alive.
_BRIEF: list[tuple[dict[Any, Any], Any]] = []


class _Inspect:
    """The module ``inspect``, remembering what it said of a function."""

    def __getattr__(self, name: str) -> Any:
        return getattr(inspect, name)

    @staticmethod
    def signature(function: Any) -> inspect.Signature:
        if type(function) is FunctionType and "__wrapped__" in function.__dict__ and _is_bare(function, "__wrapped__"):
            function = function.__dict__["__wrapped__"]  # Layer.__new__ wraps the build() of every layer
        if type(function) is MethodType:
            memo, key = _BOUND_SIGNATURES, function.__func__
        else:
            memo, key = _SIGNATURES, function
        if not _is_bare(key):
            return inspect.signature(function)
        found = memo.get(key)
        return _remember(memo, key, inspect.signature(function)) if found is None else found

    @staticmethod
    def getfullargspec(function: Any) -> inspect.FullArgSpec:
        if not _is_bare(function):
            return inspect.getfullargspec(function)
        found = _ARGUMENTS.get(function)
        return _remember(_ARGUMENTS, function, inspect.getfullargspec(function)) if found is None else found


def _remember(memo: dict[Any, Any], function: Any, answer: Any) -> Any:
    if not function.__module__.startswith("keras.src.") or "<" in function.__qualname__:
        _BRIEF.append((memo, function))
    memo[function] = answer
    return answer


def forget() -> None:
    """Let go of what users made; what was said of Keras' own functions stays."""
    while _BRIEF:
        memo, function = _BRIEF.pop()
        memo.pop(function, None)
    _PLAIN_CLASSES.clear()


def _is_bare(function: Any, *marks: str) -> bool:
    """Whether nothing but its code says what a function takes: a decorated one may have an answer of its own."""
    return type(function) is FunctionType and function.__dict__.keys() <= {"_is_default", *marks}


_INSPECTS = tuple(Replaced(module, "inspect", _Inspect()) for module in (layer_module, operation_module))

# Attributes.

# Types of values that neither Keras nor TensorFlow tracks, nor keeps as anything else.
_UNTRACKED = {str, int, float, bool, type(None), FunctionType, BuiltinFunctionType, MethodType}
_UNTRACKED |= {keras.DTypePolicy, inspect.Signature}
_UNTRACKED |= {cls for cls in vars(keras.initializers).values() if isinstance(cls, type)}
# Collections, and what Keras keeps them as.
_TRACKED: dict[type, Any] = {list: TrackedList, dict: TrackedDict, set: TrackedSet}
# Whether a class of layers leaves it to Keras how attributes are set.
_PLAIN_CLASSES: dict[type, bool] = {}
# Who sets attributes in a plain layer, in turn.
_SETTERS = [vars(cls)["__setattr__"] for cls in keras.Layer.__mro__[1:] if "__setattr__" in vars(cls)]


def _set_attribute(self: Any, name: str, value: Any) -> None:
    """``Layer.__setattr__``."""
    kind = type(value)
    collection = _TRACKED.get(kind)
    plain = collection is not None or kind in _UNTRACKED or (kind is tuple and _UNTRACKED.issuperset(map(type, value)))
    if not plain or "_tracker" not in self.__dict__ or not _is_plain(type(self)):
        _SET_ATTRIBUTE.original(self, name, value)
        return
    if collection is None:
        try:
            if getattr(self, name) is value:
                return  # KerasAutoTrackable leaves it at that: what a class says is not said again by its instance
        except AttributeError:
            pass
    elif is_tracking_enabled():
        value = collection(value, self._tracker)
        if getattr(self, "_self_setattr_tracking", True) and hasattr(self, "_tracked"):
            self._tracked.append(name)
    elif getattr(self, "_self_setattr_tracking", True):
        _SET_ATTRIBUTE.original(self, name, value)
        return
    object.__setattr__(self, name, value)


def _is_plain(cls: type) -> bool:
    known = _PLAIN_CLASSES.get(cls)
    if known is None:
        after = cls.__mro__[cls.__mro__.index(keras.Layer) + 1 :]
        setters = [vars(part)["__setattr__"] for part in after if "__setattr__" in vars(part)]
        own = [getattr(cls, name) is getattr(keras.Layer, name) for name in ("_setattr_hook", "_initialize_tracker")]
        known = _PLAIN_CLASSES[cls] = setters == _SETTERS and all(own)
    return known


_SET_ATTRIBUTE = Replaced(keras.Layer, "__setattr__", _set_attribute)

# Tensors.

_NO_TENSORS = frozenset({str, int, float, bool, type(None), dict, list, tuple, keras.KerasTensor})
_SETTINGS = (keras.Initializer, keras.Regularizer, keras.constraints.Constraint, keras.DTypePolicy)


def _is_tensor(value: Any) -> bool:
    """``backend.is_tensor``, which for anything else than a tensor goes through all attributes of a protocol."""
    return type(value) not in _NO_TENSORS and not isinstance(value, _SETTINGS) and bool(_IS_TENSOR.original(value))


_IS_TENSOR = Replaced(backend_module, "is_tensor", _is_tensor)

REPLACED = (_SET_ATTRIBUTE, _IS_TENSOR, INITIALIZE, *_INSPECTS)

__all__ = ["REPLACED", "forget"]
