"""Cut what training with MorphNet has left without effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    MASKED_EXACT,
    Context,
    Graph,
    Pass,
    PlanError,
    Preserves,
    check_choice,
    check_flag,
    is_number,
    wrong_option,
)
from kerasurgeon.channels import (
    ChannelPlan,
    Channels,
    analyse,
    compensate,
    cut_and_log,
    log_compensation,
    plan_option,
    read_plan,
)
from kerasurgeon.morphnet import alive_plan, living

ALGORITHMS = ("group_lasso", "gamma")
COMPENSATIONS = ("none", "batch_norm")


@final
@dataclass(frozen=True)
class MorphNetShrink(Pass):
    """Remove the channels that training with a MorphNet regulariser has left dead; the others keep their weights.

    Matches:
        Channels whose magnitude is not above the threshold: the largest, over all layers that make them together, of
        the root of the mean square of a filter (group lasso), or of the scale of a batch norm (gamma).
    Leaves alone:
        * channels of inputs and outputs, and all else that ``groups`` shows as frozen;
        * channels that no filter or scale speaks for;
        * one channel of a layer whose branch cannot be removed, with the reason.
    Preserves:
        The outputs of the masked model: that in which the dead channels contribute nothing, or after compensation their
        mean. A branch without channels is removed; what it still gave, a constant, becomes a bias.

    Args:
        plan: A ``ChannelPlan`` of what is alive, the path of its file, or a dict of indices by layer, as a callback
            wrote it in training; numbers alone are for ``ReconstructWidths``. By default the weights decide.
        algorithm: ``"group_lasso"`` or ``"gamma"``, without a plan.
        threshold: Magnitudes up to this are dead.
        l1_fraction: Share of the mean magnitude in that of a filter, in [0, 1], as in training.
        keep_first: Keep the first channel of every layer of which else nothing would be alive.
        floors: Fewest channels of a layer that stay: a number, or numbers by name pattern.
        compensate: ``"batch_norm"``: the layers that read removed channels get their mean, by batch-norm statistics;
            ``"none"``. The result is then that of the masked model with these means.

    Raises:
        OptionError: An option has a value that it may not have.
        PlanError: The plan cannot be read or does not fit the model, or all channels on the way to an output are dead.

    Reference:
        Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks", CVPR 2018,
        arXiv:1711.06798.
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    plan: str | Path | ChannelPlan | Mapping[str, Any] | None = None
    algorithm: str = "group_lasso"
    threshold: float = 1e-2
    l1_fraction: float = 0.0
    keep_first: bool = False
    floors: int | Mapping[str, int] | None = None
    compensate: str = "batch_norm"

    def __post_init__(self) -> None:
        if self.plan is not None:
            object.__setattr__(self, "plan", plan_option(self.name, self.plan))
        check_choice(self.name, "algorithm", self.algorithm, ALGORITHMS)
        if not is_number(self.threshold) or self.threshold < 0:
            raise wrong_option(self.name, "threshold", self.threshold, "a number from 0")
        if not is_number(self.l1_fraction) or not 0 <= self.l1_fraction <= 1:
            raise wrong_option(self.name, "l1_fraction", self.l1_fraction, "a number in [0, 1]")
        check_flag(self.name, "keep_first", self.keep_first)
        check_choice(self.name, "compensate", self.compensate, COMPENSATIONS)

    def idle(self) -> str | None:
        """A plan that names no layer."""
        return None if self.plan is None or read_plan(self.plan).kept else "the plan names no layer"

    def run(self, graph: Graph, context: Context) -> None:
        """Find what is dead, and cut it."""
        channels = analyse(graph)
        gone = self._gone(graph, channels)
        if not np.any(gone):
            context.left(graph.name, "every channel is alive")
            return
        note = f"alive by {self.algorithm}, above {self.threshold:g}" if self.plan is None else "alive by a plan"
        context.plans.append(alive_plan(channels, ~gone, note=note))
        if self.compensate == "batch_norm":
            log_compensation(context, graph, compensate(graph, channels, gone, method="batch_norm"))
        cut_and_log(graph, channels, gone, context)

    def _gone(self, graph: Graph, channels: Channels) -> np.ndarray[Any, Any]:
        if self.plan is not None:
            plan = read_plan(self.plan)
            if not plan.chosen:
                name = next(name for name, kept in plan.kept.items() if isinstance(kept, int))
                raise PlanError(
                    f"The plan gives a number of channels for {name!r}, not which are alive.",
                    hint="ReconstructWidths takes numbers, and chooses the channels by importance",
                )
            return plan.gone(channels)
        return ~living(
            graph,
            channels,
            self.algorithm,
            self.threshold,
            l1_fraction=self.l1_fraction,
            keep_first=self.keep_first,
            floors=self.floors,
        )


__all__ = ["MorphNetShrink"]
