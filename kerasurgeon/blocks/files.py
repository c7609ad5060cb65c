"""The files of a plan of blocks: JSON, with the weights beside it where there are any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text
from kerasurgeon.blocks.networks import Array
from kerasurgeon.errors import PlanError
from kerasurgeon.factors.files import load_data, load_pair, paths_of, save_pair


def write_plan(path: str | Path, data: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write the JSON file, and the npz file if there are arrays; each is written beside and moved into place.

    Raises:
        PlanError: They cannot be written.
    """
    if arrays:
        save_pair(path, data, arrays)
        return
    text, _ = paths_of(path)
    try:
        write_text(text, json.dumps(data, indent=1) + "\n")
    except OSError as error:
        raise PlanError("The plan cannot be written.", where=str(text), got=str(error)) from error


def read_plan(path: str | Path, format_: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what ``write_plan`` wrote.

    Raises:
        PlanError: A file is missing or damaged, or the format is another.
    """
    data = load_data(path, format_)
    return load_pair(path, format_) if "arrays" in data else (data, {})


__all__ = ["read_plan", "write_plan"]
