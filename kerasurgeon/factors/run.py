"""One run of Factorise: which layers, which ranks, and the change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace

from kerasurgeon.costs import UNITS, Allowance, LeftOut, cost, require_counted
from kerasurgeon.errors import OptionError
from kerasurgeon.factors import options as check
from kerasurgeon.factors.described import described
from kerasurgeon.factors.direct import direct_pick
from kerasurgeon.factors.inputs import measure_inputs
from kerasurgeon.factors.kernels.linear_algebra import one_blas_thread
from kerasurgeon.factors.kernels.method import Factors
from kerasurgeon.factors.latency import Stopwatch, by_latency
from kerasurgeon.factors.ledger import Ledger, ledger_for
from kerasurgeon.factors.offers import extremes, offers
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Offers, Pick
from kerasurgeon.factors.plan import FactorPlan
from kerasurgeon.factors.put import put
from kerasurgeon.factors.refit import refitted
from kerasurgeon.factors.search import Search
from kerasurgeon.factors.sites import NoSite, Site, places
from kerasurgeon.factors.split_layers import build_layers
from kerasurgeon.factors.workbench import Workbench
from kerasurgeon.generating import DATA_ADDS, NothingGenerated, find_anchors, stand_in
from kerasurgeon.hidden import alone
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import where_refusal
from kerasurgeon.ir.structure import unflatten
from kerasurgeon.keras_io.batches import require_telling
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.held_out import kept_aside
from kerasurgeon.rewrite.option_checks import check_known_patterns
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules import resolve


def factorise(graph: Graph, options: FactoriseOptions, context: Context) -> None:
    """Factorise kernels of a graph in place.

    Args:
        graph: The graph.
        options: Which, how, and how far.
        context: Data and evaluation; decisions are logged there, and the plan of the factors is added.

    Raises:
        OptionError: A pattern names no layer, or what the options need is missing.
        BudgetError: A budget cannot be reached, or too much of it is unknown.
        RoundError: An evaluation fails.
    """
    Run(options, graph, context).run()


class Run:
    """A run over a graph: see ``factorise``."""

    def __init__(self, options: FactoriseOptions, graph: Graph, context: Context) -> None:
        self.options, self.graph, self.context = options, graph, context
        self.benches: dict[str, Workbench] = {}
        self.budget: tuple[Ledger, Allowance] | None = None
        self.data, self.aside = context.data, None
        if options.way == "max_accuracy_loss" and context.evaluate is None and isinstance(context.data, Iterable):
            self.data, self.aside = kept_aside(context.data, options.held_out)

    def run(self) -> None:
        """Choose, factorise, put."""
        with one_blas_thread():
            found = self._find()
            minimise = self._minimise()
            if minimise != "kernel":
                self._refuse_early()
                if minimise == "generated":
                    minimise = self._generate()
            self.options = replace(self.options, minimise=minimise)
            if minimise == "output":
                self._measure()
            self._require_blocks(found)
            if not self.benches and not self.context.sites:
                self.context.left(self.graph.name, "there is no layer with a kernel to factorise")
            picks = self._choose()
            plan = self._change(picks)
        if plan.layers:
            self.context.plans.append(plan)

    # Whose error.

    def _minimise(self) -> str:
        """What is minimised, where nobody said it: see ``Factorise``."""
        options = self.options
        if options.minimise != "auto":
            return options.minimise
        if options.way == "max_accuracy_loss":
            return "kernel"
        if self.data is not None:
            return "output"
        return "generated" if self.benches and options.only_if_cheaper and find_anchors(self.graph) else "kernel"

    def _generate(self) -> str:
        """Make inputs that stand for data; where there can be none, and nobody asked for them, kernels do."""
        options = self.options
        try:
            made = stand_in(
                self.graph,
                self.context,
                options.name,
                range=options.input_range,
                seconds=options.generate_seconds,
                progress=lambda fraction, message: self.context.progress(0.3 * fraction, message),
            )
        except NothingGenerated as problem:
            if options.minimise == "generated":
                raise problem.refusal from None
            self.context.note(f"{problem}; kernels are factorised by their own error; {DATA_ADDS}")
            return "kernel"
        self.data = unflatten(self.graph.inputs, list(made.arrays))
        return "output"

    # Which layers.

    def _find(self) -> list[tuple[Site, tuple[str, ...]]]:
        methods = check.methods(self.options.name, self.options.method)
        self._check_patterns(methods)
        found: list[tuple[Site, tuple[str, ...]]] = []
        specs = None if self.context.sizes is None else resolve(self.graph, sizes=self.context.sizes)
        for site in places(self.graph, specs):
            try:
                if isinstance(site, NoSite):
                    raise Skip(site.reason)
                unnamed = where_refusal(site.names, self.options.where)
                if unnamed:
                    raise Skip(unnamed)
                named = next((names for pattern, names in methods if site.matches(pattern)), None)
                if named is None:
                    raise Skip("no pattern of method= names it")
                found.append((site, named))
            except Skip as skip:
                self.context.left(site.name, skip.reason)
        for site, names in found:
            try:
                self.benches[site.key] = Workbench(site, self.options, names)
            except Skip as skip:
                self.context.left(site.name, skip.reason)
        return found

    def _require_blocks(self, found: list[tuple[Site, tuple[str, ...]]]) -> None:
        """Blocks that divide no layer at all are a mistake."""
        structure = self.options.residual
        refusals = [structure.refusal((site.shape.inputs, site.shape.outputs)) for site, _ in found]
        if self.options.sparsity and refusals and all(refusals):
            raise OptionError(
                f"{self.options.name}: no layer can have such a residual.",
                expected="a block_size that divides the channels of layers",
                got=f"{found[0][0].name!r}: {refusals[0]}",
            )

    def _check_patterns(self, methods: check.Methods) -> None:
        """A pattern that names nothing in the model is a mistake."""
        options = self.options
        ranks = check.ranks(options.name, options.ranks) if options.ranks is not None else {}
        for option, patterns in (("where", options.where), ("method", dict(methods)), ("ranks", ranks)):
            check_known_patterns(options.name, option, patterns, self.graph)

    def _refuse_early(self) -> None:
        """Refuse what cannot be reached before data is looked at."""
        way = self.options.way
        if way in check.BUDGETS and way != "latency":
            self._require_sizes(way)
            measure = self._measure_of(way)
            paying = self.options.only_if_cheaper
            ledger, allowance = self._ledger(
                way, [extremes(one, measure, paying=paying) for one in self.benches.values()]
            )
            if allowance.amount < ledger.total:
                ledger.for_budget(allowance)

    def _measure(self) -> None:
        """Look at what layers read, where the error of their output is minimised."""
        if self.data is None:
            raise OptionError(
                f"{self.options.name}: minimise='output' needs data.",
                hint="pass data=inputs to the pipeline, or --data FILE on the command line",
            )
        require_telling(self.graph, self.data, self.context.note)
        self.context.progress(0.0, f"{self.options.name}: looking at the layers' inputs")
        seed = int(self.context.rng.integers(2**31))
        inputs = measure_inputs(self.graph, list(self.benches), self.data, seed=seed)
        for key, bench in self.benches.items():
            bench.inputs = inputs.get(key)

    # What they become.

    def _choose(self) -> Mapping[str, Pick]:
        options, way = self.options, self.options.way
        stopwatch = Stopwatch(options, self.graph)
        if way == "max_accuracy_loss":
            with nullcontext() if options.search_log is None else alone(options.search_log):
                picks = self._search().run()
        elif way == "latency":
            found = by_latency(self._offers("macs"), self.benches, options, stopwatch)
            picks = self._told(*found, "by the latencies of layers, added up: ")
        elif way in check.BUDGETS:
            picks = self._budget(way)
        else:
            picks = self._direct()
        if options.latency_of is not None:
            picks = stopwatch.only_faster(self.benches, picks, self.context)
        self._note(picks)
        for key, bench in self.benches.items():
            if way not in ("ratio", "energy", "error", "ranks") and key not in picks:
                self.context.left(bench.site.name, "it is whole in the best choice for all layers together")
        return picks

    def _search(self) -> Search:
        given = (self.options, self.graph, self.context, self.benches, self._offers(self.options.cost))
        return Search(*given, data=self.data, aside=self.aside)

    def _direct(self) -> Mapping[str, Pick]:
        picks = {}
        for done, (key, bench) in enumerate(self.benches.items()):
            self._progress(0.4 * done / len(self.benches), bench.site)
            try:
                picks[key] = direct_pick(bench, self.options)
            except Skip as skip:
                self.context.left(bench.site.name, skip.reason)
        return picks

    def _budget(self, way: str) -> Mapping[str, Pick]:
        self._require_sizes(way)
        ledger, allowance = self._ledger(way, self._offers(self._measure_of(way)))
        if allowance.amount >= ledger.total:
            self.context.left(self.graph.name, f"{way}={allowance.value:g}: there is no more than that")
            return {}
        return self._told(ledger, allowance)

    def _ledger(self, way: str, several: list[Offers]) -> tuple[Ledger, Allowance]:
        """What a budget chooses among, and what may be left."""
        options, measure = self.options, self._measure_of(way)
        inside_only = way == "compression_factor"
        found = None if inside_only else cost(self.graph, sizes=self.context.sizes)
        ledger = ledger_for(several, measure, found)
        unit = f"{UNITS[measure]} of the layers that may be factorised" if inside_only else ""
        value = float(getattr(options, way))
        return ledger, Allowance(options.name, way, value, ledger.total, options.unreachable, unit=unit)

    def _measure_of(self, way: str) -> str:
        return self.options.cost if way == "compression_factor" else way

    def _told(self, ledger: Ledger, allowance: Allowance, by: str = "") -> Mapping[str, Pick]:
        """The picks for a budget, with what the report says of them."""
        choice, said = ledger.for_budget(allowance)
        self.context.changed(self.graph.name, by + said)
        self.budget = ledger, allowance
        return choice.picks

    def _note(self, picks: Mapping[str, Pick]) -> None:
        """Say of a budget what the printed report must not be silent about."""
        if self.budget is None:
            return
        ledger, allowance = self.budget
        if missed := allowance.missed(ledger.cost_of(picks)):
            slower = "; layers that are faster whole, by latency_of=, stay so" * (self.options.latency_of is not None)
            self.context.note(missed + slower)
        if any(pick.sparsity for pick in picks.values()):
            weight = f"sparsity_weight={self.options.sparsity_weight:g}"
            self.context.note(
                f"kept entries of residuals count by {weight}, not the zeros that dense runtimes multiply"
            )

    def _require_sizes(self, way: str) -> None:
        """MACs are a sum only where sizes are known: those of the model, or of these layers together."""
        if self._measure_of(way) != "macs":
            return
        if way == "macs":
            require_counted(self.options.name, cost(self.graph, sizes=self.context.sizes))
        elif free := [bench.site.name for bench in self.benches.values() if bench.site.open]:
            require_counted(self.options.name, LeftOut(tuple(free), len(free), share=None))

    def _offers(self, measure: str) -> list[Offers]:
        found = []
        for done, bench in enumerate(self.benches.values()):
            self._progress(0.5 * done / len(self.benches), bench.site)
            found.append(offers(bench, measure, paying=self.options.only_if_cheaper))
        return found

    # The change.

    def _change(self, picks: Mapping[str, Pick]) -> FactorPlan:
        made: dict[str, tuple[Site, Factors]] = {}
        for done, (key, pick) in enumerate(picks.items()):
            bench = self.benches[key]
            self._progress(0.5 + 0.4 * done / len(picks), bench.site)
            factors = bench.make(pick)
            made[key] = bench.site, factors
            self.context.changed(bench.site.name, described(bench, pick, factors))
            bench.forget()
        self._note_rescaled(picks)
        whole = self.graph.copy()
        ends = {key: put(self.graph, key, build_layers(site, factors)) for key, (site, factors) in made.items()}
        if self.options.minimise == "output" and not hasattr(self.data, "__next__"):
            self.context.progress(0.9, f"{self.options.name}: fitting chains in order")
            seed = int(self.context.rng.integers(2**31))
            made = refitted(whole, self.graph, made, ends, self.data, seed)
        return FactorPlan.of(self.graph.name, {site.name: (site.kernel(), factors) for site, factors in made.values()})

    def _note_rescaled(self, picks: Mapping[str, Pick]) -> None:
        """Say of how many layers it was decided that their chains are scaled."""
        if self.options.rescale != "auto":
            return
        scaled = sum(self.benches[key].rescales(pick) for key, pick in picks.items())
        if scaled:
            self.context.note(
                f"rescale='auto': on for {scaled} of {len(picks)} layers, whose kernels are like random ones"
            )

    def _progress(self, fraction: float, site: Site) -> None:
        self.context.progress(fraction, f"{self.options.name}: {site.name}")


__all__ = ["factorise"]
