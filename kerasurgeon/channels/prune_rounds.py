"""What PruneChannels does in a round, and between rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.candidates import Limits, candidates, rounding
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.defaults import RECONSTRUCTION, calibration, settled
from kerasurgeon.channels.groups import Group, groups
from kerasurgeon.channels.importance import Array, Evidence, criterion_for
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.prune_options import AUTO, PruneOptions
from kerasurgeon.channels.prune_report import close_and_log, closed, log_choice, log_compensation, log_inexact
from kerasurgeon.channels.prune_targets import Targets
from kerasurgeon.channels.scatter import loosen_shortcuts
from kerasurgeon.costs import cost, require_counted
from kerasurgeon.errors import RoundError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.batches import require_telling
from kerasurgeon.keras_io.leftovers import sweep_after
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import called, evaluation_by, finite_after, keeping
from kerasurgeon.rewrite.judging import Judge, judge_of
from kerasurgeon.rewrite.option_checks import check_function


def prune(graph: Graph, options: PruneOptions, context: Context) -> None:
    """Remove the channels of a graph that matter least, in place and in rounds.

    Args:
        graph: The graph.
        options: Which channels, how many, and in how many rounds.
        context: Data, loss and evaluation; decisions are logged there, and the plan of each round is added.

    Raises:
        OptionError: What the options need is missing, or a pattern names nothing.
        BudgetError: The target cannot be reached, or too much of it is unknown.
        RoundError: The evaluation or the callback fails in a round; ``found`` is ``FinishedRounds``, or ``None``.
    """
    _Rounds(settled(graph, options, context), graph, context, asked=options).run()


@dataclass(frozen=True)
class FinishedRounds:
    """What was done when a later round failed.

    Attributes:
        model: The model after the last finished round.
        plans: The plans of the finished rounds.
    """

    model: keras.Model
    plans: tuple[ChannelPlan, ...]


class _Rounds:
    """The rounds of one run: see ``prune``."""

    def __init__(self, options: PruneOptions, graph: Graph, context: Context, *, asked: PruneOptions) -> None:
        self.options, self.graph, self.context, self.asked = options, graph, context, asked
        self.loose: list[str] = []
        self.callback = check_function(options.name, "callback", options.callback)
        self.widths: dict[str, int] = {}
        self.targets = Targets(options, context, self._plain, self._not_there)

    def run(self) -> None:
        """All rounds, with loosened shortcuts where asked for."""
        options, context = self.options, self.context
        judge = None if options.max_loss is None else judge_of(context, self.graph, options.name, "max_loss")
        if options.target == "macs":
            require_counted(options.name, cost(self.graph, sizes=context.sizes))
        if options.shortcuts == "scatter":
            self.loose = loosen_shortcuts(self.graph)
            if not self.loose:
                context.left(self.graph.name, "shortcuts='scatter': no branch ends in a sum")
        if context.data is not None or options.compensate == "generated":
            self._refuse_early()
        if options.compensate in ("data", "least_squares"):
            require_telling(self.graph, context.data, context.note)
        self._run(judge)
        close_and_log(self.graph, self.loose, context)
        del self.targets  # it knows these rounds: the circle would hold what they are done with

    def _refuse_early(self) -> None:
        """Refuse what cannot be reached, and names that name nothing, before inputs are generated or data is looked at.

        In an order of no meaning: it hardly matters for how much may go at most, and the choice is checked again.
        """
        channels = analyse(self.graph)
        usable = candidates(groups(channels), self._limits(), _no_order, Evidence(channels))
        self.targets.check(channels, usable)

    def _run(self, judge: Judge | None) -> None:
        options, context = self.options, self.context
        before = None if judge is None else self._judged(judge, "the model as it is", base=True)
        for step in range(1, options.steps + 1):
            start = self.graph.copy()
            sites, notes = len(context.sites), len(context.notes)
            with keeping(partial(self._finished, start, step)):
                self._round(step)
                if options.try_zeros:
                    self._report_zeros()
                    return
                self._call_back(step)
                after = None if judge is None else self._judged(judge, self._called(step))
            if before is not None and after is not None and before - after > float(options.max_loss or 0.0):
                del context.sites[sites:], context.notes[notes:]
                del context.plans[step - 1 :]
                self.graph.adopt(start)
                context.expect(partial(self._plain, start.copy()))
                lost = f"the evaluation fell from {before:.6g} to {after:.6g}: more than max_loss={options.max_loss}"
                context.left(self.graph.name, f"{self._called(step)} was taken back: {lost}")
                return

    def _called(self, step: int) -> str:
        return f"round {step} of {self.options.steps}"

    def _finished(self, graph: Graph, step: int) -> tuple[FinishedRounds | None, str]:
        """What was done before a round, and what a message says of it."""
        if step == 1:
            return None, "no round was finished before it"
        said = "round 1 is" if step == 2 else f"rounds 1 to {step - 1} are"
        found = FinishedRounds(emit(self._plain(graph)), tuple(self.context.plans[: step - 1]))
        return found, f"{said} finished: .found of this error has the model, and the plans for ApplyPlan"

    def _round(self, step: int) -> None:
        context = self.context
        channels = analyse(self.graph)
        found = groups(channels)
        self.widths = self.widths or {group.name: group.size for group in found}

        def progress(fraction: float, name: str) -> None:
            context.progress((step - 1 + 0.7 * fraction) / self.options.steps, f"{self.options.name}: {name}")

        data = self._evidence_data(progress)
        options, limits = self.options, self._limits()
        evidence = Evidence(channels, data, context.loss, context.rng, options.reduction, target=options.target)
        usable = candidates(found, limits, criterion_for(options.importance), evidence, options.normalise, progress)
        if found and all(candidate.why for candidate in usable):
            first = usable[0]
            why = f"no channel may go, of {len(usable)} groups; {first.group.name!r}: {first.why}"
            context.left(self.graph.name, why)
        chosen, said = self.targets.choose(self.graph, channels, usable, step)
        said = "; ".join([said, *evidence.notes])
        context.plans.append(ChannelPlan.of(channels, chosen.gone, note=f"{options.name}, round {step}: {said}"))
        log_choice(context, usable, chosen, f"round {step}: " if options.steps > 1 else "")
        if not chosen.gone.any():
            context.left(self.graph.name, f"nothing to remove: {said}")
            return
        if options.compensate != "none" and not options.try_zeros:
            seed = int(context.rng.integers(2**31))
            method, data = calibration(self.graph, options, context, progress, self.asked.compensate == AUTO)
            notes = compensate(self.graph, channels, chosen.gone, method=method, data=data, seed=seed)
            log_compensation(context, self.graph, notes, self.loose)
        reference = self.graph.copy()

        def twin() -> Graph:
            mask_units(reference, channels, chosen.gone)
            return self._plain(reference)

        if options.try_zeros:
            mask_units(self.graph, channels, chosen.gone)
            context.expect(twin)
            return
        report = cut_channels(self.graph, chosen.gone, channels)
        if report.exact:
            context.expect(twin)
        log_inexact(context, report, self.graph)
        context.changed(self.graph.name, said)

    def _limits(self) -> Limits:
        options = self.options
        return Limits(
            tuple(options.ignore),
            rounding(options.name, options.round_to),
            options.min_channels,
            options.max_ratio,
            options.exact_only,
            self.widths,
        )

    def _evidence_data(self, progress: Callable[[float, str], None]) -> Any:
        """What criteria look at: the data, or for what a fit leaves of the error the inputs that it will be made on.

        Where no inputs can be generated and nobody asked for more, size decides, and batch-norm means are taken.
        """
        options, asked = self.options, self.asked
        if options.importance != RECONSTRUCTION or options.compensate != "generated":
            return self.context.data
        method, data = calibration(self.graph, options, self.context, progress, asked.compensate == AUTO)
        if method == "batch_norm":
            importance = "l2" if asked.importance == AUTO else options.importance
            scope = "local" if asked.scope == AUTO else options.scope
            self.options = replace(options, compensate=method, importance=importance, scope=scope)
            self.targets.options = self.options
        return data

    def _judged(self, judge: Judge, of: str, *, base: bool = False) -> float:
        found = judge(emit(self._plain(self.graph)), of, base=base)
        sweep_after(self.graph)
        return found

    def _plain(self, graph: Graph) -> Graph:
        """A graph as it is handed out: a copy of plain layers, where shortcuts are loosened."""
        return closed(graph.copy()) if self.loose else graph

    def _not_there(self, measure: str) -> float:
        """What a budget counts of the layers that loosen shortcuts, of which the result keeps no weights."""
        arrays = [weight.array for name in self.loose for weight in self.graph.layer_of(name).weights.values()]
        return float(sum(array.nbytes if measure == "bytes" else array.size for array in arrays) * (measure != "macs"))

    def _report_zeros(self) -> None:
        said = "channels are zeroed only (try_zeros): shapes stay"
        if self.context.evaluate is not None:
            found = evaluation_by(self.context.evaluate, emit(self._plain(self.graph)), "the model with zeros")
            said += f"; evaluation {found:.6g}"
        self.context.changed(self.graph.name, said)

    def _call_back(self, step: int) -> None:
        """Let the user train the model of this round, and take its weights over."""
        if self.callback is None:
            return
        model = emit(self._plain(self.graph))
        returned = called("callback=", self._called(step), self.callback, model, step)
        trained = lift(model if returned is None else returned)
        del model, returned
        sweep_after(trained)  # the model of this round, and what its training has left
        changed = {}
        loose = {self.graph[name].layer for name in self.loose}
        for key, layer in self.graph.layers.items():
            if key in loose:
                continue
            other = trained.layers.get(key)
            shapes = {path: weight.shape for path, weight in layer.weights.items()}
            if other is None or {path: weight.shape for path, weight in other.weights.items()} != shapes:
                raise RoundError(
                    "The callback returned a model with other layers.",
                    where=f"{self._called(step)}, layer {key!r}",
                    expected="the model that it was given, or None",
                )
            different = {
                path: other.weights[path].array
                for path, weight in layer.weights.items()
                if not (weight.array == other.weights[path].array).all()
            }
            if different:
                changed[key] = layer.with_weights(**different)
        finite_after(changed, "callback=", self._called(step))
        for key, layer in changed.items():
            self.graph.update_layer(key, layer)
        if changed:
            reference = self.graph.copy()
            self.context.expect(lambda: self._plain(reference))
            self.context.changed(self.graph.name, f"round {step}: the callback changed weights")


def _no_order(group: Group, evidence: Evidence) -> Array:
    """All units are worth the same."""
    return np.zeros(group.size)


__all__ = ["FinishedRounds", "prune"]
