"""A run as data: passes with their options, seed and versions, in TOML or JSON."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tomli_w

from kerasurgeon.atomic import write_text
from kerasurgeon.errors import OptionError, RecipeError, did_you_mean
from kerasurgeon.file_errors import read_text
from kerasurgeon.plan_files import read_json
from kerasurgeon.rewrite.catalogue import catalogue, make_pass, name_of
from kerasurgeon.rewrite.passes import VERIFY_LEVELS, Pass
from kerasurgeon.rules import Sizes, plain_sizes
from kerasurgeon.trust import allow_imports, as_names, import_path, is_name, is_own, nothing_imported

_TOP_KEYS = {"seed", "verify", "sizes", "pass", "versions"}


@dataclass(frozen=True)
class Recipe:
    """What a pipeline does, as data.

    Attributes:
        steps: Each pass as its name and its options; options at their default are left out.
        seed: All random choices follow from it.
        verify: How passes are verified, see ``Pipeline.run``.
        versions: Versions of what the result depends on, when the recipe was written.
        sizes: Sizes of the inputs that costs and budgets are counted for, see ``Pipeline.run``.
        source: The file it was read from, for errors.
        allow: What its names may be imported from, beside kerasurgeon and installed packages of passes: packages,
            modules, or single objects as ``"module:name"``. Not part of the file.
    """

    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    seed: int = 0
    verify: str = "exact"
    versions: Mapping[str, str] = field(default_factory=dict)
    sizes: Sizes | None = None
    source: str | None = field(default=None, compare=False)
    allow: tuple[str, ...] = field(default=(), compare=False)
    _text: str = field(default="", compare=False, repr=False)

    @classmethod
    def of(
        cls,
        passes: Sequence[Pass],
        *,
        seed: int = 0,
        verify: str = "exact",
        sizes: Sizes | None = None,
        allow: Sequence[str] = (),
    ) -> Recipe:
        """The recipe of these passes, with today's versions. It may import them, and what ``allow`` names."""
        steps = tuple((_name(type(item)), changed_options(item)) for item in passes)
        own = {name for name, _ in steps if is_name(name)}
        return cls(steps, seed, verify, _versions(), sizes, allow=tuple(dict.fromkeys((*allow, *sorted(own)))))

    def make_passes(self) -> list[Pass]:
        """The passes, made.

        Raises:
            RecipeError: A pass or an option does not exist, an option's value is not allowed, or a name may not be
                imported.
        """
        with allow_imports(*self.allow):
            return [
                make_pass(name, options, where=partial(self._where, index))
                for index, (name, options) in enumerate(self.steps)
            ]

    def check(self) -> tuple[list[Pass], list[str]]:
        """Make the passes without importing anything that is not kerasurgeon's.

        Returns:
            The passes that could be made, and what was not checked: names of passes and of functions in options.

        Raises:
            RecipeError: As for ``make_passes``.
        """
        made: list[Pass] = []
        with nothing_imported() as unseen:
            for index, (name, options) in enumerate(self.steps):
                if is_own(catalogue().get(name, name)) or not (name in catalogue() or is_name(name)):
                    made.append(make_pass(name, options, where=partial(self._where, index)))
                else:
                    unseen.append(name)
        return made, list(dict.fromkeys(unseen))

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data.

        Raises:
            RecipeError: A pass or an option cannot be written: a local class, a lambda.
        """
        for name, _ in self.steps:
            if "<" in name:
                raise RecipeError(
                    f"The pass {name} cannot be written to a recipe.",
                    expected="a class at the top level of a module",
                    hint="move it to a module that can be imported",
                )
        steps = [
            {"name": name, **{key: _writable(value, f"{name}.{key}") for key, value in options.items()}}
            for name, options in self.steps
        ]
        sizes = {} if self.sizes is None else {"sizes": _writable(self.sizes, "sizes")}
        return {"seed": self.seed, "verify": self.verify, **sizes, "pass": steps, "versions": dict(self.versions)}

    def to_toml(self) -> str:
        """The recipe as TOML, each pass in a table of its own.

        Raises:
            RecipeError: A pass or an option cannot be written; ``None`` cannot in TOML, but can in JSON.
        """
        content = self.to_dict()
        steps, versions = content.pop("pass"), content.pop("versions")
        for step in steps:
            _require_no_none(step, step["name"])
        parts = [tomli_w.dumps(content)]
        for step in steps:
            tables = {key: value for key, value in step.items() if _has_tables(value)}
            plain = {key: value for key, value in step.items() if key not in tables}
            parts.append(
                "[[pass]]\n" + tomli_w.dumps(plain) + ("\n" + tomli_w.dumps({"pass": tables}) if tables else "")
            )
        if versions:
            parts.append(tomli_w.dumps({"versions": versions}))
        return "\n".join(parts)

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the recipe to a ``.toml`` or ``.json`` file; it appears whole or not at all.

        Raises:
            FileError: It cannot be written, or a file is there and ``overwrite`` is false.
            RecipeError: A pass or an option cannot be written: see ``to_toml``.
        """
        text = json.dumps(self.to_dict(), indent=2) if _is_json(Path(path)) else self.to_toml()
        write_text(path, text, overwrite=overwrite, what="recipe")

    def _where(self, index: int, option: str | None) -> str:
        """Where a pass stands, or the key of one of its options: file, line, number of the pass."""
        place = f"pass number {index + 1}" + (f", key {option!r}" if option else "")
        if self.source is None:
            return place
        starts = [found.start() for found in re.finditer(r"^[ \t]*\[\[pass\]\]", self._text, re.MULTILINE)]
        if index >= len(starts):
            return f"{self.source}, {place}"
        at, end = starts[index], [*starts, len(self._text)][index + 1]
        found = None
        if option is not None:
            key = re.compile(rf"^[ \t]*[\"']?{re.escape(option)}[\"']?[ \t]*=", re.MULTILINE)
            found = key.search(self._text, at, end)
        line = self._text.count("\n", 0, found.start() if found else at) + 1
        return f"{self.source}, line {line}, {place}"


def read_recipe(source: str | Path | Mapping[str, Any], *, allow: str | Sequence[str] = ()) -> Recipe:
    """Read a recipe. Nothing is imported before its passes are made.

    Args:
        source: Path of a ``.toml`` or ``.json`` file, or the contents as a mapping.
        allow: What its names may be imported from, see ``Recipe``.

    Raises:
        RecipeError: The file is missing or malformed, or has an unknown key.
    """
    read = (source, None, "") if isinstance(source, Mapping) else read_content(Path(source))
    return dataclasses.replace(_parse(*read), allow=as_names(allow))


def read_content(path: Path) -> tuple[Any, str, str]:
    """What a TOML or JSON file holds, its name and its text.

    Raises:
        RecipeError: The file is missing or malformed.
    """
    try:
        text = read_text(path, "recipe", RecipeError)
        return read_json(text) if _is_json(path) else tomllib.loads(text), str(path), text
    except RecursionError as error:
        raise RecipeError("The recipe cannot be read: it is nested too deeply.", where=str(path)) from error
    except ValueError as error:  # both parsers name line and column in their message
        if isinstance(error, UnicodeDecodeError):
            raise RecipeError("The recipe cannot be read.", where=str(path), got=str(error)) from error
        kind = "JSON" if _is_json(path) else "TOML"
        raise RecipeError(
            f"Recipe {str(path)!r} is not valid {kind}.", got=str(error), hint="fix the file there"
        ) from error


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _parse(content: Any, source: str | None, text: str) -> Recipe:
    def fail(what: str, key: str, **parts: Any) -> RecipeError:
        line = _line_of(text, key)
        where = f"key {key!r}" + (f", line {line}" if line else "") + (f" of {source}" if source else "")
        return RecipeError(what, where=where, **parts)

    if not isinstance(content, Mapping):
        raise RecipeError("A recipe is a table of keys.", got=type(content).__name__)
    for key in content:
        if key not in _TOP_KEYS:
            raise fail(f"A recipe has no key {key!r}.", key, hint=did_you_mean(key, _TOP_KEYS))
    seed, verify = content.get("seed", 0), content.get("verify", "exact")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise fail("The seed must be a whole number.", "seed", expected="0, 1, 2, ...", got=repr(seed))
    if verify not in VERIFY_LEVELS:
        raise fail(
            "There is no such level of verification.", "verify", expected=" or ".join(VERIFY_LEVELS), got=repr(verify)
        )
    try:
        sizes = plain_sizes(content["sizes"]) if "sizes" in content else None
    except OptionError as error:
        raise fail("The sizes cannot be used.", "sizes", expected=error.expected, got=error.got) from error
    versions = content.get("versions", {})
    if not isinstance(versions, Mapping):
        raise fail("The versions are written as a table.", "versions", expected="[versions]", got=repr(versions))
    steps = content.get("pass", [])
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        raise fail("Passes are written as [[pass]] tables.", "pass", expected='[[pass]]\nname = "FoldBatchNorm"')
    parsed = []
    for index, step in enumerate(steps):
        if not isinstance(step.get("name"), str):
            raise fail(
                f"Pass number {index + 1} has no name.", "pass", expected=f"one of {', '.join(sorted(catalogue()))}"
            )
        parsed.append((step["name"], {key: _tuples(value) for key, value in step.items() if key != "name"}))
    return Recipe(tuple(parsed), seed, verify, dict(versions), sizes, source, _text=text)


def _line_of(text: str, key: str) -> int | None:
    found = re.search(rf"^\s*\[*\"?{re.escape(key)}\"?\s*[\]=:]", text, re.MULTILINE)
    return None if found is None else text.count("\n", 0, found.end()) + 1


def _name(cls: type[Pass]) -> str:
    """How to find a pass again; a local class has no such name, which is an error only once a recipe is written."""
    return f"{cls.__module__}:{cls.__qualname__}" if "<" in cls.__qualname__ else name_of(cls)


def changed_options(item: Pass) -> dict[str, Any]:
    """The options of a pass that are not what they are by default."""
    if not dataclasses.is_dataclass(item):
        return {}
    changed = {}
    for option in dataclasses.fields(item):
        value = getattr(item, option.name)
        default = option.default
        if default is dataclasses.MISSING and option.default_factory is not dataclasses.MISSING:
            default = option.default_factory()
        if default is dataclasses.MISSING or not _same(value, default):
            changed[option.name] = value
    return changed


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(np.all(one == other))


def _writable(value: Any, where: str) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _writable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item, where) for item in value]
    if callable(value):
        return import_path(value, where)
    raise RecipeError(f"Option {where} cannot be written to a recipe.", got=repr(value))


def _tuples(value: Any) -> Any:
    """Lists as tuples: options of passes are immutable."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _has_tables(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_tables, value)))


def _require_no_none(value: Any, where: str) -> None:
    if value is None:
        raise RecipeError(f"Option {where} is None, which TOML cannot say.", hint="save the recipe as .json")
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        _require_no_none(part, f"{where}.{key}")


def _versions() -> dict[str, str]:
    return {"kerasurgeon": version("kerasurgeon"), "keras": keras.__version__, "numpy": np.__version__}
