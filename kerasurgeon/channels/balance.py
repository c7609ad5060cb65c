"""Share out what rounding leaves: a share of every group, in whole units and widths that pay, that adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kerasurgeon.channels.candidates import Candidate

_DIGITS = 9


def balanced(candidates: Sequence[Candidate], wanted: Mapping[int, float]) -> dict[int, int]:
    """How many units of each group go: one of the two levels next to what is wanted of it, so that the sum is right.

    First the nearer one. What is then taken too much or too little in all is made up for by the groups whose other
    level is the least further off, as a share of the group; of equals, by the first.

    Args:
        candidates: What may go.
        wanted: How many units should go, not rounded, by place among the candidates.
    """
    counts = {place: candidates[place].nearest(number) for place, number in wanted.items()}
    off = sum(candidates[place].group.granularity * (counts[place] - number) for place, number in wanted.items())
    for place, other in _others(candidates, wanted, counts):
        change = candidates[place].group.granularity * (other - counts[place])
        if round(abs(off + change), _DIGITS) < round(abs(off), _DIGITS):
            counts[place], off = other, off + change
    return counts


def roundest(candidates: Sequence[Candidate], wanted: Mapping[int, float]) -> int | None:
    """The group of which rounding takes most channels too much or too little, of those that have finer levels."""
    found, most = None, 10**-_DIGITS
    for place, number in wanted.items():
        candidate = candidates[place]
        error = candidate.group.granularity * abs(candidate.nearest(number) - number)
        if candidate.finer and error > most:
            found, most = place, error
    return found


def held_back(candidates: Sequence[Candidate], wanted: Mapping[int, float]) -> float:
    """How many channels of what is wanted may not go, however fine widths are."""
    return sum(
        candidates[place].group.granularity * max(number - candidates[place].most, 0.0)
        for place, number in wanted.items()
    )


def _others(
    candidates: Sequence[Candidate], wanted: Mapping[int, float], counts: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """The level on the other side of what is wanted, for each group that has one, in the order to take them."""
    found = []
    for place, number in wanted.items():
        levels, count = candidates[place].levels, counts[place]
        step = int(np.sign(round(number - count, _DIGITS)))
        at = int(np.searchsorted(levels, count)) + step
        if step and 0 <= at < len(levels):
            other = int(levels[at])
            found.append((round(abs(other - number) / candidates[place].size, _DIGITS), place, other))
    for _, place, other in sorted(found):
        yield place, other


__all__ = ["balanced", "held_back", "roundest"]
