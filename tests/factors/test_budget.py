"""The choice over all layers against trying everything, and against a solver for integer programmes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from kerasurgeon.errors import PassError
from kerasurgeon.factors.kernels.budget import cheapest, pareto, within

Array = np.ndarray[Any, Any]


def total(tables: list[Array], chosen: list[int]) -> float:
    return float(sum(table[index] for table, index in zip(tables, chosen, strict=True)))


def by_trying(errors: list[Array], costs: list[Array], budget: float) -> float | None:
    """The least error by going through all combinations."""
    ways = itertools.product(*(range(len(table)) for table in errors))
    found = [total(errors, list(way)) for way in ways if total(costs, list(way)) <= budget]
    return min(found, default=None)


def by_solver(errors: list[Array], costs: list[Array], budget: float) -> float:
    """A lower bound of the least error, tight to 0.01 %."""
    owner = np.repeat(np.arange(len(errors)), [len(table) for table in errors])
    one_each = (owner == np.arange(len(errors))[:, None]).astype(float)
    weights = np.concatenate(costs) / budget
    solved = milp(
        np.concatenate(errors),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(weights[None], -np.inf, 1)],
        integrality=np.ones(len(owner)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-4, "time_limit": 60},
    )
    return float(solved.mip_dual_bound)


def networks(layers: int, candidates: int, kind: str, seed: int) -> tuple[list[Array], list[Array]]:
    """Tables with costs over three orders of magnitude; the last candidate of each leaves the layer as it is."""
    rng = np.random.default_rng(seed)
    errors, costs = [], []
    for _ in range(layers):
        size = 10 ** rng.uniform(4, 7)
        shares = np.sort(rng.uniform(0.05, 1, candidates))
        lost = (1 - shares) ** rng.uniform(1, 3) if kind == "smooth" else np.sort(rng.uniform(0, 1, candidates))[::-1]
        errors.append(np.append(lost * rng.uniform(0.1, 1), 0.0))
        costs.append(np.round(np.append(size * shares, size)))
    return errors, costs


TABLES = st.lists(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=5), min_size=1, max_size=5
)


@given(TABLES, st.integers(0, 100))
@settings(max_examples=300, deadline=None)
def test_small_choices_are_the_best_there_are(tables: list[list[tuple[int, int]]], budget: int) -> None:
    errors = [np.array([error for error, _ in table], float) for table in tables]
    costs = [np.array([cost for _, cost in table], float) for table in tables]
    best = by_trying(errors, costs, budget)
    if best is None:
        with pytest.raises(PassError):
            cheapest(errors, costs, budget)
        return
    chosen = cheapest(errors, costs, budget)
    assert total(costs, chosen) <= budget
    assert total(errors, chosen) == best
    # And the other way round.
    bound = total(errors, chosen)
    assert total(costs, within(errors, costs, bound)) == by_trying(costs, errors, bound)


@pytest.mark.parametrize("kind", ["smooth", "steps"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_it_comes_near_the_optimum_of_a_solver(kind: str, share: float) -> None:
    errors, costs = networks(40, 30, kind, seed=3)
    budget = share * sum(table.max() for table in costs)
    chosen = cheapest(errors, costs, budget)
    assert total(costs, chosen) <= budget
    assert total(errors, chosen) <= 1.005 * by_solver(errors, costs, budget)


@pytest.mark.parametrize("bound", [0.05, 1.0, 6.0])
def test_least_costs_within_an_error_come_near_the_optimum_of_a_solver(bound: float) -> None:
    errors, costs = networks(40, 30, "smooth", seed=4)
    chosen = within(errors, costs, bound)
    assert total(errors, chosen) <= bound
    assert total(costs, chosen) <= 1.005 * by_solver(costs, errors, bound)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_used_up(share: float) -> None:
    errors, costs = networks(150, 60, "smooth", seed=5)
    budget = share * sum(table.max() for table in costs)
    assert 0.998 * budget <= total(costs, cheapest(errors, costs, budget)) <= budget


def test_one_large_layer_among_small_ones() -> None:
    """The steepest step does not fit: what is steepest per cost is not always best."""
    errors = [np.array([10.0, 0.0]), *(np.array([1.0, 0.0]) for _ in range(9))]
    costs = [np.array([0.0, 10.0]), *(np.array([0.0, 1.01]) for _ in range(9))]
    assert cheapest(errors, costs, 10.0) == [1, *[0] * 9]
    assert cheapest(errors, costs, 9.9) == [0, *[1] * 9]


def test_pareto_keeps_what_no_other_beats() -> None:
    errors = np.array([3.0, 2.0, 2.0, 5.0, 1.0, 0.0, np.nan])
    costs = np.array([1.0, 2.0, 3.0, 1.0, 5.0, np.inf, 1.0])
    assert pareto(errors, costs).tolist() == [0, 1, 4]


def test_all_that_fits_is_taken() -> None:
    errors, costs = networks(5, 4, "smooth", seed=6)
    assert total(errors, cheapest(errors, costs, np.inf)) == 0
    assert total(errors, cheapest(errors, costs, sum(table.max() for table in costs))) == 0
    assert cheapest([], [], 0.0) == []


def test_a_budget_out_of_reach_says_what_is_in_reach() -> None:
    errors, costs = [np.array([1.0, 0.0]), np.array([2.0, 0.5])], [np.array([30.0, 70.0]), np.array([12.0, 20.0])]
    assert cheapest(errors, costs, 42) == [0, 0]
    with pytest.raises(PassError, match="42"):
        cheapest(errors, costs, 41.9)
    with pytest.raises(PassError, match=r"0\.5 with the best"):
        within(errors, costs, 0.4)
    with pytest.raises(PassError):
        cheapest(errors, costs, float("nan"))


def test_tables_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="layer 1 has no candidate"):
        cheapest([np.zeros(1), np.array([np.nan])], [np.zeros(1), np.zeros(1)], 1)
    with pytest.raises(ValueError, match="layer 0 has errors of shape"):
        cheapest([np.zeros(2)], [np.zeros(1)], 1)
