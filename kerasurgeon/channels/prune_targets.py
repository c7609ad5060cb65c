"""What goes in a round of PruneChannels: by the target that its options give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.budget import Budget
from kerasurgeon.channels.candidates import Candidate
from kerasurgeon.channels.prune_options import KEPT, PruneOptions
from kerasurgeon.channels.selection import Chooser, Chosen, CostOf, Section, sections
from kerasurgeon.costs import Allowance
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit
from kerasurgeon.keras_io.leftovers import sweep_after
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.latency_of import latency_by
from kerasurgeon.rewrite.option_checks import check_function

_LATENCIES = 16


class Targets:
    """Chooses what goes, round by round, on a straight line to the target.

    Args:
        options: What is asked for.
        context: Of the run: where the report is told of a target that was missed.
        plain: A graph as it is handed out.
        not_there: What of a cost the result does not have.
    """

    def __init__(
        self,
        options: PruneOptions,
        context: Context,
        plain: Callable[[Graph], Graph],
        not_there: Callable[[str], float],
    ) -> None:
        self.options, self.context, self.target = options, context, options.target
        self._plain, self._not_there = plain, not_there
        self._allowance: Allowance | None = None
        self._end = 0.0

    def check(self, channels: Channels, usable: list[Candidate]) -> None:
        """Refuse a target that cannot be reached, and names that name nothing; latencies are measured later.

        Args:
            channels: The analysis of the graph, as it is before the first round.
            usable: What may go, in any order.

        Raises:
            BudgetError: The target cannot be reached, and the nearest will not do.
            OptionError: A pattern names nothing.
        """
        options, target = self.options, self.target
        wanted = getattr(options, target)
        own = self._shares(channels, usable) if isinstance(wanted, Mapping) else None
        chooser = Chooser(channels, usable, own or sections(channels, usable, options.scope))
        if options.unreachable == "nearest" or target in ("latency", "threshold"):
            return
        if own is not None:
            for one in own:
                self._may_lose(chooser, one)
        elif target == "ratio":
            self._share_allowed(chooser, wanted)
        else:
            self._budget_allowed(chooser, self._counted(channels))

    def choose(self, graph: Graph, channels: Channels, usable: list[Candidate], step: int) -> tuple[Chosen, str]:
        """What goes in a round, and a line on the target and what was reached.

        Args:
            graph: The graph, as it is before the round.
            channels: Its analysis.
            usable: What may go.
            step: The round, from 1.

        Raises:
            BudgetError: The target cannot be reached, and the nearest will not do.
        """
        options, target = self.options, self.target
        if target in KEPT:
            return self._to_budget(graph, channels, usable, step)
        if target == "threshold":
            by_name = isinstance(options.threshold, Mapping)
            own = self._shares(channels, usable) if by_name else sections(channels, usable, options.scope)
            chooser = Chooser(channels, usable, own)
            chosen = chooser.by_threshold(None if isinstance(options.threshold, Mapping) else options.threshold)
            return chosen, f"scores below {options.threshold}; {_removed(chooser, chosen)}"
        wanted = options.ratio if target == "ratio" else options.scope
        if isinstance(wanted, Mapping):
            own = self._shares(channels, usable)
            chooser = Chooser(channels, usable, own)
            for one in own:
                if step == 1:
                    self._may_lose(chooser, one)
                one.ratio = self._rest(one.ratio or 0.0, step)
            chosen = chooser.by_ratio()
            return chosen, f"target {target}={wanted}; {_removed(chooser, chosen)}"
        assert isinstance(wanted, float)
        chooser = Chooser(channels, usable, sections(channels, usable, options.scope))
        ratio = self._rest(wanted, step)
        chosen = self._share_of_all(chooser, wanted, ratio, step)
        return chosen, f"target: {wanted:.1%} of the channels removed; reached: {_removed(chooser, chosen)}"

    def _shares(self, channels: Channels, usable: list[Candidate]) -> list[Section]:
        """The sections of patterns with numbers: of ``ratio=`` each group by itself."""
        own = sections(channels, usable, getattr(self.options, self.target), f"{self.target}=")
        if self.target != "ratio":
            return own
        return [Section(one.name, [place], one.ratio) for one in own for place in one.places]

    def _may_lose(self, chooser: Chooser, section: Section) -> None:
        """Refuse a share that a section cannot lose, or say so where the nearest will do."""
        several = [chooser.candidates[place] for place in section.places]
        whole = sum(one.group.granularity * one.size for one in several)
        least = float(whole - sum(one.group.granularity * one.most for one in several))
        option, kept = f"{self.target}[{section.name!r}]", 1 - (section.ratio or 0.0)
        unreachable = self.options.unreachable
        allowance = Allowance(self.options.name, option, kept, float(whole), unreachable, unit="channels", removed=True)
        if least > chooser.nearly(allowance.amount):
            self.context.note(allowance.missed(allowance.reachable(least, chooser.held_back())))

    def _rest(self, ratio: float, step: int) -> float:
        """The share to take of what the rounds before have left."""
        before, after = (1 - ratio * done / self.options.steps for done in (step - 1, step))
        return 1 - after / before

    def _share_of_all(self, chooser: Chooser, wanted: float, ratio: float, step: int) -> Chosen:
        """A share of the channels, the least important of all: others make up for those that are held back."""
        if self._allowance is None:
            self._allowance = self._share_allowed(chooser, wanted)
        chosen = chooser.to_ratio(ratio)
        kept = chooser.kept_channels(chosen.gone)
        if step == self.options.steps and kept > chooser.nearly(self._allowance.amount):
            self.context.note(self._allowance.missed(kept))
        return chosen

    def _share_allowed(self, chooser: Chooser, wanted: float) -> Allowance:
        """What may be left of all channels; refused where it cannot be reached."""
        options, whole = self.options, chooser.kept_channels(chooser.nothing)
        allowance = Allowance(
            options.name, "ratio", 1 - wanted, whole, options.unreachable, unit="channels", removed=True
        )
        least = chooser.everything(chooser.kept_channels).reached
        if least > chooser.nearly(allowance.amount):
            allowance.reachable(least, chooser.held_back())
        return allowance

    def _budget_allowed(self, chooser: Chooser, cost_of: CostOf) -> tuple[Allowance, float]:
        """What may be left of a cost, and what to come down to; refused where it cannot be reached."""
        options, now = self.options, cost_of(chooser.nothing)
        allowance = Allowance(options.name, self.target, float(getattr(options, self.target)), now, options.unreachable)
        if now <= allowance.amount:
            return allowance, now
        return allowance, allowance.reachable(chooser.everything(cost_of).reached, chooser.held_back())

    def _to_budget(self, graph: Graph, channels: Channels, usable: list[Candidate], step: int) -> tuple[Chosen, str]:
        options, target = self.options, self.target
        chooser = Chooser(channels, usable, sections(channels, usable, options.scope))
        if target == "latency":
            cost_of, asks = self._latency(graph, channels), _LATENCIES
        else:
            cost_of, asks = self._counted(channels), 10_000
        if self._allowance is None:  # told before the first round, and not after the last
            self._allowance, self._end = self._budget_allowed(chooser, cost_of)
        allowance = self._allowance
        wanted = allowance.total - (allowance.total - self._end) * step / options.steps
        chosen = chooser.to_target(cost_of, wanted, evaluations=asks)
        kept = f"{chosen.reached / allowance.total:.1%}" if allowance.total else "all"
        shown = "{:,.0f}" if target != "latency" else "{:.4g}"
        said = f"target: {target} {shown.format(wanted)}; reached: {shown.format(chosen.reached)}, {kept} kept"
        if step == options.steps and allowance.misses(allowance.reachable(chosen.reached, chooser.held_back())):
            self.context.note(allowance.missed(chosen.reached))
            said = f"{said}; {allowance.missed(chosen.reached)}"
        return chosen, said

    def _counted(self, channels: Channels) -> CostOf:
        budget = Budget(channels, self.context.sizes)
        extra = self._not_there(self.target)
        return lambda gone: budget.of(self.target, gone) - extra

    def _latency(self, graph: Graph, channels: Channels) -> CostOf:
        measure = check_function(self.options.name, "latency_of", self.options.latency_of)
        assert measure is not None
        known: dict[bytes, float] = {}

        def latency(gone: Any) -> float:
            if gone.tobytes() not in known:
                small = graph.copy()
                if gone.any():
                    cut_channels(small, gone, channels)
                known[gone.tobytes()] = latency_by(measure, emit(self._plain(small), compile=False), "the model")
                sweep_after(small)
            return known[gone.tobytes()]

        return latency


def _removed(chooser: Chooser, chosen: Chosen) -> str:
    whole, kept = chooser.kept_channels(chooser.nothing), chooser.kept_channels(chosen.gone)
    return f"{whole - kept:,.0f} of {whole:,.0f} channels removed" + (f" ({1 - kept / whole:.1%})" if whole else "")


__all__ = ["Targets"]
