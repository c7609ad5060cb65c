"""Find passes by name. Built-in passes and those of other packages are published alike, as entry points.

A package offers its passes in its ``pyproject.toml``::

    [project.entry-points."kerasurgeon.passes"]
    MyPass = "my_package.my_module:MyPass"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from kerasurgeon.errors import KerasurgeonError, RecipeError, did_you_mean
from kerasurgeon.rewrite.argument_docs import option_docs
from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.trust import import_object, import_path
from kerasurgeon.trust.allowed import GROUP


@cache
def catalogue() -> Mapping[str, str]:
    """Where every installed pass can be imported from, by name. Nothing is imported: see ``find_pass``."""
    return MappingProxyType(
        {point.name: point.value for point in sorted(entry_points(group=GROUP), key=_built_in_last)}
    )


def _built_in_last(point: EntryPoint) -> tuple[bool, str]:
    """A name that kerasurgeon uses itself cannot be taken by another package."""
    return point.value.startswith("kerasurgeon."), point.name


def find_pass(name: str) -> type[Pass]:
    """A pass by name, or by path as ``module:Class``.

    Raises:
        RecipeError: There is no such pass.
    """
    if ":" in name:
        return _load(name, name)
    known = catalogue()
    if name not in known:
        raise RecipeError(
            f"There is no pass {name!r}.",
            hint=f"{did_you_mean(name, known)} A pass of your own can be named as 'module:Class'.",
        )
    return _load(name, known[name])


def name_of(cls: type[Pass]) -> str:
    """The shortest name that ``find_pass`` finds a class by.

    Raises:
        RecipeError: The class can be imported from nowhere.
    """
    if cls.__name__ in catalogue() and find_pass(cls.__name__) is cls:
        return cls.__name__
    return import_path(cls, "the pass")


def make_pass(name: str, options: Mapping[str, Any], where: Callable[[str | None], str] | None = None) -> Pass:
    """An instance of a pass with options.

    Args:
        name: As for ``find_pass``.
        options: Options by name.
        where: Says in errors where an option was read, or the pass itself if asked for ``None``.

    Raises:
        RecipeError: There is no such pass or option, or an option has a value that it may not have.
    """

    def place(option: str | None) -> str | None:
        return None if where is None else where(option)

    try:
        cls = find_pass(name)
    except RecipeError as error:
        parts = {"expected": error.expected, "got": error.got, "hint": error.hint}
        raise RecipeError(error.what, where=place(None), **parts) from error
    known: set[str] = {item.name for item in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    for option in options:
        if option not in known:
            raise RecipeError(
                f"{name} has no option {option!r}.",
                where=place(option),
                hint=did_you_mean(option, known) if known else "it takes no options",
            )
    try:
        return cls(**options)
    except (ValueError, TypeError) as error:
        named = next((option for option in options if repr(option) in str(error) or f"{option}=" in str(error)), None)
        hint = f"`kerasurgeon passes {name}` shows what each option may be"
        if isinstance(error, KerasurgeonError):
            raise RecipeError(
                error.what, where=place(named), expected=error.expected, got=error.got, hint=error.hint or hint
            ) from error
        raise RecipeError(
            f"{name} cannot be made with these options.", where=place(named), got=str(error).strip(), hint=hint
        ) from error


def options_of(cls: type[Pass]) -> list[tuple[str, str, Any, str]]:
    """The options of a pass: name, type, default (``dataclasses.MISSING`` where required), and its docstring line."""
    if not dataclasses.is_dataclass(cls):
        return []
    described = option_docs(cls)
    rows = []
    for item in dataclasses.fields(cls):
        default = item.default
        if default is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        kind = item.type if isinstance(item.type, str) else getattr(item.type, "__name__", str(item.type))
        rows.append((item.name, kind, default, described.get(item.name, "")))
    return rows


def _load(name: str, path: str) -> type[Pass]:
    found = import_object(path, f"pass {name!r}")
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise RecipeError(f"{path!r} is not a pass.", expected="a subclass of kerasurgeon.authoring.Pass")
    return found
