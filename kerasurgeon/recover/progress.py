"""What is kept while a training runs: logs, the best weights, and all that it takes to go on after an interruption."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.array_files import load_arrays
from kerasurgeon.atomic import staged, write_text
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.recover.result import history_of
from kerasurgeon.report.files import as_csv

STATE, HISTORY, BEST = "state.npz", "history.csv", "best.weights.h5"
_UP = ("acc", "iou", "auc", "precision", "recall", "f1", "fbeta", "dice", "top_k", "r2", "cosine_similarity")
_DOWN = ("loss", "error", "entropy", "divergence", "mse", "mae", "mape", "poisson", "hinge", "perplexity")


class Progress(keras.callbacks.Callback):
    """Keeps the logs of every epoch and the best weights; with a folder, on disk, to go on from there.

    Args:
        keep: Copies the weights of now into the model that will be the result.
        result: That model.
        monitor: What says which epoch is the best: the first of these that is logged.
        mode: ``"min"``, ``"max"`` or ``"auto"``: as its name tells.
        keep_best: Whether the best weights are kept; else the last.
        folder: Where to write.
        variables: All that changes: weights, random states, the optimizer's variables. Asked for when it is needed.
        schedule: The callback of the learning rate; what it remembers of earlier epochs is kept too.
        identity: What makes this training what it is: only the same is gone on with.
    """

    def __init__(
        self,
        *,
        keep: Callable[[], None],
        result: keras.Model,
        monitor: Sequence[str],
        mode: str,
        keep_best: bool,
        folder: Path | None,
        variables: Callable[[], Sequence[Any]],
        schedule: Any,
        identity: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.keep, self.result, self.monitor, self.mode = keep, result, tuple(monitor), mode
        self.keep_best, self.folder, self.variables = keep_best, folder, variables
        self.schedule, self.identity = schedule, json.loads(json.dumps(identity))
        self.rows: list[dict[str, float]] = []
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.watched: str | None = None
        self.done = False
        self._memory: dict[str, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the schedule back what it remembered: Keras makes it forget when training begins."""
        vars(self.schedule).update(self._memory) if self.schedule is not None else None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note what was logged, and keep the weights if they are the best so far."""
        row = {name: float(value) for name, value in sorted((logs or {}).items())}
        row.setdefault("learning_rate", float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))
        self.rows.append(row)
        if self.keep_best:
            self._compare(epoch, row)
        self._save()

    def finish(self) -> None:
        """Note that the training has come to its end, or had come to it before."""
        if not self.keep_best or self.watched is None:
            self.keep()
        if not self.done:
            self.done = True
            self._save()

    def _compare(self, epoch: int, row: Mapping[str, float]) -> None:
        if self.watched is None:
            self.watched = next((name for name in self.monitor if name in row), None)
            if self.watched is None:
                if any(name.startswith("val_") for name in row):
                    raise OptionError(
                        f"monitor={self.monitor[0]!r} is not among what is logged.",
                        hint=did_you_mean(self.monitor[0], row),
                    )
                return  # without validation data nothing says which epoch is best
        value = row.get(self.watched, math.nan)
        better = self.best is None or (value > self.best if self._direction() == "max" else value < self.best)
        if math.isfinite(value) and better:
            self.best, self.best_epoch = value, epoch
            self.keep()
            if self.folder is not None:
                with staged(self.folder / BEST) as temporary:
                    self.result.save_weights(temporary)

    def _direction(self) -> str:
        assert self.watched is not None
        if self.mode in ("min", "max"):
            return self.mode
        found = direction(self.watched)
        if found is None:
            raise OptionError(
                f"Is more or less of {self.watched!r} better?", expected="mode='max' or mode='min'", got="mode='auto'"
            )
        return found

    def _save(self) -> None:
        if self.folder is None:
            return
        write_text(self.folder / HISTORY, table(self.rows))
        names = ("wait", "best", "cooldown_counter")
        memory = {name: getattr(self.schedule, name) for name in names if hasattr(self.schedule, name)}
        meta = {
            "identity": self.identity, "rows": self.rows, "best": self.best, "best_epoch": self.best_epoch,
            "watched": self.watched, "done": self.done,
            "memory": {name: None if value is None else float(value) for name, value in memory.items()},
        }  # fmt: skip
        arrays: dict[str, Any] = {f"v{place}": _plain(variable) for place, variable in enumerate(self.variables())}
        with staged(self.folder / STATE) as temporary:
            np.savez(temporary, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)

    def resume(self) -> int:
        """Take up what an earlier run of the same training left. Returns the epoch to go on with.

        Raises:
            OptionError: The folder holds another training, or a file that cannot be read.
        """
        path = None if self.folder is None else self.folder / STATE
        if path is None or not path.exists():
            return 0
        try:
            stored = load_arrays(path)
            meta = json.loads(stored["meta"].tobytes())
            arrays = [stored[f"v{place}"] for place in range(len(stored) - 1)]
        except Exception as error:
            raise OptionError(
                "The state of a training cannot be read.", where=str(path), got=f"{type(error).__name__}: {error}",
                hint="remove the file to begin anew",
            ) from error  # fmt: skip
        self._check(meta["identity"], path)
        variables = list(self.variables())
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
            raise self._other(path, "its weights have other shapes")
        self.rows, self.best, self.best_epoch = meta["rows"], meta["best"], meta["best_epoch"]
        self.watched, self.done = meta["watched"], meta["done"]
        self._memory = {
            name: int(value) if name != "best" and value is not None else value
            for name, value in meta["memory"].items()
        }
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        if self.best_epoch is not None and self.folder is not None:
            try:
                self.result.load_weights(self.folder / BEST)
            except Exception as error:
                raise OptionError(
                    "The best weights of a training cannot be read.", where=str(self.folder / BEST),
                    got=f"{type(error).__name__}: {error}"[:200], hint="remove the folder to begin anew",
                ) from error  # fmt: skip
        return len(self.rows)

    def _check(self, identity: Mapping[str, Any], path: Path) -> None:
        names = [name for name in {**identity, **self.identity} if identity.get(name) != self.identity.get(name)]
        if names:
            parts = [f"{name}: {_short(identity.get(name))}, now {_short(self.identity.get(name))}" for name in names]
            raise self._other(path, "; ".join(parts))

    @staticmethod
    def _other(path: Path, got: str) -> OptionError:
        return OptionError(
            "The folder holds the state of another training.", where=str(path), got=got,
            hint="choose another folder, or remove this one to begin anew",
        )  # fmt: skip


def direction(name: str) -> str | None:
    """Whether more (``"max"``) or less (``"min"``) of a logged number is better, as its name tells, if it does."""
    plain = name.removeprefix("val_").lower()
    if any(part in plain for part in _DOWN):
        return "min"
    return "max" if any(part in plain for part in _UP) else None


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """Rows of logs as CSV, one line an epoch."""
    columns = history_of(rows)
    return as_csv(
        ["epoch", *columns], ([epoch, *(row[epoch] for row in columns.values())] for epoch in range(len(rows)))
    )


def _plain(variable: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array if array.dtype.kind in "biuf" else array.astype("float32")  # bfloat16 has no place in a file of numpy


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."


__all__ = ["BEST", "HISTORY", "STATE", "Progress", "direction", "table"]
