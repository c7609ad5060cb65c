"""Budgets of latency: what layers and their chains take, measured one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.costs import Allowance
from kerasurgeon.factors.ledger import Ledger
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Offers, Pick
from kerasurgeon.factors.put import put
from kerasurgeon.factors.sites import Site
from kerasurgeon.factors.split_layers import build_layers
from kerasurgeon.factors.workbench import Workbench
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.latency_of import latency_by
from kerasurgeon.rewrite.option_checks import check_function
from kerasurgeon.rewrite.surgery import extract

_PICKS = 6
"""Factorisations of a layer that are measured: each takes an export and a measurement."""


class Stopwatch:
    """Latencies of layers by themselves, each kind of layer measured once.

    Args:
        options: ``latency_of`` measures.
        graph: The graph as it came.
    """

    def __init__(self, options: FactoriseOptions, graph: Graph) -> None:
        self.options = options
        self.graph = graph.copy() if options.latency_of is not None else graph
        self._measure = check_function(options.name, "latency_of", options.latency_of)
        self._known: dict[str, float] = {}

    def model(self) -> float:
        """What the whole model takes."""
        return self._run(emit(self.graph, compile=False), "the model")

    def layer(self, bench: Workbench, pick: Pick | None) -> float:
        """What all calls of a layer take together, or of the chain that it may become."""
        return sum(self._call(bench, call, pick) for call in range(len(bench.site.calls)))

    def _call(self, bench: Workbench, call: int, pick: Pick | None) -> float:
        site = bench.site
        key = _signature(site, self.graph, call, pick)
        if key not in self._known:
            node = site.calls[call]
            part = extract(self.graph, node.inputs[0], node.value)
            if pick is not None:
                put(part, site.key, build_layers(site, bench.make(pick)))
            self._known[key] = self._run(emit(part, compile=False), f"layer {site.name!r}")
        return self._known[key]

    def _run(self, model: Any, of: str) -> float:
        assert self._measure is not None
        return latency_by(self._measure, model, of)

    def only_faster(
        self, benches: Mapping[str, Workbench], picks: Mapping[str, Pick], context: Context
    ) -> dict[str, Pick]:
        """The factorisations that are faster than their layer."""
        kept = {}
        for done, (key, pick) in enumerate(picks.items()):
            bench = benches[key]
            context.progress(0.5 + 0.1 * done / len(picks), f"{self.options.name}: timing {bench.site.name}")
            before, after = self.layer(bench, None), self.layer(bench, pick)
            if after < before:
                kept[key] = pick
            else:
                context.left(bench.site.name, f"its chain takes {after:.4g}, the layer {before:.4g}, by latency_of=")
        return kept


def by_latency(
    offers: Sequence[Offers], benches: Mapping[str, Workbench], options: FactoriseOptions, stopwatch: Stopwatch
) -> tuple[Ledger, Allowance]:
    """The latencies that layers may have, and what is allowed of them.

    Latencies of layers are taken to add up; what the model takes beyond its layers stays as it is.

    Args:
        offers: Of every layer, by MACs.
        benches: The layers by key.
        options: What is asked for.
        stopwatch: Measures.
    """
    assert options.latency is not None
    few = [_spread(one) for one in offers]
    costs = [np.array([stopwatch.layer(benches[one.site.key], pick) for pick in one.picks]) for one in few]
    inside = sum(float(cost[0]) for cost in costs)
    ledger = Ledger(few, "latency", max(0.0, stopwatch.model() - inside), costs=costs)
    return ledger, Allowance(options.name, "latency", float(options.latency), ledger.total, options.unreachable)


def _spread(offers: Offers) -> Offers:
    """The layer as it is and a few factorisations, from the smallest cost to the largest."""
    order = sorted(range(1, len(offers.picks)), key=lambda row: float(offers.macs[row]))
    rows = np.unique(np.linspace(0, len(order) - 1, _PICKS).round().astype(int)) if order else ()
    return offers.take([0, *(order[row] for row in rows)])


def _signature(site: Site, graph: Graph, call: int, pick: Pick | None) -> str:
    """Layers with the same configuration, input and factorisation take the same time."""
    config = {key: value for key, value in site.layer.config.items() if key != "name"}
    return repr((site.layer.kind, sorted(config.items(), key=str), graph.spec(site.calls[call].inputs[0]).shape, pick))


__all__ = ["Stopwatch", "by_latency"]
