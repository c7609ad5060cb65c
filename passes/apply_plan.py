"""Carry out a plan of which channels are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    MASKED_EXACT,
    ChannelPlan,
    Context,
    Evidence,
    Graph,
    OptionError,
    Pass,
    Preserves,
    analyse,
    chosen_units,
    close_shortcuts,
    criterion_for,
    cut_channels,
    import_object,
    loosen_shortcuts,
    mask_units,
)
from kerasurgeon.channels.prune_options import check_shortcuts, check_ways
from kerasurgeon.channels.prune_report import FORM, close, log_inexact


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
        if isinstance(self.plan, Path):
            object.__setattr__(self, "plan", str(self.plan))
        if not isinstance(self.plan, (str, ChannelPlan, Mapping)):
            raise OptionError(
                f"{self.name}: option 'plan' cannot be used.",
                expected="a ChannelPlan, the path of one, or what is kept by layer",
                got=repr(self.plan)[:80],
            )
        if isinstance(self.plan, ChannelPlan):
            # As plain data it can be written to a recipe.
            object.__setattr__(self, "plan", json.loads(self.plan.to_json()))
        if isinstance(self.plan, Mapping):
            object.__setattr__(self, "plan", dict(self.plan))
            self._read()
        check_ways(self.name, self.reduction, None)
        check_shortcuts(self.name, self.shortcuts)
        self._criterion()

    def run(self, graph: Graph, context: Context) -> None:
        """Choose what the plan leaves open, then cut."""
        loose = loosen_shortcuts(graph) if self.shortcuts == "scatter" else []
        self._apply(graph, context)
        close(graph, loose, context)

    def _apply(self, graph: Graph, context: Context) -> None:
        channels = analyse(graph)
        evidence = Evidence(channels, context.data, context.loss, context.rng, self.reduction)
        gone = chosen_units(self._read(), self._criterion(), evidence)
        for note in evidence.notes:
            context.changed(graph.name, note)
        if not np.any(gone):
            context.left(graph.name, "the plan keeps every channel")
            return
        reference = graph.copy()

        def twin() -> Graph:
            mask_units(reference, channels, gone)
            close_shortcuts(reference, FORM)
            return reference

        report = cut_channels(graph, gone, channels)
        if report.exact:
            context.expect(twin)
        for name, (before, after) in report.widths.items():
            context.changed(channels.sources[name].node, f"{before} -> {after} channels")
        for node, what in report.removed.items():
            context.changed(node, what)
        for name, why in report.kept.items():
            context.left(channels.sources[name].node if name in channels.sources else name, f"one channel stays: {why}")
        log_inexact(context, report, graph)

    def _criterion(self) -> Callable[..., Any]:
        named = isinstance(self.importance, str) and ":" in self.importance
        return criterion_for(import_object(str(self.importance), "importance") if named else self.importance)

    def _read(self) -> ChannelPlan:
        if isinstance(self.plan, str):
            return ChannelPlan.load(self.plan)
        assert isinstance(self.plan, Mapping)
        return ChannelPlan.from_json(json.dumps(self.plan)) if "format" in self.plan else ChannelPlan(self.plan)


__all__ = ["ApplyPlan"]
