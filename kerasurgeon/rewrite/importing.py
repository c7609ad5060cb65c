"""Name Python objects by where they can be imported from, as recipes must."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from kerasurgeon.errors import RecipeError


def import_path(function: Callable[..., Any], where: str = "the option") -> str:
    """``module:name`` of a function or class.

    Raises:
        RecipeError: It is a lambda or a local function, which no recipe can name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not name or "<" in name:
        raise RecipeError(
            f"{where} is {function!r}, which a recipe cannot name.",
            expected="a function or class at the top level of a module",
            hint="move it to a module that can be imported",
        )
    return f"{module}:{name}"


def import_object(path: str, where: str = "the option") -> Any:
    """What ``module:name`` names.

    Raises:
        RecipeError: There is no such module or name.
    """
    module, colon, name = path.partition(":")
    try:
        if not module or not colon or not name:
            raise ImportError("it is not of the form 'module:name'")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{where}: {path!r} cannot be imported.", got=str(error), expected="'module:name'") from error
    return found
