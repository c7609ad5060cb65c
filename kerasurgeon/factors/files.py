"""Two files that belong together: JSON to be read by people, and arrays as npz."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.atomic import staged
from kerasurgeon.errors import PlanError

Array = np.ndarray[Any, Any]

_DIGEST = "arrays"


def paths_of(path: str | Path) -> tuple[Path, Path]:
    """The JSON and the npz file of a path, which may end in either suffix or in none."""
    stem = Path(path)
    name = stem.name[: -len(stem.suffix)] if stem.suffix in (".json", ".npz") else stem.name
    return stem.with_name(name + ".json"), stem.with_name(name + ".npz")


def save_pair(path: str | Path, data: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write both files, beside and then moved into place, the JSON last: it holds the digest of the other.

    Args:
        path: See ``paths_of``.
        data: What goes into the JSON file; whole numbers may be numpy's.
        arrays: What goes into the npz file.

    Raises:
        PlanError: They cannot be written.
    """
    text, packed = paths_of(path)
    try:
        with staged(text) as new_text, staged(packed) as new_packed:  # the last is moved first
            with new_packed.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            whole = {**data, _DIGEST: {"file": packed.name, "sha256": _digest(new_packed)}}
            new_text.write_text(json.dumps(whole, indent=1, default=int) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlanError("The plan cannot be written.", where=str(text), got=error.strerror or str(error)) from error


def load_pair(path: str | Path, format_: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read both files.

    Args:
        path: See ``paths_of``.
        format_: What the JSON must name as its format.

    Raises:
        PlanError: One is missing or damaged, they do not belong together, or the format is another.
    """
    text, packed = paths_of(path)
    data = load_data(path, format_)
    digest = data.get(_DIGEST, {}).get("sha256") if isinstance(data.get(_DIGEST), dict) else None
    try:
        actual = _digest(packed)
        if actual != digest:
            raise PlanError(
                "The arrays are not those that the plan was saved with: the file is damaged or of another plan.",
                where=str(packed),
                expected=f"sha256 {digest}",
                got=actual,
                hint=f"copy {packed.name} and {text.name} together, or save the plan anew",
            )
        with np.load(packed, allow_pickle=False) as archive:
            return data, {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PlanError("The plan's arrays cannot be read.", where=str(packed), got=str(error)) from error


def load_data(path: str | Path, format_: str) -> dict[str, Any]:
    """Read the JSON file alone.

    Args:
        path: See ``paths_of``.
        format_: What the JSON must name as its format.

    Raises:
        PlanError: It is missing or damaged, or the format is another.
    """
    text, _ = paths_of(path)
    try:
        data = json.loads(text.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise PlanError("The plan is not valid JSON.", where=f"{text}, line {error.lineno}", got=error.msg) from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError("The plan cannot be read.", where=str(text), got=str(error)) from error
    found = data.get("format") if isinstance(data, dict) else type(data).__name__
    if found != format_:
        hint = "it may come from another version of kerasurgeon, or be a plan of another kind"
        raise PlanError("The plan has an unknown format.", where=str(text), expected=format_, got=str(found), hint=hint)
    return dict(data)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["load_data", "load_pair", "paths_of", "save_pair"]
