"""Find the unregistered classes and functions that a layer's config only names.

``get_config`` writes a custom activation as its name. In memory the function itself is at hand, so that a model with
unregistered parts can be taken apart and rebuilt without the user listing them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

_MAX_OBJECTS = 2000


def foreign_names(config: Any) -> set[str]:
    """Names in a serialised config that Keras itself does not define."""
    found: set[str] = set()
    _add_foreign_names(dict(config) if isinstance(config, Mapping) else config, found)
    return found


def _add_foreign_names(part: Any, found: set[str]) -> None:
    if isinstance(part, dict):
        class_name, module = part.get("class_name"), part.get("module")
        if isinstance(class_name, str) and "config" in part:
            inner = part["config"]
            if class_name == "function" and isinstance(inner, str):
                found.add(inner)
            elif not (isinstance(module, str) and module.startswith("keras")):
                found.add(class_name)
                if isinstance(part.get("registered_name"), str):
                    found.add(part["registered_name"])
        for value in part.values():
            if isinstance(value, (dict, list, tuple)):
                _add_foreign_names(value, found)
    elif isinstance(part, (list, tuple)):
        for value in part:
            _add_foreign_names(value, found)


def harvest(owner: Any, names: set[str]) -> dict[str, Any]:
    """Look through the objects that ``owner`` holds for classes and functions with these names."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    waiting = [owner]
    while waiting and len(seen) < _MAX_OBJECTS and len(found) < len(names):
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (str, bytes, int, float, bool, type(None))):
            continue
        seen.add(id(item))
        if isinstance(item, FunctionType):
            if item.__name__ in names:
                found.setdefault(item.__name__, item)
            continue
        cls = item if isinstance(item, type) else type(item)
        if cls.__name__ in names:
            found.setdefault(cls.__name__, cls)
        if isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple, set)):
            waiting.extend(item)
        elif not isinstance(item, type) and hasattr(item, "__dict__"):
            waiting.extend(vars(item).values())
    return found
