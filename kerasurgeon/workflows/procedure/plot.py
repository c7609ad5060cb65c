"""Learning curves of a run: one picture below the other, training and validation in each."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasurgeon.atomic import staged
from kerasurgeon.errors import OptionError, did_you_mean, missing_extra

_VALIDATION = "val_"
_LEFT_OUT = ("epoch", "learning_rate")


@dataclass(frozen=True)
class Curve:
    """One value over the epochs of one training.

    Attributes:
        training: ``"original"``, ``"shunt_1"``, ..., ``"final"``.
        field: ``"loss"``, ``"accuracy"``, ...
        train: After each epoch, on the training data.
        validation: On the validation data; empty without any.
    """

    training: str
    field: str
    train: tuple[float, ...]
    validation: tuple[float, ...]


def read_curves(run: Path, fields: Sequence[str] = ()) -> tuple[Curve, ...]:
    """The learning curves of a run.

    Args:
        run: The folder of a run; or of one training, with a ``history.csv``.
        fields: Which values; all but the learning rate by default. ``"final/loss"`` is that of one training.

    Raises:
        OptionError: The folder holds no histories, or no such field.
    """
    files = _histories(run)
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


def plot_curves(curves: Sequence[Curve], path: str | Path, *, title: str = "") -> Path:
    """Draw learning curves, one below the other.

    Args:
        curves: What to draw.
        path: The picture: .png, .svg or .pdf.
        title: What stands above.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: The suffix names no kind of picture.
    """
    target = Path(path)
    if target.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise OptionError("The suffix names no kind of picture.", where=str(target), expected=".png, .svg or .pdf")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot", "A plot of learning curves") from error
    figure = Figure(figsize=(7, 2.2 * len(curves) + 0.6), layout="constrained")
    for place, curve in enumerate(curves):
        axes = figure.add_subplot(len(curves), 1, place + 1)
        for name, values in (("training", curve.train), ("validation", curve.validation)):
            if values:
                axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
        axes.set_title(f"{curve.training}: {curve.field}", loc="left", fontsize="medium")
        axes.grid(alpha=0.3)
        if place == 0:
            axes.legend()
        if place == len(curves) - 1:
            axes.set_xlabel("epoch")
    if title:
        figure.suptitle(title)
    with staged(target) as temporary:
        figure.savefig(temporary, dpi=120)
    return target


def _histories(run: Path) -> dict[str, Path]:
    if (run / "history.csv").is_file():
        return {run.name: run / "history.csv"}
    found = {path.stem: path for path in sorted((run / "histories").glob("*.csv"))}
    # A training that is still going on has its history where it works.
    for path in sorted((run / "training").glob("**/history.csv")):
        found.setdefault(path.parent.name, path)
    order = {"original": 0, "final": 2}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 1), item[0])))


def _curves(training: str, path: Path) -> list[Curve]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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
