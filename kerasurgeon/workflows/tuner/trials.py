"""What a search has found: its trials as a table, and its best model as a plain Keras model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from kerasurgeon.atomic import write_text
from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.report.files import as_csv
from kerasurgeon.report.numbers import format_count
from kerasurgeon.report.tables import Printed, grid, markdown
from kerasurgeon.workflows.tuner.hypermodel import AutoCompress


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial, at its best epoch; means over its executions. What it did not come to is ``None``.

    Attributes:
        trial: The tuner's name of it.
        translator: What was cut, ``"A,B"``, or ``"none"``.
        units: Width of the head.
        lr: Learning rate.
        accuracy: On the data to validate on, in [0, 1].
        parameters: Of the whole model.
        cost: What the search saves, in its unit.
        acc_comp: What the search maximises, as measured on the data to validate on.
        status: ``"COMPLETED"``, ``"FAILED"``, ...
        message: The last line of the error of a trial that failed.
    """

    trial: str
    translator: str | None
    units: int | None
    lr: float | None
    accuracy: float | None
    parameters: int | None
    cost: float | None
    acc_comp: float | None
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Trials(Printed):
    """The trials of a search, the best first; ``print`` shows them as a table.

    Attributes:
        rows: The trials.
        cost_name: What the search saves: ``"params"``, ``"macs"``, or the name of the function.
        max_cost: What costs are compared with.
        note: What costs leave out; empty if they are known.
    """

    rows: tuple[TrialRow, ...]
    cost_name: str
    max_cost: float
    note: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[TrialRow]:
        return iter(self.rows)

    def to_csv(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the rows as a CSV file, with a line of headings.

        Raises:
            FileError: It cannot be written, or a file is there and ``overwrite`` is false.
        """
        text = as_csv([field.name for field in fields(TrialRow)], map(astuple, self.rows))
        write_text(path, text, overwrite=overwrite)

    def to_markdown(self) -> str:
        """The rows as a table in Markdown."""
        return markdown(self._heads(), map(self._cells, self.rows), left=2)

    def table(self) -> Table:
        """A rich table."""
        heads, title = self._heads(), f"{len(self.rows)} trials, the best first"
        return grid(heads, map(self._cells, self.rows), left=heads[:2], title=title)

    def lines(self) -> list[str]:
        """Why trials failed, and what costs leave out."""
        failed = [f"trial {row.trial} failed: {row.message}" for row in self.rows if row.message]
        return [*failed, self.note] if self.note else failed

    def _heads(self) -> list[str]:
        own = [] if self.cost_name == "params" else [self.cost_name]
        return ["trial", "cut", "units", "lr", "accuracy", "parameters", *own, "saved", "acc_comp"]

    def _cells(self, row: TrialRow) -> list[str]:
        own = [] if self.cost_name == "params" else [_shown(row.cost, _count)]
        return [
            row.trial if row.status == "COMPLETED" else f"{row.trial} ({row.status.lower()})",
            (row.translator or "?").replace(",", " to "),
            _shown(row.units, str),
            _shown(row.lr, "{:.1e}".format),
            _shown(row.accuracy, "{:.1%}".format),
            _shown(row.parameters, format_count),
            *own,
            _shown(row.cost, lambda cost: f"{1 - cost / self.max_cost:.1%}"),
            _shown(row.acc_comp, "{:.4f}".format),
        ]


def trials(tuner: Any) -> Trials:
    """The trials of a tuner, also of one that went on from its directory.

    Args:
        tuner: A tuner of keras-tuner whose hypermodel is an ``AutoCompress``.

    Raises:
        KerasurgeonError: Its hypermodel is another.
    """
    hypermodel = _hypermodel(tuner)
    rows = [_row(trial) for trial in tuner.oracle.trials.values()]
    rows.sort(key=lambda row: -float("inf") if row.acc_comp is None else row.acc_comp, reverse=True)
    return Trials(tuple(rows), hypermodel.cost_name, hypermodel.max_cost, hypermodel.note)


def best_model(tuner: Any, rank: int = 0) -> keras.Model:
    """A model that was found, with the weights of its best epoch, as a plain Keras model.

    It is compiled without ``acc_comp``, so that it can be saved, loaded and trained where kerasurgeon is not installed;
    ``tuner.get_best_models()`` gives the same with it.

    Args:
        tuner: A tuner of keras-tuner whose hypermodel is an ``AutoCompress``.
        rank: 0 is the best, 1 the one after it.

    Raises:
        KerasurgeonError: The hypermodel is another, or so many trials have not been completed.
    """
    hypermodel = _hypermodel(tuner)
    found = tuner.oracle.get_best_trials(rank + 1)
    if len(found) <= rank:
        raise KerasurgeonError(
            "There is no such model yet.",
            expected=f"at least {rank + 1} completed trials",
            got=str(len(found)),
            hint="tuner.search(...) runs trials; print(trials(tuner)) shows what became of them",
        )
    model = tuner.load_model(found[rank])
    hypermodel.compile_plainly(model)
    return model


def _hypermodel(tuner: Any) -> AutoCompress:
    hypermodel = getattr(tuner, "hypermodel", None)
    if not isinstance(hypermodel, AutoCompress):
        raise KerasurgeonError(
            "This is no tuner of an AutoCompress.",
            expected="keras_tuner.RandomSearch(AutoCompress(...), ...)",
            got=type(tuner).__name__ if hypermodel is None else f"a tuner of {type(hypermodel).__name__}",
        )
    return hypermodel


def _row(trial: Any) -> TrialRow:
    values = trial.hyperparameters.values
    parameters = _metric(trial, "parameters")
    failed = trial.status in ("FAILED", "INVALID")
    lines = (trial.message or "").strip().splitlines()
    return TrialRow(
        trial=str(trial.trial_id),
        translator=values.get("translator"),
        units=values.get("units"),
        lr=values.get("lr"),
        accuracy=_metric(trial, "val_accuracy"),
        parameters=None if parameters is None else round(parameters),
        cost=_metric(trial, "cost"),
        acc_comp=None if trial.score is None else float(trial.score),
        status=trial.status,
        message=lines[-1] if failed and lines else "",
    )


def _metric(trial: Any, name: str) -> float | None:
    if not trial.metrics.exists(name):
        return None
    history = trial.metrics.get_history(name)
    return float(history[-1].mean()) if history else None


def _count(cost: float) -> str:
    return format_count(round(cost)) if cost >= 1000 else f"{cost:.3g}"


def _shown(value: Any, show: Any) -> str:
    return "?" if value is None else str(show(value))
