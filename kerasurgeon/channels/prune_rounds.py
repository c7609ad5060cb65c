"""What PruneChannels does in a round, and between rounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.budget import Budget
from kerasurgeon.channels.candidates import Candidate, Limits, candidates, round_to_number
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.defaults import calibration, settled
from kerasurgeon.channels.groups import groups
from kerasurgeon.channels.importance import Evidence, criterion_for
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.prune_options import AUTO, KEPT, PruneOptions
from kerasurgeon.channels.prune_report import close_and_log, closed, log_choice, log_compensation, log_inexact
from kerasurgeon.channels.scatter import loosen_shortcuts
from kerasurgeon.channels.selection import Chooser, Chosen, Section, sections
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import evaluation_by
from kerasurgeon.rewrite.latency_of import latency_by
from kerasurgeon.rewrite.option_checks import check_function

_LATENCIES = 16


def prune(graph: Graph, options: PruneOptions, context: Context) -> None:
    """Remove the channels of a graph that matter least, in place and in rounds.

    Args:
        graph: The graph.
        options: Which channels, how many, and in how many rounds.
        context: Data, loss and evaluation; decisions are logged there, and the plan of each round is added.

    Raises:
        OptionError: What the options need is missing, or a pattern names nothing.
        PassError: The target cannot be reached, or the callback returns another model.
    """
    _Rounds(settled(graph, options, context), graph, context, fallback=options.compensate == AUTO).run()


class _Rounds:
    """The rounds of one run: see ``prune``."""

    def __init__(self, options: PruneOptions, graph: Graph, context: Context, *, fallback: bool) -> None:
        self.options, self.graph, self.context, self.fallback = options, graph, context, fallback
        self.loose: list[str] = []
        self.target = options.target
        self.callback = check_function(options.name, "callback", options.callback)
        self.full: float | None = None
        self.widths: dict[str, int] = {}
        self.taken = 0.0

    def run(self) -> None:
        """All rounds, with loosened shortcuts where asked for."""
        options, context = self.options, self.context
        if options.max_loss is not None and context.evaluate is None:
            raise OptionError(
                "max_loss= needs an evaluation.", hint="pass evaluate=function to the pipeline: model to number"
            )
        if options.shortcuts == "scatter":
            self.loose = loosen_shortcuts(self.graph)
            if not self.loose:
                context.left(self.graph.name, "shortcuts='scatter': no branch ends in a sum")
        self._run()
        close_and_log(self.graph, self.loose, context)

    def _run(self) -> None:
        options, context = self.options, self.context
        before = self._evaluation() if options.max_loss is not None else None
        for step in range(1, options.steps + 1):
            start = self.graph.copy() if before is not None else None
            sites = len(context.sites)
            self._round(step)
            if options.try_zeros:
                self._report_zeros()
                return
            self._call_back(step)
            if before is not None and start is not None:
                after = self._evaluation()
                if before - after > float(options.max_loss or 0.0):
                    del context.sites[sites:]
                    del context.plans[step - 1 :]
                    self.graph.adopt(start)
                    context.expect(partial(self._plain, start.copy()))
                    lost = (
                        f"the evaluation fell from {before:.6g} to {after:.6g}: more than max_loss={options.max_loss}"
                    )
                    context.left(self.graph.name, f"round {step} of {options.steps} was taken back: {lost}")
                    return

    def _round(self, step: int) -> None:
        options, context = self.options, self.context
        channels = analyse(self.graph)
        found = groups(channels)
        self.widths = self.widths or {group.name: group.size for group in found}
        limits = Limits(
            tuple(options.ignore),
            AUTO if options.round_to == AUTO else round_to_number(options.round_to),
            options.min_channels,
            options.max_ratio,
            options.exact_only,
            self.widths,
        )
        evidence = Evidence(channels, context.data, context.loss, context.rng, options.reduction)

        def progress(fraction: float, name: str) -> None:
            context.progress((step - 1 + 0.7 * fraction) / options.steps, f"{options.name}: {name}")

        usable = candidates(found, limits, criterion_for(options.importance), evidence, options.normalise, progress)
        if found and all(candidate.why for candidate in usable):
            first = usable[0]
            why = f"no channel may go, of {len(usable)} groups; {first.group.name!r}: {first.why}"
            context.left(self.graph.name, why)
        chosen, said = self._choose(channels, usable, step)
        said = "; ".join([said, *evidence.notes])
        context.plans.append(ChannelPlan.of(channels, chosen.gone, note=f"{options.name}, round {step}: {said}"))
        log_choice(context, usable, chosen, f"round {step}: " if options.steps > 1 else "")
        if not chosen.gone.any():
            context.left(self.graph.name, f"nothing to remove: {said}")
            return
        if options.compensate != "none" and not options.try_zeros:
            seed = int(context.rng.integers(2**31))
            method, data = calibration(self.graph, options, context, progress, self.fallback)
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

    def _choose(self, channels: Channels, usable: list[Candidate], step: int) -> tuple[Chosen, str]:
        """What goes, and a line on the target and what was reached."""
        options, target = self.options, self.target
        share = step / options.steps
        if target in KEPT:
            return self._to_budget(channels, usable, share)
        if target == "threshold":
            split = options.threshold if isinstance(options.threshold, Mapping) else options.scope
            chooser = Chooser(channels, usable, sections(channels, usable, split, "threshold="))
            chosen = chooser.by_threshold(None if isinstance(options.threshold, Mapping) else options.threshold)
            return chosen, f"scores below {options.threshold}; {self._removed(chooser, chosen)}"
        wanted = options.ratio if target == "ratio" else options.scope
        if isinstance(wanted, Mapping):
            own = sections(channels, usable, wanted, f"{target}=")
            if target == "ratio":
                own = [Section(one.name, [place], one.ratio) for one in own for place in one.places]
            for one in own:
                one.ratio = self._rest(one.ratio or 0.0, step)
            chooser = Chooser(channels, usable, own)
            chosen = chooser.by_ratio()
            return chosen, f"target {target}={wanted}; {self._removed(chooser, chosen)}"
        assert isinstance(wanted, float)
        chooser = Chooser(channels, usable, sections(channels, usable, options.scope))
        ratio = self._rest(wanted, step)
        if options.scope == "local":
            chosen = chooser.by_ratio(ratio)
        else:
            whole = chooser.kept_channels(chooser.nothing)
            chosen = chooser.by_ratio(ratio)
            if chooser.kept_channels(chosen.gone) > (1 - ratio) * whole * 1.01 + 1:
                chosen = chooser.to_target(chooser.kept_channels, (1 - ratio) * whole, "the number of channels")
        return chosen, f"target: {wanted:.1%} of the channels removed; reached: {self._removed(chooser, chosen)}"

    def _rest(self, ratio: float, step: int) -> float:
        """The share to take of what the rounds before have left."""
        before, after = (1 - ratio * done / self.options.steps for done in (step - 1, step))
        return 1 - after / before

    def _removed(self, chooser: Chooser, chosen: Chosen) -> str:
        whole, kept = chooser.kept_channels(chooser.nothing), chooser.kept_channels(chosen.gone)
        return f"{whole - kept:,.0f} of {whole:,.0f} channels removed" + (f" ({1 - kept / whole:.1%})" if whole else "")

    def _to_budget(self, channels: Channels, usable: list[Candidate], share: float) -> tuple[Chosen, str]:
        options, target = self.options, self.target
        chooser = Chooser(channels, usable, sections(channels, usable, options.scope))
        if target == "latency":
            cost_of, asks = self._latency(channels), _LATENCIES
        else:
            budget = Budget(channels)
            extra = self._not_there(target)
            cost_of, asks = (lambda gone: budget.of(target, gone) - extra), 10_000
        now = cost_of(chooser.nothing)
        if self.full is None:
            self.full = now
        value = float(getattr(options, target))
        end = value * self.full if value <= 1 else value
        wanted = self.full - (self.full - end) * share
        chosen = chooser.to_target(cost_of, wanted, target, evaluations=asks)
        kept = f"{chosen.reached / self.full:.1%}" if self.full else "all"
        shown = "{:,.0f}" if target != "latency" else "{:.4g}"
        said = f"target: {target} {shown.format(wanted)}; reached: {shown.format(chosen.reached)}, {kept} kept"
        return chosen, said

    def _latency(self, channels: Channels) -> Any:
        measure = check_function(self.options.name, "latency_of", self.options.latency_of)
        assert measure is not None

        def latency(gone: Any) -> float:
            small = self.graph.copy()
            if gone.any():
                cut_channels(small, gone, channels)
            return latency_by(measure, emit(self._plain(small), compile=False), "the model")

        return latency

    def _evaluation(self) -> float:
        assert self.context.evaluate is not None
        return evaluation_by(self.context.evaluate, emit(self._plain(self.graph)), "the model")

    def _plain(self, graph: Graph) -> Graph:
        """A graph as it is handed out: a copy of plain layers, where shortcuts are loosened."""
        return closed(graph.copy()) if self.loose else graph

    def _not_there(self, target: str) -> float:
        """What the budget counts of the layers that loosen shortcuts, of which the result keeps no weights."""
        arrays = [weight.array for name in self.loose for weight in self.graph.layer_of(name).weights.values()]
        return float(sum(array.nbytes if target == "bytes" else array.size for array in arrays) * (target != "macs"))

    def _report_zeros(self) -> None:
        said = "channels are zeroed only (try_zeros): shapes stay"
        if self.context.evaluate is not None:
            said += f"; evaluation {self._evaluation():.6g}"
        self.context.changed(self.graph.name, said)

    def _call_back(self, step: int) -> None:
        """Let the user train the model of this round, and take its weights over."""
        if self.callback is None:
            return
        model = emit(self._plain(self.graph))
        returned = self.callback(model, step)
        trained = lift(model if returned is None else returned)
        changed = False
        loose = {self.graph[name].layer for name in self.loose}
        for key, layer in self.graph.layers.items():
            if key in loose:
                continue
            other = trained.layers.get(key)
            shapes = {path: weight.shape for path, weight in layer.weights.items()}
            if other is None or {path: weight.shape for path, weight in other.weights.items()} != shapes:
                raise PassError(
                    "The callback returned a model with other layers.",
                    where=f"round {step}, layer {key!r}",
                    expected="the model that it was given, or None",
                )
            different = {
                path: other.weights[path].array
                for path, weight in layer.weights.items()
                if not (weight.array == other.weights[path].array).all()
            }
            if different:
                changed = True
                self.graph.update_layer(key, layer.with_weights(**different))
        if changed:
            reference = self.graph.copy()
            self.context.expect(lambda: self._plain(reference))
            self.context.changed(self.graph.name, f"round {step}: the callback changed weights")


__all__ = ["prune"]
