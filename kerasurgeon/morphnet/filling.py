"""Share out what a uniform multiplier leaves of a budget: some widths one step up, the paying ones first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

NEAR = 0.99
"""The share of a budget that is enough."""

Numbers = tuple[int, ...]


def filled(
    numbers: Numbers,
    steps: Iterable[Iterable[tuple[int, Sequence[int]]]],
    cost_of: Callable[[Numbers], float],
    budget: float,
) -> Numbers:
    """Numbers of which some are raised, one after the other, until the budget is used but for one percent.

    Each is raised as far as the budget allows, and what would exceed it stays as it is.

    Args:
        numbers: What there is; it is within the budget.
        steps: In the order to take them: places, each with the numbers that it may have instead, ascending. After the
            first round come further ones, of finer numbers.
        cost_of: The cost of numbers; it does not fall when they rise.
        budget: What they may cost.
    """
    cost = cost_of(numbers)
    for several in steps:
        for place, allowed in several:
            if cost >= NEAR * budget:
                return numbers
            higher = [number for number in allowed if number > numbers[place]]
            fitting = 0
            while fitting < len(higher):
                middle = (fitting + len(higher) + 1) // 2
                trial = (*numbers[:place], higher[middle - 1], *numbers[place + 1 :])
                reached = cost_of(trial)
                if reached > budget:
                    del higher[middle - 1 :]
                else:
                    fitting, best, cost = middle, trial, reached
            if fitting:
                numbers = best
    return numbers


__all__ = ["filled"]
