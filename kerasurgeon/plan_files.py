"""Files of plans: JSON that names its format and version, to be edited by people; arrays beside it as npz.

Every plan is read and written here, so that all of them are whole or not there, and say the same of the same fault.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.array_files import load_arrays
from kerasurgeon.atomic import staged_together, write_text
from kerasurgeon.errors import PlanError
from kerasurgeon.file_errors import read_text, reading

Array = np.ndarray[Any, Any]

_FORMAT, _ARRAYS = "format", "arrays"
_SHORT = re.compile(r"\[\s*\n\s*([-+.\dEe]+|null|true|false)(,\s*\n\s*([-+.\dEe]+|null|true|false))*\s*\n\s*\]")
_UNUSABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError, RecursionError)
_NAMES = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", type(None): "null"}


@dataclass(frozen=True)
class PlanFile:
    """What a kind of plan looks like in a file.

    Attributes:
        kind: ``"blocks"``, where the format is ``"kerasurgeon.blocks/1"``.
        what: What messages call it: ``"plan of blocks"``.
        entries: The types of its entries, by name.
        optional: Entries that may be missing.
        version: The version that is written; no newer one is read.
        hint: What to do where a file cannot be used.
    """

    kind: str
    what: str
    entries: Mapping[str, type | tuple[type, ...]]
    optional: frozenset[str] = frozenset()
    version: int = 1
    hint: str = "it may come from another version of kerasurgeon, or be a file of another kind"

    @property
    def format(self) -> str:
        """What files name as their format."""
        return f"kerasurgeon.{self.kind}/{self.version}"

    def text(self, data: Mapping[str, Any]) -> str:
        """The JSON of a plan's entries; numbers and arrays may be numpy's, lists of numbers stand in one line."""
        whole = json.dumps({_FORMAT: self.format, **data}, indent=1, default=_plain)
        return _SHORT.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", whole) + "\n"

    def entries_of(self, data: Any, where: str | None = None) -> dict[str, Any]:
        """What JSON holds, checked.

        Args:
            data: What the text holds.
            where: The file, for messages.

        Raises:
            PlanError: The format or the version is another, an entry is missing, unknown or of a wrong type.
        """
        found = data.get(_FORMAT) if isinstance(data, dict) else type(data).__name__
        kind, _, version = str(found).rpartition("/")
        newer = kind == f"kerasurgeon.{self.kind}" and version.isdecimal() and int(version) > self.version
        if found != self.format:
            raise PlanError(
                f"The {self.what} has an unknown format" + (": it is of a newer version." if newer else "."),
                where=where,
                expected=self.format,
                got=str(found),
                hint="install the version of kerasurgeon that wrote it, or a newer one" if newer else self.hint,
            )
        wrong = [f"unknown {key!r}" for key in data if key not in self.entries and key not in (_FORMAT, _ARRAYS)]
        wrong += [f"no {key!r}" for key in self.entries if key not in data and key not in self.optional]
        if wrong:
            raise self.misshapen(", ".join(wrong), where)
        for key, types in self.entries.items():
            several = types if isinstance(types, tuple) else (types,)
            if key in data and (type(data[key]) not in several):
                raise PlanError(
                    f"This does not have the form of a {self.what}: its {key!r} cannot be used.",
                    where=where,
                    expected=" or ".join(_NAMES[one] for one in several),
                    got=repr(data[key])[:80],
                    hint=self.hint,
                )
        return {key: value for key, value in data.items() if key != _FORMAT}

    def misshapen(self, got: str, where: str | None) -> PlanError:
        """The error for a file whose entries are not those of such a plan."""
        return PlanError(f"This does not have the form of a {self.what}.", where=where, got=got, hint=self.hint)

    @contextmanager
    def part(self, where: str | None) -> Iterator[None]:
        """Let what goes wrong while a part of the data is made use of be said with its place.

        Raises:
            PlanError: The part is not what it should be.
        """
        try:
            yield
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
            MemoryError,
            RecursionError,
        ) as error:
            raise self.misshapen(f"{type(error).__name__}: {error}", where) from error

    def save(self, path: str | Path, data: Mapping[str, Any], *, overwrite: bool = True) -> None:
        """Write the JSON file, whole or not at all.

        Raises:
            FileError: It cannot be written, or another is there and ``overwrite`` is false.
        """
        write_text(path, self.text(data), overwrite=overwrite, what=self.what)

    def load(self, path: str | Path) -> dict[str, Any]:
        """Read a JSON file.

        Raises:
            PlanError: There is no such file, it is no JSON, or see ``entries_of``.
        """
        data = parse_json(read_plan_text(path, self.what), self.what, str(path))
        self.entries_of(data, str(path))
        return dict(data)

    def save_pair(
        self, path: str | Path, data: Mapping[str, Any], arrays: Mapping[str, Array] | None, *, overwrite: bool = True
    ) -> None:
        """Write the JSON file, and the npz file if there are arrays; the JSON comes last, with the digest of the other.

        Args:
            path: With the suffix of either file, or without.
            data: What goes into the JSON file.
            arrays: What goes into the npz file; ``None`` for no such file.
            overwrite: Whether files that are there may be replaced.

        Raises:
            FileError: They cannot be written, or others are there and ``overwrite`` is false.
        """
        text, packed = _paths(path)
        if arrays is None:
            self.save(text, data, overwrite=overwrite)
            return
        with staged_together([packed, text], overwrite=overwrite, what=self.what) as (new_packed, new_text):
            with new_packed.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            whole = {**data, _ARRAYS: {"file": packed.name, "sha256": _digest(new_packed)}}
            new_text.write_text(self.text(whole), encoding="utf-8")

    def load_pair(self, path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
        """Read what ``save_pair`` wrote.

        Args:
            path: With the suffix of either file, or without.

        Raises:
            PlanError: As for ``load``; or the npz file is missing or damaged, or not that of the JSON file.
        """
        text, packed = _paths(path)
        data = self.load(text)
        named = data.pop(_ARRAYS, None)
        if named is None:
            return data, {}
        digest = named.get("sha256") if isinstance(named, dict) else None
        try:
            with reading(packed, f"{self.what}'s file of arrays", PlanError):
                actual = _digest(packed)
            if actual != digest:
                raise PlanError(
                    "The arrays are not those that the plan was saved with: the file is damaged or of another plan.",
                    where=str(packed),
                    expected=f"sha256 {digest}",
                    got=actual,
                    hint=f"copy {packed.name} and {text.name} together, or save the plan anew",
                )
            arrays = load_arrays(packed)
            return data, arrays if isinstance(arrays, dict) else {}
        except (OSError, ValueError) as error:
            raise PlanError("The plan's arrays cannot be read.", where=str(packed), got=str(error)) from error


def read_plan_text(path: str | Path, what: str) -> str:
    """The text of a file.

    Args:
        path: The file.
        what: What messages call it.

    Raises:
        PlanError: There is no such file, or it cannot be read.
    """
    try:
        return read_text(path, what, PlanError)
    except ValueError as error:  # no UTF-8
        raise PlanError(f"The {what} cannot be read.", where=str(path), got=str(error)) from error


def parse_json(text: str, what: str, where: str | None = None) -> Any:
    """What JSON text holds.

    Raises:
        PlanError: It is no JSON, and the message names the line; or an object has one name twice.
    """
    try:
        return read_json(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}" if where is None else f"{where}, line {error.lineno}"
        raise PlanError(f"The {what} cannot be read: it is not valid JSON.", where=place, got=error.msg) from error
    except ValueError as error:
        hint = "keep one of them" if "twice" in str(error) else None
        raise PlanError(f"The {what} cannot be read: {error}.", where=where, hint=hint) from error


def read_json(text: str) -> Any:
    """What JSON text holds.

    Raises:
        ValueError: It is no JSON, nested too deeply, or an object has one name twice, of which readers take either.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _paths(path: str | Path) -> tuple[Path, Path]:
    """The JSON and the npz file of a path, which may end in either suffix or in none."""
    stem = Path(path)
    name = stem.name[: -len(stem.suffix)] if stem.suffix in (".json", ".npz") else stem.name
    return stem.with_name(name + ".json"), stem.with_name(name + ".npz")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be written as JSON")


__all__ = ["PlanFile", "parse_json", "read_json", "read_plan_text"]
