"""What a candidate costs: parameters, MACs, or what a function says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from kerasurgeon.costs.analysis import cost as count_costs
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import check_choice, is_number

CostFunction: TypeAlias = Callable[[keras.Model], float]


def parameters(model: keras.Model) -> int:
    """Elements of all weights, moving statistics included."""
    return int(model.count_params())


def macs(model: keras.Model) -> int:
    """Multiply-accumulates for one sample.

    Raises:
        OptionError: Those of some layers cannot be told.
    """
    counted = count_costs(model)
    unknown = [item for item in counted.unknown if item.what == "macs"]
    if unknown:
        raise OptionError(
            "The MACs of this model cannot be told.",
            where=f"{len(unknown)} layers, the first {unknown[0].name!r}",
            got=unknown[0].reason,
            hint="give the backbone a fixed input shape, or its layers rules (kerasurgeon.register_rule); or use "
            "cost='params'",
        )
    return counted.macs


COSTS: dict[str, CostFunction] = {"params": parameters, "macs": macs}


def cost_function(cost: str | CostFunction) -> tuple[str, CostFunction]:
    """A cost by name, or the user's own.

    Args:
        cost: ``"params"``, ``"macs"``, or a function of a model: its latency in milliseconds, say.

    Returns:
        Its name, and what gives it: a finite number from 0.

    Raises:
        OptionError: There is no cost of that name.
    """
    if callable(cost):
        name = getattr(cost, "__name__", "cost")
        return ("cost" if name == "<lambda>" else name), _checked(cost)
    check_choice("", "cost", cost, COSTS)
    return cost, COSTS[cost]


def _checked(cost: CostFunction) -> CostFunction:
    def measured(model: keras.Model) -> float:
        found: Any = cost(model)
        found = found.item() if hasattr(found, "item") else found
        if not is_number(found) or found < 0:
            raise OptionError(
                "The cost of a model is a number.", where="cost", expected="a finite number from 0", got=repr(found)
            )
        return float(found)

    return measured
