"""History and state of a training with a MorphNet, after each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.array_files import load_arrays
from kerasurgeon.atomic import make_folder, staged, write_text
from kerasurgeon.cli.console import note
from kerasurgeon.cli.morphnet_state import FOLDER, STATE
from kerasurgeon.errors import FileError
from kerasurgeon.morphnet import MorphNet
from kerasurgeon.recover.progress import table


class Logged(keras.callbacks.Callback):
    """Writes the history of a training after each epoch, as ``kerasurgeon plot`` reads it.

    Args:
        folder: The run's folder.
        name: What the training is called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        self.path, self.rows = folder / "histories" / f"{name}.csv", list[dict[str, float]]()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note what was logged."""
        self.rows.append({name: float(value) for name, value in sorted((logs or {}).items())})
        make_folder(self.path.parent)
        write_text(self.path, table(self.rows))


class Kept(Logged):
    """Writes all that changes in a training after each epoch, too.

    A training that could come to its end is not stopped where there is no room for what it keeps on the way; that is
    said once.

    Args:
        folder: The run's folder.
        morph: Its MorphNet, whose strength changes too.
    """

    def __init__(self, folder: Path, morph: MorphNet) -> None:
        super().__init__(folder, "morphnet")
        self.state, self.morph = folder / FOLDER / STATE, morph
        self.failed = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write history and state."""
        super().on_epoch_end(epoch, logs)
        rows = np.frombuffer(json.dumps(self.rows).encode(), np.uint8)
        arrays = {f"v{place}": keras.ops.convert_to_numpy(v) for place, v in enumerate(_variables(self.model))}
        try:
            with staged(self.state, overwrite=True) as temporary, temporary.open("wb") as file:
                np.savez(file, epoch=np.array(epoch + 1), strength=np.array(self.morph.strength), rows=rows, **arrays)
        except FileError as error:
            if not self.failed:
                note(f"training goes on, but cannot be gone on with if it is stopped: {self.state}: {error.got}")
            self.failed = True

    def restore(self, model: keras.Model) -> int:
        """Put a compiled model back where it was.

        Returns:
            How many epochs are done; 0 if none was kept.
        """
        if not self.state.is_file():
            return 0
        model.optimizer.build(model.trainable_variables)
        found: Any = load_arrays(self.state)
        for place, variable in enumerate(_variables(model)):
            variable.assign(found[f"v{place}"])
        self.morph.set_strength(float(found["strength"]))
        self.rows = json.loads(found["rows"].tobytes())
        return int(found["epoch"])


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *(v for v in model.optimizer.variables if all(v is not one for one in model.variables))]


__all__ = ["Kept", "Logged"]
