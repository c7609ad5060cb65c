"""Whose code may be imported by name: that of installed pass packages, and what the user allows."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from kerasurgeon.errors import OptionError, did_you_mean

GROUP = "kerasurgeon.passes"
"""Under which entry points passes are published."""

_MODULE = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_ENTRY = re.compile(rf"{_MODULE}(:{_MODULE})?")
_KEY = "allow_imports"
_allowed: ContextVar[tuple[str, ...]] = ContextVar("allowed", default=())


@contextmanager
def allow_imports(*names: str) -> Iterator[None]:
    """Allow names in recipes and options to be imported from these packages, within the block.

    Args:
        names: Packages or modules, with all below them (``"my_package"``), or single objects
            (``"my_package.module:function"``).

    Raises:
        OptionError: One of them is no such name.
    """
    mark = _allowed.set((*_allowed.get(), *as_names(names)))
    try:
        yield
    finally:
        _allowed.reset(mark)


def as_names(names: str | Iterable[str], where: str = "allow=") -> tuple[str, ...]:
    """One or several names of packages, modules or objects, checked.

    Raises:
        OptionError: One of them is no such name.
    """
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if not isinstance(name, str) or not _ENTRY.fullmatch(name):
            raise OptionError(
                f"{where} takes names of what may be imported.",
                expected="'package', 'package.module' or 'module:name'",
                got=repr(name),
            )
    return found


def is_name(text: str) -> bool:
    """Whether a text has the form ``module:name``."""
    return ":" in text and _ENTRY.fullmatch(text) is not None


def allowed() -> tuple[str, ...]:
    """What the user allows: here and now, and in the configuration file."""
    return (*_allowed.get(), *_configured())


def pass_packages() -> frozenset[str]:
    """The packages of installed distributions that publish passes. Nothing is imported to find them."""
    return frozenset(name for point in entry_points(group=GROUP) for name in _packages_of(point))


def within(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of these packages, or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def config_file() -> Path:
    """Where the user's configuration is: ``$XDG_CONFIG_HOME/kerasurgeon/config.toml``."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative path would be one of the folder that happens to be the current one.
    home = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return home / "kerasurgeon" / "config.toml"


def _packages_of(point: EntryPoint) -> Iterator[str]:
    found = {point.module.split(".")[0]}
    if point.dist is not None:
        listed = point.dist.read_text("top_level.txt")
        files = point.dist.files or ()
        found.update(listed.split() if listed else (file.parts[0].removesuffix(".py") for file in files))
    for name in found:
        if not name.isidentifier() or name == "kerasurgeon":
            continue
        with suppress(ImportError, ValueError):  # no longer there, or made by hand
            spec = find_spec(name)
            if spec is not None and spec.origin is not None:
                yield name
    # Of a namespace that many share, only the module with the pass.
    yield point.module


def _configured() -> tuple[str, ...]:
    path = config_file()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise OptionError("The configuration file cannot be read.", where=str(path), got=str(error)) from error
    for key in content:
        if key != _KEY:
            raise OptionError(f"The configuration has no key {key!r}.", where=str(path), hint=did_you_mean(key, [_KEY]))
    names = content.get(_KEY, [])
    if not isinstance(names, list):
        raise OptionError(f"{_KEY} is a list.", where=str(path), expected=f'{_KEY} = ["package"]', got=repr(names))
    return as_names(names, f"{_KEY} in {path}")


__all__ = ["GROUP", "allow_imports", "allowed", "as_names", "config_file", "is_name", "pass_packages", "within"]
