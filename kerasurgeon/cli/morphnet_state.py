"""Whether a folder holds a run of ``kerasurgeon morphnet`` that goes on, and by which options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import make_folder
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.file_errors import read_text
from kerasurgeon.plan_files import parse_json
from kerasurgeon.report.files import write_json

FOLDER, OPTIONS, STATE, RESULTS = "training", "options.json", "state.npz", "results.json"


def unfinished(folder: Path) -> bool:
    """Whether a folder holds a run that has not come to its end."""
    return os.path.isfile(folder / FOLDER / OPTIONS) and not os.path.exists(folder / RESULTS)


def begin(folder: Path, options: Mapping[str, Any]) -> None:
    """Note a run's options, or see that they are those of the run that is gone on with.

    Raises:
        UsageError: They are others.
    """
    path = folder / FOLDER / OPTIONS
    if not path.is_file():
        make_folder(path.parent)
        write_json(path, dict(options))
        return
    before = parse_json(read_text(path, "options of a run"), "options of a run", str(path))
    differ = [key for key in options if before.get(key) != options[key]]
    if differ:
        raise UsageError(
            "The folder holds a run with other options, which has not come to its end.",
            where=str(folder),
            expected=", ".join(f"--{key} {before.get(key)}" for key in differ),
            got=", ".join(f"--{key} {options[key]}" for key in differ),
            hint="give the same options to go on with it, or another --log-dir, or --overwrite to begin anew",
        )


def forget(folder: Path) -> None:
    """Take away what a run has kept to go on."""
    for name in (STATE, OPTIONS):
        (folder / FOLDER / name).unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or holds something else
        (folder / FOLDER).rmdir()


__all__ = ["FOLDER", "STATE", "begin", "forget", "unfinished"]
