"""How the share of zeros grows during training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.sparsity.kernels import check_sparsity

SCHEDULES = ("polynomial", "constant")


@dataclass(frozen=True, slots=True)
class SparsitySchedule:
    """How sparse kernels are at each step.

    From step ``t0`` to ``t1`` the share of zeros goes from ``s_i`` to ``s_f`` by
    ``s(t) = s_f + (s_i - s_f) (1 - (t - t0) / (t1 - t0)) ^ power``; before ``t0`` there are none made, after ``t1``
    it is ``s_f``. A constant schedule is ``s_f`` from ``t0`` on.

    Attributes:
        final: ``s_f``.
        initial: ``s_i``.
        begin_step: ``t0``.
        end_step: ``t1``.
        frequency: Masks are made anew every this many steps.
        kind: ``"polynomial"`` or ``"constant"``.
        power: Exponent; 3 in the paper.

    Reference:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
        arXiv:1710.01878, section 3.
    """

    final: float
    initial: float = 0.0
    begin_step: int = 0
    end_step: int = 1000
    frequency: int = 100
    kind: str = "polynomial"
    power: float = 3.0

    def __post_init__(self) -> None:
        check_sparsity("final_sparsity", self.final)
        check_sparsity("initial_sparsity", self.initial)
        if self.kind not in SCHEDULES:
            raise OptionError(f"schedule={self.kind!r} is no schedule.", expected=" or ".join(map(repr, SCHEDULES)))
        for option, value, least in (
            ("begin_step", self.begin_step, 0),
            ("end_step", self.end_step, self.begin_step),
            ("frequency", self.frequency, 1),
        ):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
                raise OptionError(
                    f"option {option!r} cannot be used.", expected=f"a whole number from {least}", got=repr(value)
                )
        if not isinstance(self.power, (int, float)) or not self.power > 0:
            raise OptionError("option 'power' cannot be used.", expected="a number above 0", got=repr(self.power))

    def at(self, step: int) -> float:
        """The share of zeros at a step; before ``begin_step`` it is 0."""
        if step < self.begin_step:
            return 0.0
        if self.kind == "constant" or step >= self.end_step:
            return self.final
        left = 1.0 - (step - self.begin_step) / (self.end_step - self.begin_step)
        return float(self.final + (self.initial - self.final) * left**self.power)

    def due(self, step: int, last: int | None) -> bool:
        """Whether masks are to be made anew at a step, after they were last made at another."""
        if step < self.begin_step:
            return False
        if last is None:
            return True
        if self.kind == "constant" or last >= self.end_step:
            return False
        return (
            step >= self.end_step
            or (step - self.begin_step) // self.frequency > (last - self.begin_step) // self.frequency
        )
