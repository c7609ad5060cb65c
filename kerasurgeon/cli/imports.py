"""What a command may import: what is named on the command line, which is a request of who typed it.

The current folder is no import path. Where a module is to be imported from there, it is named as such: by
``--allow-import my_passes.py``, or ``--allow-import my_passes`` if no installed package has that name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasurgeon.cli.errors import UsageError, usage
from kerasurgeon.trust import allow_imports, as_names, names_in


class _Named(MetaPathFinder):
    """Finds one module or package in the file or folder that is known for it."""

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.place = name, place

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that one, nothing else; the modules of a package are found through it."""
        if fullname != self.name:
            return None
        inside = [str(self.place)] if self.place.is_dir() else None
        return spec_from_file_location(fullname, _source(self.place), submodule_search_locations=inside)


@contextmanager
def allowing(allow: Sequence[str] | None, typed: Any = ()) -> Iterator[None]:
    """Allow a command to import what the user has named, within the block.

    Args:
        allow: What ``--allow-import`` says: packages, modules, files and folders.
        typed: Other values from the command line, which may name single objects as ``module:name``.

    Raises:
        UsageError: There is no such file, or no such name can be.
    """
    with findable(allow or (), "--allow-import") as names, allow_imports(*names, *names_in(typed)):
        yield


@contextmanager
def findable(names: Sequence[str], option: str) -> Iterator[tuple[str, ...]]:
    """Let modules in files and in the current folder be found that the user has named.

    Args:
        names: Names of packages or modules, and paths of files and folders.
        option: Where they were named, for errors.

    Yields:
        The names to import them by.

    Raises:
        UsageError: There is no such file, or its name is taken.
    """
    finders: list[_Named] = []
    found = []
    for name in names:
        path = Path(name)
        if path.suffix == ".py" or os.sep in name:
            finders.append(_at(path, option))
            sys.meta_path.insert(0, finders[-1])
            found.append(finders[-1].name)
            continue
        with usage():
            found += as_names(name, option)
        top = name.partition(":")[0].split(".")[0]
        here = next((place for place in (Path(f"{top}.py"), Path(top)) if _source(place).is_file()), None)
        if here is not None:  # behind all that is installed
            finders.append(_Named(top, here.resolve()))
            sys.meta_path.append(finders[-1])
    try:
        yield tuple(found)
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)


def _at(path: Path, option: str) -> _Named:
    place, name = path.resolve(), path.resolve().stem
    if not _source(place).is_file():
        hint = "name a file my_module.py, or the folder of a package with its __init__.py"
        raise UsageError(f"{option} names no module.", where=str(path), hint=hint)
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if not name.isidentifier() or name in sys.stdlib_module_names or (file and Path(file) != _source(place)):
        raise UsageError(
            f"{option} names a file whose name cannot be that of a module, or is that of another one.",
            where=str(path),
            got=name,
            hint="rename it",
        )
    return _Named(name, place)


def _source(place: Path) -> Path:
    return place / "__init__.py" if place.is_dir() else place


__all__ = ["allowing", "findable"]
