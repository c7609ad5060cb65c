"""Whether the code of a layer asks what time it is: what it makes of that is another number in every call."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

from kerasurgeon.keras_io.foreign import is_foreign
from kerasurgeon.keras_io.ties import names_in

_CLOCKS = frozenset({"time", "datetime"})


def asks_the_clock(layer: Any) -> bool:
    """Whether methods of a layer's class, functions that it holds, or functions that these name, do.

    Args:
        layer: The layer. Code of Keras is not looked at.
    """
    classes = [cls for cls in type(layer).__mro__ if is_foreign(cls)]
    waiting = [value for holder in (*classes, layer) for value in vars(holder).values()]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if not isinstance(item, FunctionType) or not is_foreign(item) or id(item) in seen:
            continue
        seen.add(id(item))
        found = [item.__globals__[name] for name in names_in(item.__code__) if name in item.__globals__]
        if any((one.__name__ if isinstance(one, ModuleType) else _module(one)) in _CLOCKS for one in found):
            return True
        waiting += found
    return False


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", ""))


__all__ = ["asks_the_clock"]
