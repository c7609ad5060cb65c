"""Choose the factorisations of all layers together, for a budget of the whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.costs import Allowance, Cost
from kerasurgeon.factors.kernels.budget import cheapest
from kerasurgeon.factors.picks import Offers, Pick

Array = np.ndarray[Any, Any]

_TOLERANCE = 0.02


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """What all layers become.

    Attributes:
        picks: By the layer's key; layers that stay whole are absent.
        cost: What the factorised layers and those that stayed cost together, in the budget's measure.
        damage: What it does to the network, see ``damage``, weighted as the choice was.
    """

    picks: Mapping[str, Pick]
    cost: float
    damage: float


@final
class Ledger:
    """The offers of all layers in one measure, and what lies outside of them.

    Args:
        offers: Of every layer that may be factorised.
        measure: ``"macs"``, ``"params"`` or ``"bytes"``.
        rest: What everything else costs.
        costs: Costs of every layer's offers, where they are in another measure.
    """

    def __init__(
        self,
        offers: Sequence[Offers],
        measure: str,
        rest: float,
        costs: Sequence[Array] | None = None,
    ) -> None:
        self.offers, self.measure, self.rest = tuple(offers), measure, rest
        self.errors = [damage(one.errors) for one in self.offers]
        self.costs = list(costs) if costs is not None else [one.costs(measure) for one in self.offers]

    def weight(self, weights: Mapping[str, float]) -> None:
        """Let the errors of layers count differently, by key; 1 where it is not named."""
        self.errors = [damage(one.errors) * weights.get(one.site.key, 1.0) for one in self.offers]

    @property
    def total(self) -> float:
        """The cost of the model as it is."""
        return self.rest + sum(float(costs[0]) for costs in self.costs)

    @property
    def least(self) -> float:
        """The least that can be reached."""
        return self.rest + sum(float(costs.min()) for costs in self.costs)

    def within(self, amount: float) -> Choice:
        """The least damage for a cost of the whole model; the cheapest there is where that is more."""
        if amount <= self.least:
            return self.choice([int(costs.argmin()) for costs in self.costs])
        return self.choice(cheapest(self.errors, self.costs, amount - self.rest))

    def choice(self, rows: Sequence[int]) -> Choice:
        """The choice of a row from every layer's offers."""
        picks = {one.site.key: pick for one, row in zip(self.offers, rows, strict=True) if (pick := one.picks[row])}
        spent = self.rest + sum(float(costs[row]) for costs, row in zip(self.costs, rows, strict=True))
        done = sum(float(errors[row]) for errors, row in zip(self.errors, rows, strict=True))
        return Choice(picks, spent, done)

    def cost_of(self, picks: Mapping[str, Pick]) -> float:
        """What the model costs when these layers are factorised."""
        rows = [one.picks.index(picks.get(one.site.key)) for one in self.offers]
        return self.choice(rows).cost

    def reached(self, choice: Choice) -> str:
        """The cost of the model before and after a choice."""
        unit = self.measure if self.measure != "macs" else "MACs"
        return f"{unit} {_shown(self.total)} -> {_shown(choice.cost)} ({choice.cost / (self.total or 1):.1%})"

    def for_budget(self, allowance: Allowance) -> tuple[Choice, str]:
        """The least damage within a budget, and what a report says of it.

        Raises:
            BudgetError: It cannot be reached, and the nearest will not do.
        """
        why = (
            f"{_shown(self.rest)} are outside the layers that may be factorised, and these keep "
            f"{_shown(self.least - self.rest)} at the smallest ranks"
        )
        choice = self.within(allowance.reachable(self.least, why))
        said = allowance.said(choice.cost)
        if allowance.misses(choice.cost):
            said += f"; {why}"
        elif choice.cost < allowance.amount * (1 - _TOLERANCE):
            said += "; nothing lies nearer"
        return choice, said


def damage(errors: Array) -> Array:
    """What relative squared errors do to a network, so that it can be added up over its layers.

    Minus the logarithm of the energy that is kept: the least sum is the largest product (Zhang et al., "Accelerating
    Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016, section 3.2.5). A layer that loses
    everything is then no bargain at any price.
    """
    return np.asarray(-np.log1p(-np.minimum(errors, 1 - 1e-9)))


def ledger_for(offers: Sequence[Offers], measure: str, found: Cost | None = None) -> Ledger:
    """The ledger of a graph.

    Args:
        offers: Of every layer that may be factorised.
        measure: ``"macs"``, ``"params"`` or ``"bytes"``.
        found: What the whole model costs; ``None`` to count these layers only.
    """
    if found is None:
        return Ledger(offers, measure, 0.0)
    inside = sum(float(one.costs(measure)[0]) for one in offers)
    totals = {"macs": found.macs, "params": found.parameters, "bytes": found.weight_bytes}
    return Ledger(offers, measure, max(0.0, totals[measure] - inside))


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.4g}"


__all__ = ["Choice", "Ledger", "ledger_for"]
