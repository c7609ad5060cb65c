"""What a layer or op is called in the graph: a name that is unique, unlike its class name.

``Add`` is both a layer and an op in Keras. Layers keep their class name (``Conv2D``), ops get the name they are
called by (``ops.add``), everything from outside Keras is ``custom:module.Class``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import keras

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def kind_of(cls: Any) -> str:
    """The kind of a class of layer or op, as patterns and rules name it."""
    name: str = cls.__name__
    if getattr(keras.layers, name, None) is cls:
        return name
    if cls in _renamed_layers():
        return _renamed_layers()[cls]
    if cls.__module__.startswith("keras."):
        if issubclass(cls, keras.Model):
            return name
        if issubclass(cls, keras.Operation) and not issubclass(cls, keras.Layer):
            return f"ops.{op_name(name)}"
    return f"custom:{cls.__module__}.{cls.__qualname__}"


@cache
def _renamed_layers() -> dict[Any, str]:
    """Layers that ``keras.layers`` has under another name than that of their class."""
    public = {name: getattr(keras.layers, name) for name in sorted(dir(keras.layers))}
    return {
        cls: name
        for name, cls in reversed(public.items())
        if isinstance(cls, type)
        and issubclass(cls, keras.Layer)
        and getattr(keras.layers, cls.__name__, None) is not cls
    }


@cache
def op_name(class_name: str) -> str:
    """The function in ``keras.ops`` that a class of op belongs to (``GetItem`` -> ``get_item``)."""
    snake = _WORD_STARTS.sub("_", class_name).lower()
    for candidate in (snake, re.sub(r"_(?=\d)", "", snake), class_name.lower()):
        if hasattr(keras.ops, candidate):
            return candidate
    return snake
