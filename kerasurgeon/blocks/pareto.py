"""Sets of things of which each saves something and loses something: those of which no other is better in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MOST = 20_000
"""Sets that are kept. Beyond it those that save nearly the same are one: within 1/20,000 of what is needed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Some things that may go together.

    Attributes:
        saved: What they save.
        loss: What they lose.
        count: How many they are.
        parts: A thing, or two choices.
    """

    saved: float = 0.0
    loss: float = 0.0
    count: int = 0
    parts: tuple[Any, ...] = ()

    def items(self) -> list[Any]:
        """The things, in no order."""
        found, waiting = list[Any](), [self]
        while waiting:
            for part in waiting.pop().parts:
                if isinstance(part, Choice):
                    waiting.append(part)
                else:
                    found.append(part)
        return found


def both(some: list[Choice], others: list[Choice], need: float) -> list[Choice]:
    """Every choice of the one kind with every choice of the other, as far as they are worth keeping."""
    found = [
        one
        if not other.count
        else other
        if not one.count
        else Choice(one.saved + other.saved, one.loss + other.loss, one.count + other.count, (one, other))
        for one in some
        for other in others
    ]
    return worth_keeping(found, need)


def worth_keeping(choices: list[Choice], need: float) -> list[Choice]:
    """Those of which no other saves as much, or what is needed, for less loss."""
    enough = [one for one in choices if one.saved >= need]
    short = [one for one in choices if one.saved < need]
    kept = [min(enough, key=lambda one: (one.loss, one.count, one.saved))] if enough else []
    limit = (kept[0].loss, kept[0].count) if kept else (float("inf"), 0)
    result: list[Choice] = []
    for one in sorted(short, key=lambda one: (-one.saved, one.loss, one.count)):
        if (one.loss, one.count) < limit:
            result.append(one)
            limit = (one.loss, one.count)
    if len(result) > _MOST:
        bins: dict[int, Choice] = {}
        for one in result:  # the later, the less loss
            bins[int(_MOST * one.saved / need)] = one
        result = [result[0], *(one for one in bins.values() if one is not result[0])]  # the most is never left out
    return [*kept, *result]


__all__ = ["Choice", "both", "worth_keeping"]
