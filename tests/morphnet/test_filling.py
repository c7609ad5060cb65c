"""What a uniform multiplier leaves of a budget is shared out: in order, as far as it goes, and no further."""

from __future__ import annotations

from kerasurgeon.morphnet.filling import filled

Rounds = list[list[tuple[int, list[int]]]]


def cost(numbers: tuple[int, ...]) -> float:
    """By hand: ten for each of the first, one for each of the others."""
    return 10.0 * numbers[0] + sum(numbers[1:])


def test_in_order_and_what_does_not_fit_is_passed_over() -> None:
    rounds: Rounds = [[(0, [8]), (2, [8]), (1, [8])]]
    assert filled((4, 4, 4), rounds, cost, 70.0) == (4, 8, 8)
    assert filled((4, 4, 4), rounds, cost, 52.0) == (4, 4, 8)
    assert filled((4, 4, 4), rounds, cost, 88.0) == (8, 4, 4)


def test_finer_numbers_come_after_and_as_many_as_fit() -> None:
    rounds: Rounds = [[(0, [8]), (1, [8])], [(0, [5, 6, 7, 8])]]
    assert filled((4, 4), rounds, cost, 79.0) == (7, 8)
    assert filled((4, 4), rounds, cost, 67.9) == (5, 8)
    assert filled((4, 4), rounds, cost, 48.2) == (4, 8)  # near enough: 99 %


def test_what_is_used_already_stays() -> None:
    def never(numbers: tuple[int, ...]) -> float:
        assert numbers == (4, 4)
        return 44.0

    for budget in (44.0, 44.4, 30.0):
        assert filled((4, 4), [[(0, [8]), (1, [8])]], never, budget) == (4, 4)
