"""What is seen of a training with MorphNet, and what is written down."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.morphnet.events import Events
from kerasurgeon.morphnet.records import write_records
from kerasurgeon.morphnet.watched import Watched
from kerasurgeon.rewrite.option_checks import check_choice, check_flag

ON_COLLAPSE = ("stop", "warn")


class MorphNetCallback(keras.callbacks.Callback):
    """Reports on a MorphNet while a model is trained. ``MorphNet.callback`` makes it.

    After each epoch the history has ``morphnet_kept``, the share of the initial cost that is alive; ``morphnet_loss``,
    what the regulariser adds to the loss; ``morphnet_strength``. In a folder it writes structure files before training
    and after each epoch (see ``write_records``), and event files for TensorBoard: these numbers, alive channels by
    layer, and histograms of magnitudes and widths.

    Args:
        morph: The MorphNet.
        folder: Where to write; ``None`` for no files.
        tensorboard: Write event files too.
        on_collapse: What to do when nothing is alive between an input and an output: ``"stop"`` the training with a
            warning, or only ``"warn"``.

    Raises:
        OptionError: An option has a value that it may not have.
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(
        self,
        morph: Watched,
        folder: str | Path | None = None,
        *,
        tensorboard: bool = True,
        on_collapse: str = "stop",
    ) -> None:
        super().__init__()
        check_choice("MorphNetCallback", "on_collapse", on_collapse, ON_COLLAPSE)
        check_flag("MorphNetCallback", "tensorboard", tensorboard)
        self.morph, self.on_collapse = morph, on_collapse
        self.folder = None if folder is None else Path(folder)
        self.tensorboard = tensorboard
        self._events: Events | None = None
        self._warned = False

    def on_train_begin(self, logs: Any = None) -> None:
        """See that the penalty hangs where it has effect, and write down where training starts."""
        self.morph.attach()
        self._warned = False
        if self.folder is not None:
            write_records(self.morph, self.folder, self._step())
            self._events = Events(self.folder) if self.tensorboard else None
            self._write_events(self._numbers(), {})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report, write, and notice a collapse."""
        numbers = self._numbers()
        if logs is not None:
            logs.update(numbers)
        if self.folder is not None:
            write_records(self.morph, self.folder, self._step())
            self._write_events(numbers, logs or {})
        self._watch(epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _step(self) -> int:
        return int(self.model.optimizer.iterations)

    def _numbers(self) -> dict[str, float]:
        return {
            "morphnet_kept": self.morph.cost() / self.morph.initial_cost,
            "morphnet_loss": self.morph.loss(),
            "morphnet_strength": self.morph.strength,
        }

    def _write_events(self, numbers: dict[str, float], logs: dict[str, Any]) -> None:
        if self._events is None:
            return
        step, morph = self._step(), self.morph
        self._events.scalar("morphnet/RegularizationLoss", numbers["morphnet_loss"], step)
        self._events.scalar(f"morphnet/{morph.target}", numbers["morphnet_kept"] * morph.initial_cost, step)
        self._events.scalar("morphnet/strength", numbers["morphnet_strength"], step)
        for name, value in logs.items():
            if not name.startswith("morphnet_"):
                self._events.scalar(f"epoch/{name}", float(value), step)
        widths = morph.widths()
        for name, count in widths.items():
            if name not in morph.left:
                self._events.scalar(f"alive/{name}", count, step)
        self._events.histogram("morphnet/widths", list(widths.values()), step)
        magnitudes = morph.magnitudes()
        self._events.histogram("morphnet/magnitudes", magnitudes[~np.isnan(magnitudes)], step)

    def _watch(self, epoch: int) -> None:
        outputs = self.morph.collapsed()
        if not outputs or self._warned:
            return
        self._warned = True
        stops = self.on_collapse == "stop"
        warnings.warn(
            f"MorphNet: the network collapsed in epoch {epoch + 1}: nothing is alive on the way to "
            f"{', '.join(map(repr, outputs))}. " + ("Training stops. " if stops else "") + "Lower the strength "
            f"({self.morph.strength:g}), or set floors= or keep_first_channel_alive=.",
            stacklevel=2,
        )
        if stops:
            self.model.stop_training = True
