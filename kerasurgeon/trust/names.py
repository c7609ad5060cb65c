"""Objects by name: ``module:name``, imported only from where names may be imported from."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasurgeon.errors import RecipeError
from kerasurgeon.trust.allowed import allowed, is_name, pass_packages, within

# What a file may name of kerasurgeon itself. Not all of it: a recipe gives what it names arguments of its choice, and
# some functions write files.
_NAMEABLE = (
    "kerasurgeon.passes",
    "kerasurgeon.blocks.shunts",
    "kerasurgeon.channels.importance_data",
    "kerasurgeon.channels.importance_reconstruction",
    "kerasurgeon.channels.importance_weights",
    "kerasurgeon.replacing.replacements",
    "kerasurgeon.workflows.data.cifar",
    "kerasurgeon.workflows.data.digits",
    "kerasurgeon.workflows.data.shapes",
    "kerasurgeon.workflows.data.tfrecords",
    "kerasurgeon.workflows.networks",
)
_unseen: ContextVar[list[str] | None] = ContextVar("unseen", default=None)


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
    """What ``module:name`` names, if it may be imported.

    That is what is defined in kerasurgeon and made to be named (passes, data sets, networks, shunts, criteria,
    replacements), in an installed package that publishes passes, or in what the user allows (``allow_imports``, the
    option ``--allow-import``, the configuration file); not what such a module has only imported.

    Args:
        path: The name.
        where: Which option it was given for, for errors.

    Raises:
        RecipeError: There is no such module or name, or it may not be imported.
    """
    _check_form(path, where)
    unseen = _unseen.get()
    if unseen is not None and not is_own(path):
        unseen.append(path)
        return _not_imported
    check_import(path, where)
    module, _, name = path.partition(":")
    try:
        home: Any = importlib.import_module(module)
        found = home
        for part in name.split("."):
            if part.startswith("__") or not (found is home or isinstance(found, type)):
                raise _refused(path, where, f"{part!r} is looked for in what is neither a module nor a class")
            found = getattr(found, part)
            if isinstance(found, ModuleType):
                raise _refused(path, where, f"{part!r} is a module, which is named before the colon")
    except RecipeError:
        raise
    except Exception as error:  # whatever a module does while it is imported
        got = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        raise RecipeError(
            f"{where}: {path!r} cannot be imported.", got=got, expected="'module:name'", hint=_hint(module, error)
        ) from error
    if path not in allowed():
        _check_home(found, path, where)
    return found


def _hint(module: str, error: Exception) -> str | None:
    """What to do where a module lies in the current folder, which is searched only if the user says so."""
    top = module.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or error.name != top:
        return None
    for there in (f"{top}.py", f"{top}/__init__.py"):
        if Path(there).exists():
            named = top if "/" in there else there
            return (
                "the current folder is no import path: name it on the command line by "
                f"--allow-import {named}, or set PYTHONPATH=."
            )
    return None


def check_import(path: str, where: str = "the option") -> None:
    """Check that a name may be imported, as far as it tells by itself. Nothing is imported.

    Raises:
        RecipeError: It may not.
    """
    _check_form(path, where)
    if is_own(path) or path in (names := allowed()):
        return
    module = path.partition(":")[0]
    if not within(module, names) and not within(module, pass_packages()):
        raise _refused(path, where, f"the module {module!r}, which is of neither")


def _check_form(path: str, where: str) -> None:
    if not is_name(path):
        got = "it is not of the form 'module:name'"
        raise RecipeError(f"{where}: {path!r} cannot be imported.", got=got, expected="'module:name'")


def is_own(path: str) -> bool:
    """Whether a name is one of kerasurgeon itself."""
    return within(path.partition(":")[0], ("kerasurgeon",))


def names_in(value: Any) -> Iterator[str]:
    """All texts of the form ``module:name`` in a value of lists, tables and texts."""
    if isinstance(value, str):
        if is_name(value):
            yield value
    elif isinstance(value, Mapping):
        yield from names_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from names_in(item)


@contextmanager
def nothing_imported() -> Iterator[list[str]]:
    """Import nothing outside kerasurgeon within the block: in the place of each object stands a function.

    Yields:
        The names that were not imported, as they come.
    """
    names: list[str] = []
    mark = _unseen.set(names)
    try:
        yield names
    finally:
        _unseen.reset(mark)


class _NotImported:
    """What the stand-in gives: a class, so that it also stands for a pattern."""


def _not_imported(*_: Any, **__: Any) -> Any:
    return _NotImported


def _check_home(found: Any, path: str, where: str) -> None:
    """Refuse what a module has not defined itself, but imported from elsewhere; data is nobody's."""
    if not callable(found):
        return
    home = _home(found)
    if within(home, ("kerasurgeon",)):
        if not within(home, _NAMEABLE) or path.rpartition(":")[2].startswith("_"):
            raise _refused(path, where, "a part of kerasurgeon that is not made to be named")
    elif not within(home, allowed()) and not within(home, pass_packages()):
        raise _refused(path, where, f"an object that is defined in {home!r}", home)


def _home(found: Any) -> str:
    """The module that defines an object."""
    if isinstance(found, functools.partial):
        return _home(found.func)
    found = getattr(found, "__func__", found)
    owner = getattr(found, "__self__", None)  # of a method in C, which names no module
    module = getattr(found, "__module__", None) or (owner if isinstance(owner, type) else type(owner)).__module__
    return str(module)


def _refused(path: str, where: str, got: str, home: str | None = None) -> RecipeError:
    package = (home or path.partition(":")[0]).split(".")[0]
    hint = f"if you trust {package!r}, allow it: allow=['{package}']; see docs/security.md"
    return RecipeError(
        f"{where}: {path!r} may not be imported.",
        expected="a name of kerasurgeon, of an installed package of passes, or of a package that you allow",
        got=got,
        hint="see docs/security.md" if package == "kerasurgeon" else hint,
    )


__all__ = ["check_import", "import_object", "import_path", "is_own", "names_in", "nothing_imported"]
