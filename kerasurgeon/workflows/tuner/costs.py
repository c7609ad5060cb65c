"""What a candidate costs: parameters, MACs, or what a function says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import keras

from kerasurgeon.costs import cost as count_costs
from kerasurgeon.costs import require_counted
from kerasurgeon.errors import RoundError
from kerasurgeon.rewrite.evaluation_of import called, number_by
from kerasurgeon.rewrite.option_checks import check_choice
from kerasurgeon.rules import Sizes

CostFunction: TypeAlias = Callable[[keras.Model], float]


def parameters(model: keras.Model) -> int:
    """Elements of all weights, moving statistics included."""
    return int(model.count_params())


def macs(model: keras.Model, sizes: Sizes | None = None) -> int:
    """Multiply-accumulates for one sample, those that are unknown left out.

    Raises:
        BudgetError: Too many of them are unknown.
    """
    counted = count_costs(model, sizes=sizes)
    require_counted("cost='macs'", counted)
    return counted.macs


COSTS: dict[str, CostFunction] = {"params": parameters, "macs": macs}


def cost_function(cost: str | CostFunction, sizes: Sizes | None = None) -> tuple[str, CostFunction]:
    """A cost by name, or the user's own.

    Args:
        cost: ``"params"``, ``"macs"``, or a function of a model: its latency in milliseconds, say.
        sizes: Sizes of the inputs that MACs are counted for, as for ``kerasurgeon.cost``.

    Returns:
        Its name, and what gives it: a finite number from 0.

    Raises:
        OptionError: There is no cost of that name.
    """
    if callable(cost):
        name = getattr(cost, "__name__", "cost")
        return ("cost" if name == "<lambda>" else name), _checked(cost)
    check_choice("", "cost", cost, COSTS)
    return cost, partial(macs, sizes=sizes) if cost == "macs" else COSTS[cost]


def _checked(cost: CostFunction) -> CostFunction:
    def measured(model: keras.Model) -> float:
        says: dict[str, str] = {"what": "cost", "expected": "a finite number from 0"}
        found = number_by(called("cost=", f"model {model.name!r}", cost, model), "cost=", "the model", **says)
        if found < 0:
            raise RoundError("cost= gives no cost.", where="the model", expected=says["expected"], got=repr(found))
        return found

    return measured
