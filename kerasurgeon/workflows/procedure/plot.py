"""Learning curves of a run, read from its histories."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.file_errors import check_path, reading
from kerasurgeon.report.pictures import Curve

_VALIDATION = "val_"
_LEFT_OUT = ("epoch", "learning_rate")


def read_curves(run: Path, fields: Sequence[str] = ()) -> tuple[Curve, ...]:
    """The learning curves of a run.

    Args:
        run: The folder of a run; or of one training, with a ``history.csv``.
        fields: Which values; all but the learning rate by default. ``"final/loss"`` is that of one training.

    Raises:
        OptionError: The folder holds no histories, or no such field.
    """
    check_path(run, "folder of a run", OptionError)
    files = histories(run)
    if not files:
        raise OptionError(
            "The folder holds no histories of trainings.",
            where=str(run),
            expected="the folder of a run, with histories/*.csv",
        )
    curves = [curve for name, path in files.items() for curve in _curves(name, path)]
    if not fields:
        return tuple(curve for curve in curves if curve.field not in _LEFT_OUT)
    chosen: list[Curve] = []
    for field in fields:
        wanted = field.removeprefix(_VALIDATION)
        found = [curve for curve in curves if wanted in (curve.field, f"{curve.training}/{curve.field}")]
        if not found:
            known = {curve.field for curve in curves} | {f"{curve.training}/{curve.field}" for curve in curves}
            raise OptionError(f"The run has no field {field!r}.", hint=did_you_mean(field, known))
        chosen += [curve for curve in found if curve not in chosen]
    return tuple(chosen)


def histories(run: Path) -> dict[str, Path]:
    """The files with the histories of a run, by training, in order."""
    if (run / "history.csv").is_file():
        return {run.name: run / "history.csv"}
    found = {path.stem: path for path in sorted((run / "histories").glob("*.csv"))}
    # A training that is still going on has its history where it works.
    for path in sorted((run / "training").glob("**/history.csv")):
        found.setdefault(path.parent.name, path)
    order = {"original": 0, "final": 2}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 1), item[0])))


def _curves(training: str, path: Path) -> list[Curve]:
    try:
        with reading(path, "history"), path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError("The history cannot be read.", where=str(path), got=str(error)) from error
    if not rows:
        return []
    columns = {name: tuple(_number(row[name]) for row in rows) for name in rows[0] if name}
    return [
        Curve(training, name, values, columns.get(_VALIDATION + name, ()))
        for name, values in columns.items()
        if not name.startswith(_VALIDATION)
    ]


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
