"""One candidate for every layer, so that a sum stays within a bound and another is least.

A multiple-choice knapsack (Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11), in three steps.
Its linear relaxation, solved by sorting the slopes of the tables' convex hulls, gives a first choice and a bound on the
best one: candidates that the bound rules out are dropped. Dynamic programming over the costs, in bins, decides among
the rest. What that leaves of the budget is spent on single changes, with exact costs throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kerasurgeon.errors import PassError

Array = np.ndarray[Any, Any]

_WORK = 10**8
_FEWEST_BINS, _MOST_BINS = 2000, 100_000
_CLOSE = 1e-6


def pareto(errors: Array, costs: Array) -> Array:
    """The candidates that no other beats.

    Args:
        errors: One number per candidate.
        costs: Likewise.

    Returns:
        Indices by ascending cost and strictly descending error. Candidates whose error or cost is infinite or NaN are
        left out.
    """
    errors, costs = np.asarray(errors, np.float64), np.asarray(costs, np.float64)
    usable = np.flatnonzero(np.isfinite(errors) & np.isfinite(costs))
    order = usable[np.lexsort((errors[usable], costs[usable]))]
    least = np.minimum.accumulate(errors[order])
    return np.asarray(order[np.concatenate([[True], errors[order][1:] < least[:-1]])[: len(order)]])


def cheapest(errors: Sequence[Array], costs: Sequence[Array], budget: float) -> list[int]:
    """Of every layer a candidate, so that the costs sum to at most a budget and the errors to the least.

    Args:
        errors: Of every layer one number per candidate; leaving the layer as it is counts as one, with an error of 0.
        costs: Likewise.
        budget: What the costs may sum to.

    Returns:
        Of every layer the index of its candidate. The summed error is at most a fraction of a percent above the least.

    Raises:
        PassError: Even the cheapest candidates cost more.
        ValueError: A layer has no candidate with a finite error and cost, or errors and costs differ in number.
    """
    chosen, least = _choice(errors, costs, budget)
    if chosen is None:
        raise PassError(
            "The budget cannot be reached.",
            expected=f"{budget:g}",
            got=f"{least:g} with the cheapest candidate of every layer",
            hint="allow lower ranks or more layers, or ask for less",
        )
    return chosen


def within(errors: Sequence[Array], costs: Sequence[Array], error: float) -> list[int]:
    """Of every layer a candidate, so that the errors sum to at most a bound and the costs to the least.

    Args:
        errors: As for ``cheapest``.
        costs: Likewise.
        error: What the errors may sum to.

    Returns:
        Of every layer the index of its candidate.

    Raises:
        PassError: Even the best candidates have a larger error.
        ValueError: As for ``cheapest``.
    """
    chosen, least = _choice(costs, errors, error)
    if chosen is None:
        raise PassError(
            "The error bound cannot be kept.",
            expected=f"{error:g}",
            got=f"{least:g} with the best candidate of every layer",
            hint="allow higher ranks, or a larger error",
        )
    return chosen


def _choice(errors: Sequence[Array], costs: Sequence[Array], budget: float) -> tuple[list[int] | None, float]:
    """The choice, ``None`` where there is none; and the least that the costs can sum to."""
    tables = [_Table(*pair, place) for place, pair in enumerate(zip(errors, costs, strict=True))]
    least = float(sum(table.base for table in tables))
    # A budget that was summed in another order may be off by rounding.
    room = budget - least
    if not room >= -1e-12 * max(abs(budget), abs(least)):
        return None, least
    room = min(max(room, 0.0), float(sum(table.costs[-1] for table in tables)))
    first, slope = _relaxed(tables, room)
    chosen = _improved(tables, _binned(tables, first, slope, room), room)
    return [int(table.original[index]) for table, index in zip(tables, chosen, strict=True)], least


class _Table:
    """The candidates of one layer that no other beats, by ascending cost; costs are what they are above the least."""

    def __init__(self, errors: Array, costs: Array, place: int) -> None:
        errors, costs = np.asarray(errors, np.float64), np.asarray(costs, np.float64)
        if errors.shape != costs.shape or errors.ndim != 1:
            raise ValueError(f"layer {place} has errors of shape {errors.shape} and costs of shape {costs.shape}")
        self.original = pareto(errors, costs)
        if not len(self.original):
            raise ValueError(f"layer {place} has no candidate with a finite error and cost")
        self.base = float(costs[self.original[0]])
        self.errors, self.costs = errors[self.original], costs[self.original] - self.base

    def hull(self) -> list[int]:
        """The lower convex hull of error over cost."""
        found: list[int] = []
        for index in range(len(self.costs)):
            while len(found) > 1 and self.slope(found[-2], found[-1]) >= self.slope(found[-2], index):
                found.pop()
            found.append(index)
        return found

    def slope(self, one: int, other: int) -> float:
        """By how much the error changes from one candidate to another, per cost."""
        return float((self.errors[other] - self.errors[one]) / (self.costs[other] - self.costs[one]))


def _relaxed(tables: list[_Table], room: float) -> tuple[list[int], float]:
    """Steps along the hulls, the steepest first, while they fit; and the slope at which the first did not."""
    steps = sorted(_steps(tables))
    chosen, blocked, critical = [0] * len(tables), set[int](), 0.0
    for slope, place, index in steps:
        if place in blocked:
            continue
        table = tables[place]
        cost = table.costs[index] - table.costs[chosen[place]]
        if cost > room:
            critical = critical or -slope
            blocked.add(place)  # what comes later on its hull costs more
            continue
        room -= cost
        chosen[place] = index
    return chosen, critical


def _steps(tables: list[_Table]) -> Iterator[tuple[float, int, int]]:
    for place, table in enumerate(tables):
        hull = table.hull()
        yield from ((table.slope(one, other), place, other) for one, other in pairwise(hull))


def _binned(tables: list[_Table], first: list[int], slope: float, room: float) -> list[int]:
    """The best choice by dynamic programming among the candidates that may be better than a first one."""
    priced = [table.errors + slope * table.costs for table in tables]
    bound = sum(float(row.min()) for row in priced) - slope * room
    reached = sum(float(table.errors[index]) for table, index in zip(tables, first, strict=True))
    gap = reached - bound
    if gap <= _CLOSE * reached:
        return first
    # By Lagrangian duality, a choice with this candidate is worse than the bound by at least what it is worse here.
    open_, chosen = {}, list(first)
    for place, row in enumerate(priced):
        left = np.flatnonzero((row - row.min() <= gap) & (tables[place].costs <= room))
        open_[place] = left if first[place] in left else np.sort(np.append(left, first[place]))
    for place in [place for place, left in open_.items() if len(left) == 1]:
        chosen[place] = int(open_.pop(place)[0])
        room -= float(tables[place].costs[chosen[place]])
    found = _programme([(tables[place].errors[left], tables[place].costs[left]) for place, left in open_.items()], room)
    if found is not None:
        for (place, left), index in zip(open_.items(), found, strict=True):
            chosen[place] = int(left[index])
    better = sum(float(table.errors[index]) for table, index in zip(tables, chosen, strict=True)) < reached
    return chosen if better else first


def _programme(rows: list[tuple[Array, Array]], room: float) -> list[int] | None:
    """Dynamic programming. Costs go into the nearest bin; in the end what each bin holds is priced exactly.

    Rounding all costs up would waste half a bin per layer. Rounded to the nearest, some of the last bins turn out to
    hold what is too dear.
    """
    if not rows or room <= 0:
        return None
    bins = int(np.clip(_WORK // sum(len(row) for row, _ in rows), _FEWEST_BINS, _MOST_BINS))
    size = bins + 4 * len(rows)  # what lies behind the last bin may be affordable by exact costs
    width = room / bins
    best = np.full(size, np.inf)
    best[0] = 0.0
    picks = np.zeros((len(rows), size), np.min_scalar_type(max(len(row) for row, _ in rows)))
    moved = []
    for place, (errors, costs) in enumerate(rows):
        shifts = np.rint(costs / width).astype(int)
        moved.append(shifts)
        after = np.full(size, np.inf)
        for index, (error, shift) in enumerate(zip(errors.tolist(), shifts.tolist(), strict=True)):
            if shift >= size:
                continue
            tried = best[: size - shift] + error
            target = after[shift:]
            lower = tried < target
            np.copyto(target, tried, where=lower)
            picks[place, shift:][lower] = index
        best = after
    ends = np.flatnonzero(np.isfinite(best))
    where, total = ends.copy(), np.zeros(len(ends))
    paths = np.zeros((len(rows), len(ends)), picks.dtype)
    for place in reversed(range(len(rows))):
        paths[place] = picks[place, where]
        total += rows[place][1][paths[place]]
        where -= moved[place][paths[place]]
    fits = np.flatnonzero(total <= room)
    if not len(fits):
        return None
    return [int(index) for index in paths[:, fits[best[ends[fits]].argmin()]]]


def _improved(tables: list[_Table], chosen: list[int], room: float) -> list[int]:
    """Single changes, the largest gain first, while one fits into what is left."""
    chosen = list(chosen)
    owner = np.repeat(np.arange(len(tables)), [len(table.costs) for table in tables])
    starts = np.concatenate([[0], np.cumsum([len(table.costs) for table in tables])]).astype(int)
    errors = np.concatenate([table.errors for table in tables]) if tables else np.zeros(0)
    costs = np.concatenate([table.costs for table in tables]) if tables else np.zeros(0)
    while tables:
        at = starts[:-1] + chosen
        left = room - costs[at].sum()
        gains = np.where(costs - costs[at][owner] <= left, errors[at][owner] - errors, 0.0)
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        chosen[owner[best]] = best - int(starts[owner[best]])
    return chosen


__all__ = ["cheapest", "pareto", "within"]
