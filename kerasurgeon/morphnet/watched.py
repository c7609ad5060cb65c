"""What those need of a MorphNet that watch a training: see ``MorphNet`` for what each gives."""

from __future__ import annotations

from typing import Any, Protocol

from kerasurgeon.channels.plan import ChannelPlan


class Watched(Protocol):
    """A MorphNet in training."""

    target: str
    initial_cost: float
    left: dict[str, str]

    @property
    def strength(self) -> float:
        """What the regulariser is multiplied with."""

    def attach(self) -> None:
        """Hang the penalty on the model."""

    def cost(self) -> float:
        """The cost of what is alive."""

    def loss(self) -> float:
        """What the penalty adds to the loss."""

    def magnitudes(self) -> Any:
        """How large every unit is."""

    def widths(self) -> dict[str, int]:
        """Alive channels by layer."""

    def structure(self) -> dict[str, int]:
        """The same of convolutions only."""

    def collapsed(self) -> tuple[str, ...]:
        """Outputs that no longer depend on any input."""

    def plan(self) -> ChannelPlan:
        """What stays."""


__all__ = ["Watched"]
