"""A training that was interrupted goes on and ends where it would have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.recover import DarkKnowledge, Plateau
from tests.recover.networks import assert_same_weights, bridged, images, residual, weights


class Interrupt(keras.callbacks.Callback):
    """Ends a training in the middle of an epoch, or at the end of one, as Ctrl-C does."""

    def __init__(self, epoch: int, batch: int | None = None) -> None:
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.batch is None and epoch == self.epoch:
            raise KeyboardInterrupt


class Never(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        raise AssertionError("nothing is to be trained any more")


@pytest.mark.usefixtures("untraced")
@pytest.mark.spread(2)
@pytest.mark.parametrize(("place", "best"), [((1, None), False), ((2, 0), True)])
def test_fine_tuning_goes_on(place: tuple[int, int | None], best: bool, tmp_path: Path) -> None:
    model, data, held_out = residual(2, drop=0.5), images(16), images(8, seed=1)
    student, bridge = bridged(model)
    options: dict[str, Any] = {
        "teacher": model, "distillation": [DarkKnowledge()], "freeze_before": bridge, "epochs": 3, "batch_size": 8,
        "schedule": Plateau(patience=1, factor=0.5), "optimizer": keras.optimizers.Adam(0.05), "restore_best": best,
        "verbose": 0,
    }  # fmt: skip
    whole = ks.fine_tune(student, data, held_out, **options)
    with pytest.raises(KeyboardInterrupt):
        ks.fine_tune(student, data, held_out, folder=tmp_path, callbacks=[Interrupt(*place)], **options)
    again = ks.fine_tune(student, data, held_out, folder=tmp_path, **options)
    assert again.history == whole.history
    assert again.best_epoch == whole.best_epoch
    assert_same_weights(weights(whole.model), weights(again.model))
    third = ks.fine_tune(student, data, held_out, folder=tmp_path, callbacks=[Never()], **options)
    assert_same_weights(weights(whole.model), weights(third.model))
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("epoch,accuracy")
    stored = keras.models.load_model(tmp_path / "model.keras")
    assert_same_weights(weights(whole.model), weights(stored))
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(OptionError, match="state of another training") as caught:
        ks.fine_tune(student, data, held_out, folder=tmp_path, **{**options, "epochs": 6})
    assert "epochs: 3, now 6" in str(caught.value)


@pytest.mark.sweep
def test_training_of_bridges_goes_on(tmp_path: Path) -> None:
    model, data, held_out = residual(3), images(16)[0], images(16, seed=1)[0]
    student, first = bridged(model)
    graph = ks.lift(student)
    ks.replace_region(graph, "b1_add", "b2_add", keras.layers.Conv2D(4, 1, name="second"))
    student, bridges = ks.emit(graph), [first, ks.Bridge("second", "b1_add", "b2_add", ("b2_add",))]
    options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "cache": "disk", "verbose": 0}
    whole = ks.train_bridges(model, student, bridges, data, held_out, folder=tmp_path / "whole", **options)

    class Second(Interrupt):
        """Interrupts the second bridge."""

        begun = 0

        def on_train_begin(self, logs: Any = None) -> None:
            self.begun += 1

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if self.begun == 2:
                super().on_epoch_end(epoch)

    with pytest.raises(KeyboardInterrupt):
        ks.train_bridges(model, student, bridges, data, held_out, folder=tmp_path, callbacks=[Second(0)], **options)
    again = ks.train_bridges(model, student, bridges, data, held_out, folder=tmp_path, **options)
    assert again.history == whole.history
    assert_same_weights(weights(whole.model), weights(again.model))


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    model, data = residual(1), images(8)
    (tmp_path / "state.npz").write_bytes(b"nothing")
    with pytest.raises(OptionError, match="cannot be read"):
        ks.fine_tune(model, data, epochs=1, folder=tmp_path, verbose=0)
