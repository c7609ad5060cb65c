"""What a training gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import keras


@final
@dataclass(frozen=True)
class TrainResult:
    """A trained model and how it came about.

    Attributes:
        model: A new model; the one that was passed in is as it was.
        history: What was logged after each epoch, by name: ``"loss"``, ``"val_loss"``, ``"learning_rate"``, metrics. Of
            bridges the names begin with that of the bridge: ``"shunt_1/loss"``.
        best_epoch: The epoch, counted from 0, whose weights the model has, where the best ones were kept; of several
            bridges by their names.
        folder: Where files were written, if anywhere.
        notes: What is worth knowing, one sentence each.
    """

    model: keras.Model
    history: Mapping[str, Sequence[float]]
    best_epoch: int | Mapping[str, int | None] | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        epochs = max(map(len, self.history.values()), default=0)
        return f"<TrainResult of {self.model.name!r}: {epochs} epochs, best {self.best_epoch}>"


def history_of(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Rows of logs, one an epoch, as one list per name; not a number where an epoch has none."""
    names: dict[str, Any] = {name: None for row in rows for name in row if name != "epoch"}
    return {name: [row.get(name, float("nan")) for row in rows] for name in names}


__all__ = ["TrainResult", "history_of"]
