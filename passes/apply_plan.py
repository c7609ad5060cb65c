"""Carry out a plan of which channels are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

from kerasurgeon.authoring import MASKED_EXACT, Context, Graph, Pass, Preserves
from kerasurgeon.channels import (
    ChannelPlan,
    Evidence,
    analyse,
    check_shortcuts,
    check_ways,
    chosen_units,
    close_and_log,
    closed,
    criterion_for,
    cut_and_log,
    loosen_shortcuts,
    plan_option,
    read_plan,
)


@final
@dataclass(frozen=True)
class ApplyPlan(Pass):
    """Keep the channels that a plan names, and remove the others of its layers with all that depends on them.

    Matches:
        The layers that the plan names, and those whose channels go with theirs.
    Leaves alone:
        All else.
    Preserves:
        The outputs of the masked model: that in which the removed channels contribute nothing. Where channels are
        normalised over, the report says so.

    Args:
        plan: A ``ChannelPlan``, the path of its file, or a dict: indices of the channels that are kept, or how many, by
            layer, ``{"conv1": [0, 3, 4], "conv2": 16}``.
        importance: What matters least, where the plan gives numbers: as for ``PruneChannels``.
        reduction: How scores of a channel in several weights become one.
        shortcuts: What becomes of residual sums: ``"couple"``, branches and shortcuts that are added lose the same
            channels; ``"scatter"``, branches lose channels of their own, and sums keep their width. As for
            ``PruneChannels``.

    Raises:
        OptionError: An option has a value that it may not have.
        PlanError: The plan cannot be read or does not fit the model.
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    plan: str | Path | ChannelPlan | Mapping[str, Any]
    importance: str | Callable[..., Any] = "l2"
    reduction: str = "mean"
    shortcuts: str = "couple"

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", plan_option(self.name, self.plan))
        check_ways(self.name, self.reduction, None)
        check_shortcuts(self.name, self.shortcuts)
        criterion_for(self.importance)

    def idle(self) -> str | None:
        """A plan that names no layer."""
        return None if read_plan(self.plan).kept else "the plan names no layer"

    def run(self, graph: Graph, context: Context) -> None:
        """Choose what the plan leaves open, then cut."""
        loose = loosen_shortcuts(graph) if self.shortcuts == "scatter" else []
        channels = analyse(graph)
        evidence = Evidence(channels, context.data, context.loss, context.rng, self.reduction)
        gone = chosen_units(read_plan(self.plan), criterion_for(self.importance), evidence)
        for note in evidence.notes:
            context.changed(graph.name, note)
        if gone.any():
            cut_and_log(graph, channels, gone, context, plain=closed)
        else:
            context.left(graph.name, "the plan keeps every channel")
        close_and_log(graph, loose, context)


__all__ = ["ApplyPlan"]
