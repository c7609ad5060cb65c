"""Learning rates over the epochs of a training: polynomial decay, plateaus, two cycles.

Each is a description; ``callback`` makes the Keras callback that carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from kerasurgeon.errors import OptionError


@dataclass(frozen=True)
class LearningRate:
    """How the learning rate goes over the epochs. Make one of its kinds: ``Poly``, ``Plateau``, ``TwoCycles``."""

    def callback(self, base: float, epochs: int, monitor: str) -> Any:
        """The callback that sets the optimizer's learning rate.

        Args:
            base: The optimizer's own learning rate.
            epochs: How many epochs there will be.
            monitor: What is looked at where that matters, as ``"val_loss"``.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Poly(LearningRate):
    """A rate that falls as a power of what is left: after ``e`` epochs it is ``base (1 - e / epochs) ^ power``.

    Args:
        base: The rate of the first epoch; by default the optimizer's.
        power: The exponent, at least 0; 0.9 is usual, 1 a straight line, 0 constant.

    Raises:
        OptionError: A number is out of range.

    Reference:
        Chen et al., "DeepLab", arXiv:1606.00915, section 4.1.
    """

    base: float | None = None
    power: float = 0.9

    def __post_init__(self) -> None:
        _check_rate("base", self.base, optional=True)
        _check_number("power", self.power, least=0.0)

    def rate(self, base: float, epoch: int, epochs: int) -> float:
        """The rate of an epoch, counted from 0."""
        return float(base * (1.0 - epoch / epochs) ** self.power)

    def callback(self, base: float, epochs: int, monitor: str) -> Any:
        """See ``LearningRate``."""
        first = base if self.base is None else self.base
        return keras.callbacks.LearningRateScheduler(lambda epoch, _=None: self.rate(first, epoch, epochs))


@dataclass(frozen=True)
class Plateau(LearningRate):
    """A rate that falls by a factor when there is no more progress: ``keras.callbacks.ReduceLROnPlateau``.

    Args:
        base: The rate at the start; by default the optimizer's.
        factor: What the rate is multiplied by, in (0, 1).
        patience: How many epochs without progress come before that.
        least: The rate does not go below this.
        monitor: What should fall; by default the loss on the validation data, or on the training data without any.
        min_delta: Progress is more than this.

    Raises:
        OptionError: A number is out of range.
    """

    base: float | None = None
    factor: float = 0.1
    patience: int = 4
    least: float = 1e-7
    monitor: str | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        _check_rate("base", self.base, optional=True)
        _check_number("factor", self.factor, least=0.0, below=1.0)
        if not self.factor:
            raise OptionError("option 'factor' cannot be used.", expected="a number in (0, 1)", got=repr(self.factor))
        _check_number("least", self.least, least=0.0)
        _check_number("min_delta", self.min_delta, least=0.0)
        _check_count("patience", self.patience)

    def callback(self, base: float, epochs: int, monitor: str) -> Any:
        """See ``LearningRate``."""
        wanted = self.monitor or monitor
        # Losses fall; of anything else Keras knows the direction.
        mode = "min" if wanted.endswith("loss") else "auto"
        return keras.callbacks.ReduceLROnPlateau(
            monitor=wanted,
            mode=mode,
            factor=self.factor,
            patience=self.patience,
            min_lr=self.least,
            min_delta=self.min_delta,
        )


@dataclass(frozen=True)
class TwoCycles(LearningRate):
    """Two rates, one after the other: at an epoch the rate is set to a second one and the cycle begins anew.

    Args:
        at: The first epoch, counted from 0, of the second cycle.
        rate: Its rate.
        base: The rate of the first cycle; by default the optimizer's.
        power: Within each cycle the rate falls as ``Poly`` does over the epochs of that cycle; 0 leaves it constant.

    Raises:
        OptionError: A number is out of range; from ``fine_tune``, if there are not more than ``at`` epochs.
    """

    at: int
    rate: float
    base: float | None = None
    power: float = 0.0

    def __post_init__(self) -> None:
        _check_count("at", self.at)
        _check_rate("rate", self.rate)
        _check_rate("base", self.base, optional=True)
        _check_number("power", self.power, least=0.0)

    def rate_of(self, base: float, epoch: int, epochs: int) -> float:
        """The rate of an epoch, counted from 0."""
        if epoch < self.at:
            return float(base * (1.0 - epoch / self.at) ** self.power)
        return float(self.rate * (1.0 - (epoch - self.at) / (epochs - self.at)) ** self.power)

    def callback(self, base: float, epochs: int, monitor: str) -> Any:
        """See ``LearningRate``."""
        if self.at >= epochs:
            raise OptionError(
                f"The second cycle would begin at epoch {self.at}.", expected=f"an epoch below {epochs}, the last"
            )
        first = base if self.base is None else self.base
        return keras.callbacks.LearningRateScheduler(lambda epoch, _=None: self.rate_of(first, epoch, epochs))


def _check_rate(option: str, value: Any, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise OptionError(f"option {option!r} cannot be used.", expected="a learning rate above 0", got=repr(value))


def _check_number(option: str, value: Any, *, least: float, below: float = float("inf")) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < below:
        end = "" if below == float("inf") else f" and below {below:g}"
        raise OptionError(
            f"option {option!r} cannot be used.", expected=f"a number of at least {least:g}{end}", got=repr(value)
        )


def _check_count(option: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"option {option!r} cannot be used.", expected="a positive whole number", got=repr(value))


__all__ = ["LearningRate", "Plateau", "Poly", "TwoCycles"]
