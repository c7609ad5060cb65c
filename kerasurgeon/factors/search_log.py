"""The log of a search: what was tried and what came of it. A table, and a file that a search goes on from."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from rich.table import Table

from kerasurgeon.errors import PlanError
from kerasurgeon.factors.picks import Pick
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.report.charts import Chart, chart, series
from kerasurgeon.report.tables import Printed, grid

PLAN = PlanFile(
    "factor-search",
    "search log",
    {"measure": str, "fingerprint": str, "floor": (float, int, type(None)), "trials": list},
    hint="name another file, or delete this one to start anew",
)


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluation.

    Attributes:
        stage: ``"base"``, ``"alone"`` (one layer by itself), ``"all"`` (all layers together), ``"one"`` (one layer
            made cheaper) or ``"kept"`` (confirmed on what was kept aside).
        picks: What layers became, by key.
        cost: What the model costs then.
        accuracy: What the evaluation gave.
    """

    stage: str
    picks: Mapping[str, Pick]
    cost: float
    accuracy: float


@final
@dataclass
class SearchLog(Printed):
    """What a search tried.

    Attributes:
        measure: What the costs are: ``"macs"``, ``"params"`` or ``"bytes"``.
        fingerprint: Of the model and the options that decide which choices there are; a log of others is not gone on
            from.
        floor: The least accuracy that is within the bound.
        trials: In order.
        path: The file it is kept in, if any; written after every trial.
    """

    measure: str
    fingerprint: str = ""
    floor: float = math.inf
    trials: list[Trial] = field(default_factory=list)
    path: Path | None = None

    def add(self, trial: Trial) -> None:
        """Remember a trial, in the file too."""
        self.trials.append(trial)
        if self.path is not None:
            self.save(self.path)

    def known(self, picks: Mapping[str, Pick]) -> Trial | None:
        """The trial of a choice, if there was one."""
        wanted = dict(picks)
        return next((trial for trial in self.trials if dict(trial.picks) == wanted), None)

    @property
    def best(self) -> Trial | None:
        """The cheapest trial within the bound."""
        accepted = [trial for trial in self.trials if trial.picks and trial.accuracy >= self.floor]
        return min(accepted, key=lambda trial: trial.cost) if accepted else None

    def to_json(self) -> str:
        """All of it, as JSON."""
        return PLAN.text(self._data())

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            FileError: It cannot be written.
        """
        PLAN.save(path, self._data())

    def _data(self) -> dict[str, Any]:
        return {
            "measure": self.measure,
            "fingerprint": self.fingerprint,
            "floor": self.floor if math.isfinite(self.floor) else None,
            "trials": [asdict(trial) for trial in self.trials],
        }

    @classmethod
    def open(cls, path: str | Path | None, measure: str, fingerprint: str) -> SearchLog:
        """The log in a file, to go on from, or a new one, which is then in the file.

        Raises:
            PlanError: The file is no log, or the log of another search.
            FileError: It cannot be written.
        """
        log = cls(measure, fingerprint, path=None if path is None else Path(path))
        if log.path is None:
            return log
        if not os.path.lexists(log.path):
            log.save(log.path)  # a file that cannot be written is told before the first evaluation
            return log
        content = PLAN.load(log.path)
        for number, trial in enumerate(content["trials"], start=1):
            with PLAN.part(f"{log.path}, trial {number}"):
                log.trials.append(_trial(trial))
        if content["fingerprint"] != fingerprint:
            raise PlanError(
                "The search log is of another search: the model, its weights or the options are not the same.",
                where=str(log.path),
                hint=PLAN.hint,
            )
        return log

    def table(self) -> Table:
        """One row per layer and trial: layer, ranks, sparsity, cost, accuracy."""
        heads = ("trial", "stage", "layer", "method", "ranks", "sparsity", "cost", "accuracy", "within")
        table = grid(heads, left=("stage", "layer", "method"), title=f"search, costs in {self.measure}")
        for number, trial in enumerate(self.trials):
            ending = (f"{trial.cost:,.0f}", f"{trial.accuracy:.6g}", "yes" if trial.accuracy >= self.floor else "no")
            rows = [
                (
                    layer,
                    pick.method,
                    "x".join("whole" if rank is None else str(rank) for rank in pick.ranks),
                    f"{pick.sparsity:.2%}",
                )
                for layer, pick in trial.picks.items()
            ] or [("", "", "", "")]
            for row in rows:
                table.add_row(str(number), trial.stage, *row, *ending)
        return table

    def charts(self) -> list[Chart]:
        """What a page shows of the search: what was tried, and what half of each layer's cost is worth."""
        base = next((trial for trial in self.trials if trial.stage == "base"), None)
        if base is None:
            return []
        section, x, y = "Search by accuracy", f"cost in {self.measure}", "accuracy"
        stages = {
            "base": "as it is",
            "alone": "one layer alone",
            "all": "all layers",
            "one": "one layer cheaper",
            "kept": "confirmed",
        }
        tried = [
            series(name, [(trial.cost, trial.accuracy) for trial in self.trials if trial.stage == stage], "points")
            for stage, name in stages.items()
        ]
        costs = [trial.cost for trial in self.trials]
        least = series("least that is allowed", [(min(costs), self.floor), (max(costs), self.floor)])
        alone = [(next(iter(trial.picks)), trial) for trial in self.trials if trial.stage == "alone" and trial.picks]
        lost = [(place, base.accuracy - trial.accuracy) for place, (_, trial) in enumerate(alone)]
        bars = series("accuracy lost", lost, "bars", [name for name, _ in alone])
        found = [chart("What was tried", [*tried, least], section=section, x=x, y=y)]
        if alone:
            title, names = "Sensitivity: what is lost with half of a layer's cost gone", [name for name, _ in alone]
            found.append(chart(title, [bars], section=section, y="accuracy lost", names=names))
        return found

    def __repr__(self) -> str:
        return f"SearchLog({len(self.trials)} trials, {self.measure})"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """A short name for some values."""
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:16]


def _trial(content: Mapping[str, Any]) -> Trial:
    picks = {
        key: Pick(pick["method"], tuple(pick["ranks"]), float(pick["sparsity"]))
        for key, pick in content["picks"].items()
    }
    return Trial(content["stage"], picks, float(content["cost"]), float(content["accuracy"]))


__all__ = ["SearchLog", "Trial", "fingerprint"]
