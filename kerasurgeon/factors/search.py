"""Search for the cheapest factorisation of a model that loses no more accuracy than allowed.

What a choice does to the accuracy is tried on the model as it is, with the kernels that the factors stand for in the
place of its own (what the chains would compute), so that nothing is rebuilt. First each layer by itself: how much
damage a unit of its kernel's error does. Then, by bisection, the smallest budget for which the choice that is best for
all layers together, by these weights, is good enough. Then layer by layer cheaper ranks, the largest saving for the
predicted damage first, for as long as the accuracy allows. The bound is on the whole model: what one layer does not
need, another may use. Of labelled data a part is kept aside, and what the search came by is confirmed on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.costs import cost
from kerasurgeon.factors.ledger import Choice, ledger_for
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Offers, Pick
from kerasurgeon.factors.trials import Trials
from kerasurgeon.factors.workbench import Workbench
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.held_out import loss_bound

_BISECTIONS = 10
_FINEST = 0.005
"""Bisection ends when the budgets that still compete are this near, as a share of the model's cost."""
_CONFIRMED = 12
"""Choices that are looked at on data that was kept aside, at most."""
_SAID = 0.95
"""The confidence of the bound that is reported."""


class Search:
    """A search. See the module.

    Args:
        options: What is asked for.
        graph: The graph; it is only read.
        context: The run's: evaluation or labelled data, progress, report.
        benches: The layers by key.
        offers: What each may become, in ``options.cost``.
        data: The labelled data that choices are tried on.
        aside: Labelled data that has no part in the search, and confirms what it found; if any.
    """

    def __init__(
        self,
        options: FactoriseOptions,
        graph: Graph,
        context: Context,
        benches: Mapping[str, Workbench],
        offers: Sequence[Offers],
        data: Any = None,
        aside: Any = None,
    ) -> None:
        self.options, self.context, self.aside = options, context, aside
        self.offers = [one for one in offers if len(one.picks) > 1]
        # Only choices are compared with each other here, so that of MACs, of which some may be unknown, the rest is
        # left out. Where a model leaves sizes open, they are those of one position of each layer.
        self.ledger = ledger_for(self.offers, options.cost, cost(graph) if options.cost != "macs" else None)
        self.trials = Trials(options, graph, context, benches, self.ledger, data)

    def run(self) -> Mapping[str, Pick]:
        """The cheapest choice that was found.

        Raises:
            RoundError: The evaluation fails or gives no number; what was found is in the error and in the log file.
        """
        trials = self.trials
        base = trials.base()
        floor = base - float(self.options.max_accuracy_loss or 0.0)
        trials.log.floor = floor
        if self.offers:
            self.ledger.weight(self._sensitivities(base))
            self._bisect()
            self._refine()
        best, confirmed = (trials.best, "") if self.aside is None else self._confirmed()
        self.context.plans.append(trials.log)
        said = self.ledger.reached(best)
        accuracy = base if not best.picks else trials.accuracy(best)
        ended = "" if trials.left > 0 else f"; ended after evaluations={self.options.evaluations}"
        if self.options.cost == "macs" and any(one.site.open for one in self.offers):
            self.context.note("sizes are open, so that MACs are those of one position of each layer: pass sizes=")
        self.context.changed(
            trials.graph.name, f"accuracy {base:.6g} -> {accuracy:.6g} (at least {floor:.6g}), {said}{ended}{confirmed}"
        )
        return best.picks

    def _confirmed(self) -> tuple[Choice, str]:
        """The last choice, from the dearest on, that loses no more than allowed on what was kept aside.

        The order comes from the search, which has not seen that data, and ends at the first choice that fails. So the
        bound holds there however many choices were tried: testing in a fixed sequence (Angelopoulos et al., "Learn then
        test", 2021, section 3).
        """
        best = Choice({}, self.ledger.total, 0.0)
        base = right = self.trials.shares(best, self.aside)
        allowed = float(self.options.max_accuracy_loss or 0.0) + 1e-9
        for choice in self._sequence():
            if self.trials.accuracy(choice, "kept") < self.trials.log.floor:
                continue
            shares = self.trials.shares(choice, self.aside)
            if loss_bound(base - shares, self.options.confidence) > allowed:
                break
            best, right = choice, shares
        bound = loss_bound(base - right, _SAID)
        return best, (
            f"; on {len(base)} samples kept aside {base.mean():.6g} -> {right.mean():.6g}, "
            f"a loss of at most {max(bound, 0.0):.2g} on new data with {_SAID:.0%} confidence"
        )

    def _sequence(self) -> list[Choice]:
        """Choices from nearly the whole model to the cheapest that was found, which comes last."""
        found = self.trials.best
        if not found.picks:
            return []
        budgets = np.linspace(self.ledger.total, found.cost, _CONFIRMED + 1)[1:-1]
        several = {choice.cost: choice for budget in budgets if (choice := self.ledger.within(float(budget))).picks}
        dearer = [several[cost] for cost in sorted(several, reverse=True) if cost > found.cost]
        return [*dearer, found]

    def _sensitivities(self, base: float) -> dict[str, float]:
        """How much accuracy a unit of each layer's relative squared error takes, tried with half of its cost gone."""
        weights: dict[str, float] = {}
        for one in self.offers:
            if self.trials.left <= _BISECTIONS:
                break
            row = _half(one, self.options.cost)
            choice = self.ledger.choice([row if other is one else 0 for other in self.offers])
            lost = max(0.0, base - self.trials.accuracy(choice, "alone"))
            weights[one.site.key] = lost / max(float(one.errors[row]), 1e-12)
        # A loss too small to be seen is not none: layers with none count as half of the least that was seen.
        seen = [weight for weight in weights.values() if weight > 0]
        least = 0.5 * min(seen) if seen else 1.0
        return {one.site.key: weights.get(one.site.key, least) or least for one in self.offers}

    def _bisect(self) -> None:
        low, high = self.ledger.least, self.ledger.total
        if self._try(self.ledger.within(low), "all"):
            return
        for _ in range(_BISECTIONS):
            if high - low <= _FINEST * self.ledger.total or self.trials.left <= 0:
                return
            middle = (low + high) / 2
            if self._try(self.ledger.within(middle), "all"):
                high = middle
            else:
                low = middle

    def _refine(self) -> None:
        """One layer at a time to what is next cheaper, as long as one can."""
        stuck: set[str] = set()
        while self.trials.left > 0:
            steps = [step for one in self.offers if one.site.key not in stuck and (step := self._step(one))]
            if not steps:
                return
            _, key, choice = max(steps, key=lambda step: step[0])
            if not self._try(choice, "one"):
                stuck.add(key)

    def _step(self, offers: Offers) -> tuple[float, str, Choice] | None:
        """The next cheaper row of one layer: its saving for the damage, and the whole choice with it."""
        best = self.trials.best
        rows = [one.picks.index(best.picks.get(one.site.key)) for one in self.offers]
        place = self.offers.index(offers)
        costs, errors = self.ledger.costs[place], self.ledger.errors[place]
        now = rows[place]
        cheaper = np.flatnonzero(costs < costs[now])
        if not len(cheaper):
            return None
        # Not the very next: steps of a twentieth of the layer's cost, so that an evaluation is worth its time.
        wanted = float(costs[now]) - 0.05 * float(costs[0])
        reach = cheaper[costs[cheaper] <= wanted]
        row = int(max(reach, key=lambda at: float(costs[at]))) if len(reach) else int(cheaper[costs[cheaper].argmin()])
        rows[place] = row
        saved, damage = float(costs[now] - costs[row]), float(errors[row] - errors[now])
        return saved / max(damage, 1e-12), offers.site.key, self.ledger.choice(rows)

    def _try(self, choice: Choice, stage: str) -> bool:
        if not choice.picks or self.trials.left <= 0:
            return False
        return self.trials.accuracy(choice, stage) >= self.trials.log.floor


def _half(offers: Offers, measure: str) -> int:
    """The row, of those that change the layer, whose cost is nearest to half of the layer's."""
    costs: Any = offers.costs(measure)
    return 1 + int(np.abs(costs[1:] - costs[0] / 2).argmin())


__all__ = ["Search"]
