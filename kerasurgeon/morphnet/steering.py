"""Steer the strength while a model is trained, so that the cost ends where it is wanted."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

import keras

from kerasurgeon.rewrite.option_checks import check_count, is_number, wrong_option

if TYPE_CHECKING:
    from kerasurgeon.morphnet.morphnet import MorphNet


class SteerStrength(keras.callbacks.Callback):
    """Sets a MorphNet's strength after every few steps so that the cost comes down to a share of it in time.

    What is watched is the magnitude of the largest channel that has to be dead for that (``MorphNet.marginal``), as the
    cost itself says nothing until the first channels die. It is to reach the threshold at the share ``until`` of the
    training. While it falls too slowly for that, the strength grows by up to a factor of ``exp(gain)`` in each
    correction, and falls likewise where it falls faster than it must; once enough is dead, the strength is 0, and comes
    back if channels do.

    ``MorphNet.shrink(kept=...)`` takes what then may still be missing.

    Args:
        morph: The MorphNet.
        kept: Where the cost is to end, as a share of the initial cost, in (0, 1).
        until: At which share of the training it is to be there, in (0, 1].
        every: Corrections per epoch.
        gain: How much the strength changes in a correction, at most, as a factor of ``exp(gain)``.
        least: Lower bound of the strength, except for 0.
        most: Upper bound.

    Raises:
        OptionError: An option has a value that it may not have.

    Example:
        >>> model.fit(images, labels, epochs=20, callbacks=[SteerStrength(morph, kept=0.5), morph.callback()])
    """

    def __init__(
        self,
        morph: MorphNet,
        kept: float,
        *,
        until: float = 0.6,
        every: int = 4,
        gain: float = 0.25,
        least: float = 1e-3,
        most: float = 100.0,
    ) -> None:
        super().__init__()
        owner = "SteerStrength"
        if not is_number(kept) or not 0 < kept < 1:
            raise wrong_option(owner, "kept", kept, "a number in (0, 1)")
        if not is_number(until) or not 0 < until <= 1:
            raise wrong_option(owner, "until", until, "a number in (0, 1]")
        check_count(owner, "every", every)
        if not is_number(gain) or gain <= 0:
            raise wrong_option(owner, "gain", gain, "a number above 0")
        if not (is_number(least) and is_number(most) and 0 < least <= most):
            raise wrong_option(owner, "least", (least, most), "least and most above 0, in this order")
        self.morph, self.kept, self.until, self.every, self.gain = morph, float(kept), float(until), every, float(gain)
        self.least, self.most = float(least), float(most)
        self._strength = 0.0
        self._last = (0.0, 0.0)
        self._epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Start from the strength that there is."""
        self._strength = min(max(self.morph.strength, self.least), self.most)
        self.morph.set_strength(self._strength)
        self._last = 0.0, self.morph.marginal(self.kept)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Correct the strength, a few times in an epoch."""
        steps = self.params.get("steps") or 0
        stride = max(steps // self.every, 1)
        if steps and (batch + 1) % stride == 0 and batch + 1 < steps:
            self._correct((self._epoch + (batch + 1) / steps) / self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Correct the strength."""
        self._correct((epoch + 1) / self.params["epochs"])

    def _correct(self, done: float) -> None:
        if self.morph.cost() <= self.kept * self.morph.initial_cost:
            self.morph.set_strength(0.0)
            return
        marginal = self.morph.marginal(self.kept)
        left = max(self.until - done, 0.02)
        needed = max(marginal - self.morph.threshold, 1e-12) / left
        speed = (self._last[1] - marginal) / max(done - self._last[0], 1e-12)
        self._last = done, marginal
        factor = exp(self.gain * max(-1.0, min(1.0, (needed - speed) / needed)))
        self._strength = min(max(self._strength * factor, self.least), self.most)
        self.morph.set_strength(self._strength)
