"""How many axes of each stream stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.channels import Budget, Channels, rounding, unit_steps
from kerasurgeon.channels.avoided import check_numbers
from kerasurgeon.costs import Allowance, check_unreachable
from kerasurgeon.errors import OptionError, PlanError
from kerasurgeon.rewrite.option_checks import (
    check_budget,
    check_choice,
    check_count,
    check_patterns,
    is_number,
    wrong_option,
)

Array = np.ndarray[Any, Any]

TARGETS = ("ratio", "width", "macs", "params", "bytes")
COMPENSATIONS = ("auto", "least_squares", "none")


@dataclass(frozen=True)
class SliceOptions:
    """What ``SliceStream`` was asked for, checked: its options, under the name that messages begin with.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one target is given.
    """

    name: str
    ratio: float | None
    width: int | None
    macs: float | None
    params: float | None
    bytes: float | None
    ignore: str | tuple[str, ...]
    round_to: int | str
    compensate: str
    unreachable: str

    def __post_init__(self) -> None:
        given = [target for target in TARGETS if getattr(self, target) is not None]
        if len(given) != 1:
            raise OptionError(
                f"{self.name} needs one target.",
                expected=f"one of {', '.join(TARGETS)}",
                got=" and ".join(f"{target}={getattr(self, target)!r}" for target in given) or "none",
            )
        if self.ratio is not None and (not is_number(self.ratio) or not 0 <= self.ratio < 1):
            raise wrong_option(self.name, "ratio", self.ratio, "a number from 0 and below 1")
        if self.width is not None:
            check_count(self.name, "width", self.width)
        if given[0] in TARGETS[2:]:
            check_budget(self.name, given[0], getattr(self, given[0]))
        object.__setattr__(self, "ignore", check_patterns(self.name, "ignore", self.ignore))
        rounding(self.name, self.round_to)
        check_choice(self.name, "compensate", self.compensate, COMPENSATIONS)
        check_unreachable(self.name, self.unreachable)

    @property
    def target(self) -> str:
        """The option that says how much goes."""
        return next(target for target in TARGETS if getattr(self, target) is not None)


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one stream in the analysis of a graph in which it was turned.

    Attributes:
        ids: ``(width,)``, by axis; what is between norms and tied weights has units of its own, in further rows.
    """

    ids: Array

    @property
    def width(self) -> int:
        """How many axes there are."""
        return int(self.ids.shape[1])


class Widths:
    """Chooses how many axes stay.

    Args:
        channels: The analysis of the graph in which all streams are turned.
        streams: The units of the streams.
        options: What is asked for.
        total: What there was, of what the target counts.
        sizes: Sizes of the inputs that MACs are counted for.
    """

    def __init__(
        self, channels: Channels, streams: Sequence[Units], options: SliceOptions, total: float, sizes: Any
    ) -> None:
        self.channels, self.streams, self.options, self.total = channels, streams, options, total
        self.budget = Budget(channels, sizes) if options.target in TARGETS[2:] else None

    def gone(self, widths: Sequence[int]) -> Array:
        """For every unit whether it goes."""
        gone = np.zeros(self.channels.units, bool)
        for stream, kept in zip(self.streams, widths, strict=True):
            gone[stream.ids[:, kept:].ravel()] = True
        return gone

    def chosen(self) -> tuple[list[int], str]:
        """How many axes of each stream stay, and a line on the target and what was reached.

        Raises:
            BudgetError: The target cannot be reached, and the nearest will not do.
            PlanError: Some layer may not have this number of channels.
        """
        options = self.options
        if options.width is not None:
            widths = [min(options.width, stream.width) for stream in self.streams]
            check_numbers(self.channels, self.channels.keep(self.gone(widths)))
            return widths, f"target: width {options.width}"
        if options.ratio is not None:
            widths = [self._nearest(place, (1 - options.ratio) * one.width) for place, one in enumerate(self.streams)]
            whole = sum(one.width for one in self.streams)
            share = 1 - sum(widths) / whole
            return widths, f"target: {options.ratio:.1%} of the channels removed; reached: {share:.1%}"
        return self._to_budget()

    def _levels(self, place: int, step: int) -> list[int]:
        """Ascending numbers of axes that may stay; all of them is the last."""
        width = self.streams[place].width
        found = []
        for kept in range(step, width, step):
            widths = [one.width for one in self.streams]
            widths[place] = kept
            try:
                check_numbers(self.channels, self.channels.keep(self.gone(widths)))
            except PlanError:
                continue
            found.append(kept)
        return [*found, width]

    def _steps(self, place: int) -> list[int]:
        """Multiples that the kept width may be of, the coarsest first."""
        options = self.options
        return unit_steps(rounding(options.name, options.round_to), self.streams[place].width, 1)

    def _nearest(self, place: int, number: float) -> int:
        levels = self._levels(place, self._steps(place)[0] if number < self.streams[place].width else 1)
        return min(levels, key=lambda kept: (abs(kept - number), -kept))

    def _to_budget(self) -> tuple[list[int], str]:
        options, target = self.options, self.options.target
        allowance = Allowance(options.name, target, float(getattr(options, target)), self.total, options.unreachable)
        steps = [self._steps(place) for place in range(len(self.streams))]
        for finer in range(max(map(len, steps))):
            levels = [self._levels(place, each[min(finer, len(each) - 1)]) for place, each in enumerate(steps)]
            least = self._cost([one[0] for one in levels])
            if not allowance.misses(least):
                break
        wanted = allowance.reachable(least)
        shares = sorted({kept / one[-1] for one in levels for kept in one})
        low, high = 0, len(shares)
        while high - low > 1:  # the widest that is within the budget; the narrowest is, or is the nearest
            middle = (low + high) // 2
            low, high = (low, middle) if self._cost(_at(levels, shares[middle])) > wanted else (middle, high)
        widths = _at(levels, shares[low])
        reached = self._cost(widths)
        said = f"target: {target} {wanted:,.0f}; reached: {reached:,.0f}, {reached / (self.total or 1.0):.1%} kept"
        missed = allowance.missed(reached)
        return widths, f"{said}; {missed}" if missed else said

    def _cost(self, widths: Sequence[int]) -> float:
        assert self.budget is not None
        return self.budget.of(self.options.target, self.gone(widths))


def _at(levels: Sequence[Sequence[int]], share: float) -> list[int]:
    """Of each stream the widest level that is no larger share of it."""
    return [max([kept for kept in one if kept <= share * one[-1] + 1e-9] or [one[0]]) for one in levels]
