"""Learning rates over the epochs, as Keras carries them out, against their formulas."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.recover import Plateau, Poly, TwoCycles


def rates(schedule: Any, epochs: int, losses: list[float] | None = None) -> list[float]:
    """The rates of the epochs; with losses, of a training that has these."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = schedule.callback(0.1, epochs, "val_loss")
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        found.append(float(model.optimizer.learning_rate))
        callback.on_epoch_end(epoch, {"val_loss": losses[epoch] if losses else 1.0})
    return found


def test_poly() -> None:
    wanted = [0.1 * (1 - epoch / 5) ** 0.9 for epoch in range(5)]
    np.testing.assert_allclose(rates(Poly(), 5), wanted, rtol=1e-6)
    np.testing.assert_allclose(rates(Poly(base=2.0, power=1), 4), [2.0, 1.5, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(rates(Poly(power=0), 3), [0.1] * 3, rtol=1e-6)


def test_two_cycles() -> None:
    np.testing.assert_allclose(rates(TwoCycles(2, 0.01), 5), [0.1, 0.1, 0.01, 0.01, 0.01], rtol=1e-6)
    wanted = [1.0, 0.5, 0.2, 0.15, 0.1, 0.05]
    np.testing.assert_allclose(rates(TwoCycles(2, 0.2, base=1.0, power=1), 6), wanted, rtol=1e-6)
    with pytest.raises(OptionError, match="second cycle would begin at epoch 5"):
        rates(TwoCycles(5, 0.2), 5)


def test_plateau() -> None:
    losses = [3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.0, 1.0]
    found = rates(Plateau(patience=2, factor=0.5), 8, losses)
    np.testing.assert_allclose(found, [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025], rtol=1e-6)
    np.testing.assert_allclose(rates(Plateau(patience=1, least=0.05), 4), [0.1, 0.1, 0.05, 0.05], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Poly(base=0.0), "base"),
        (lambda: Poly(power=-1.0), "power"),
        (lambda: Plateau(factor=1.0), "factor"),
        (lambda: Plateau(factor=0.0), "factor"),
        (lambda: Plateau(patience=0), "patience"),
        (lambda: TwoCycles(at=0, rate=0.1), "at"),
        (lambda: TwoCycles(at=2, rate=-0.1), "rate"),
    ],
)
def test_options_out_of_range(make: Any, option: str) -> None:
    with pytest.raises(OptionError, match=f"option '{option}'"):
        make()
