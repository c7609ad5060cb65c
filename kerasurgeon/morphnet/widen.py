"""The largest uniform width multiplier that a budget allows, and a network of these widths."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.candidates import unit_steps
from kerasurgeon.channels.copies import Copies
from kerasurgeon.channels.cut import resize
from kerasurgeon.channels.grow import Growth, cannot_duplicate, cannot_grow, grow_units, shape_only
from kerasurgeon.costs import Allowance, cost, require_counted
from kerasurgeon.errors import OptionError, PlanError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.morphnet.filling import Numbers, filled
from kerasurgeon.morphnet.fresh import fresh_weights
from kerasurgeon.rules import Sizes

Array = np.ndarray[Any, Any]
Measure = Callable[[Graph], float]

LARGEST = 256.0
"""No multiplier above this is looked for."""

_STEPS = 24
_MULTIPLES = 100
"""Budgets up to this are multiples of what there is."""


def macs_of(graph: Graph, sizes: Sizes | None = None) -> float:
    """Multiply-accumulates of one sample."""
    return float(cost(graph, sizes=sizes).macs)


def params_of(graph: Graph) -> float:
    """Elements of all weights."""
    return float(cost(graph).parameters)


def layers_to_ignore(graph: Graph, patterns: Sequence[str]) -> list[str]:
    """The layers that make channels and that patterns of names mean.

    Raises:
        OptionError: There are patterns, and they name none.
    """
    if not patterns:
        return []
    sources = {source.layer for source in analyse(graph).sources.values()}
    found = [layer for layer in sources if any(names_match([layer], pattern) for pattern in patterns)]
    if not found:
        raise OptionError(
            "Expand: ignore= names no layer that makes channels.",
            got=repr(tuple(patterns)),
            hint=did_you_mean(patterns[0], sources),
        )
    return found


def budget_of(
    owner: str, graph: Graph, macs: float | None, params: float | None, sizes: Sizes | None, unreachable: str
) -> tuple[Measure, Allowance]:
    """What is measured, and what it may come to: as much as there is, where nothing else is said.

    Args:
        owner: What has the budget and starts messages.
        graph: The network as it is.
        macs: MACs that the result may have: up to 100 a multiple of what there is, above that a number.
        params: Parameters, likewise.
        sizes: Sizes of the inputs that MACs are counted for.
        unreachable: ``"refuse"`` or ``"nearest"``.

    Raises:
        BudgetError: Too many of the MACs are unknown.
    """
    if params is not None:
        return params_of, Allowance(owner, "params", params, params_of(graph), unreachable, _MULTIPLES)
    found = cost(graph, sizes=sizes)
    require_counted(owner, found)
    allowance = Allowance(owner, "macs", 1.0 if macs is None else macs, float(found.macs), unreachable, _MULTIPLES)
    return partial(macs_of, sizes=sizes), allowance


@dataclass(frozen=True)
class Cell:
    """Units that the same layers make, and no others: what a multiplier is applied to.

    Attributes:
        units: The units.
        each: Channels per unit, of the first of the layers.
        name: The first of the layers.
    """

    units: tuple[int, ...]
    each: int
    name: str


class Widths:
    """A network at any multiple of its widths.

    Args:
        graph: The network; it is only read.
        exact: Only widths that can be had without changing what the network computes: nothing that is normalised over
            grows, and nothing shrinks.
        ignore: Layers whose channels keep their number.
        round_to: Widths that change become multiples of this, where channels go one by one. ``"auto"``: of what pays at
            the width that they get (``channels.candidates.PAYS``), of less where a budget is not met otherwise.
        owner: What widens and starts messages.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        exact: bool,
        ignore: Collection[str] = (),
        round_to: int | str = 1,
        owner: str = "Expand",
    ) -> None:
        self.graph, self.exact, self.round_to, self.owner = graph, exact, round_to, owner
        self.channels: Channels = analyse(graph, frozen=tuple(ignore))
        self.refused = cannot_duplicate(self.channels) if exact else cannot_grow(self.channels)
        self.cells = self._cells()

    def numbers(self, width: float) -> Numbers:
        """How many units each cell has at a multiple of the widths."""
        return tuple(self._wanted(cell, width) for cell in self.cells)

    def copies(self, numbers: Numbers, rng: np.random.Generator) -> Array:
        """How often every unit is there when the cells have so many; 0 where it goes.

        Every unit is there as often as it goes into the number, and some, drawn at random, once more.
        """
        times = np.ones(self.channels.units, np.int64)
        for cell, wanted in zip(self.cells, numbers, strict=True):
            number = len(cell.units)
            if wanted == number:
                continue
            often, more = divmod(wanted, number)
            units = np.array(cell.units)
            times[units] = often
            if often:
                times[rng.permutation(units)[:more]] += 1
            else:
                times[units[:more]] = 1
        return times

    def form(self, numbers: Numbers) -> Graph:
        """The network when the cells have so many units, with weights that only have shapes: what it would cost."""
        times = self.copies(numbers, np.random.default_rng(0))
        trial = self.graph.copy()
        resize(trial, self.channels, Copies(self.channels, times), shape_only)
        return trial

    def largest(self, measure: Measure, allowance: Allowance) -> tuple[float, Numbers]:
        """The largest multiplier whose cost is within a budget, and how many units each cell has then.

        Where widths are rounded, some cells get a step more than the multiplier gives them, so that the budget is used.

        Raises:
            PlanError: No layer can be made wider.
            BudgetError: Nothing that can be had is within the budget, and the nearest will not do.
        """
        if not self.cells:
            raise PlanError(
                "No layer of the network can be made wider.",
                got="; ".join(sorted(set(self.refused.values()))[:4]) or "no layer makes channels",
            )
        low, high = (1.0, 2.0) if self.exact else (0.0, 1.0)
        exact = "shrink the network first, or take weights='fresh', which makes it narrower, too"
        why = exact if self.exact else "every layer has one channel then"
        budget = allowance.reachable(measure(self.form(self.numbers(low))), why)
        while high <= LARGEST and measure(self.form(self.numbers(high))) <= budget:
            low, high = high, high * 2
        for _ in range(_STEPS if high <= LARGEST else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if measure(self.form(self.numbers(middle))) <= budget else (low, middle)
            if high - low < 1e-5 * high:
                break
        numbers = self.numbers(low)
        return low, numbers if self.round_to == 1 else self._filled(low, numbers, measure, budget)

    def allowed(
        self,
        *,
        macs: float | None = None,
        params: float | None = None,
        width: float | None = None,
        sizes: Sizes | None = None,
        unreachable: str = "refuse",
    ) -> tuple[Numbers, str, str]:
        """How many units each cell may have, what the report says of it, and by how much a budget was missed, if so.

        Args:
            macs: MACs that the network may have: up to 100 a multiple of what there is, above that a number.
            params: Parameters, likewise.
            width: The multiplier itself.
            sizes: Sizes of the inputs that MACs are counted for.
            unreachable: ``"refuse"`` or ``"nearest"``.

        Raises:
            PlanError: No layer can be made wider.
            BudgetError: The budget is below what can be reached, or too many of the MACs are unknown.
        """
        if width is not None:
            return self.numbers(width), f"widths times {width:g}", ""
        measure, allowance = budget_of(self.owner, self.graph, macs, params, sizes, unreachable)
        width, numbers = self.largest(measure, allowance)
        reached = measure(self.form(numbers))
        balanced = "" if numbers == self.numbers(width) else ", some a step more"
        said = f"widths times {width:.4g}{balanced}: {reached:,.0f} {allowance.option} of {allowance.amount:,.0f}"
        return numbers, f"{said} that are allowed", allowance.missed(reached)

    def left(self, growth: Growth) -> dict[str, str]:
        """Why layers keep channels as they are, by the nodes that make them."""
        channels = self.channels
        reasons = {
            channels.sources[cell.name].node: growth.left[unit]
            for cell in self.cells
            for unit in cell.units
            if unit in growth.left
        }
        for source in channels.sources.values():
            unit = int(channels.unit[source.ids.ravel()[0]])
            if unit in self.refused:
                reasons[source.node] = self.refused[unit]
        return reasons

    def apply(self, numbers: Numbers, rng: np.random.Generator, *, uneven: float = 0.0) -> tuple[Graph, Growth]:
        """The network when the cells have so many units, with weights: those it has, duplicated, or else new ones."""
        times = self.copies(numbers, rng)
        result = self.graph.copy()
        if self.exact:
            return result, grow_units(result, self.channels, times, rng=rng, uneven=uneven)
        keep = Copies(self.channels, times)
        resize(result, self.channels, keep, shape_only)
        fresh_weights(result)
        growth = Growth(times)
        for name, source in self.channels.sources.items():
            before, after = source.ids.size, len(keep.layout(source.ids)[1])
            if before != after:
                growth.widths[name] = before, after
        return result, growth

    def _wanted(self, cell: Cell, width: float) -> int:
        number = len(cell.units)
        wanted = max(1, round(width * number))
        step = self._steps(cell, wanted)[0]
        if step > 1 and wanted != number:
            wanted = max(step, round(width * number / step) * step)
            wanted = max(wanted, number) if width > 1 else min(wanted, number)
        return max(wanted, number) if self.exact else wanted

    def _steps(self, cell: Cell, number: int) -> list[int]:
        """By how many units a cell may grow that comes to some number: the coarsest first."""
        return unit_steps(self.round_to, number * cell.each, cell.each)

    def _filled(self, width: float, numbers: Numbers, measure: Measure, budget: float) -> Numbers:
        """What the multiplier leaves of a budget is shared out: who is most below its exact share comes first."""
        shares = [number / len(cell.units) - width for cell, number in zip(self.cells, numbers, strict=True)]
        order = sorted(range(len(numbers)), key=lambda place: (round(shares[place], 9), place))
        steps = [self._steps(cell, number + 1) for cell, number in zip(self.cells, numbers, strict=True)]

        def above(place: int, finer: int) -> range:
            """Up to the next number that pays, in steps that may be finer."""
            number, coarsest, step = numbers[place], steps[place][0], steps[place][finer]
            return range((number // step + 1) * step, (number // coarsest + 1) * coarsest + 1, step)

        def cost_of(trial: Numbers) -> float:
            try:
                return measure(self.form(trial))
            except PlanError:  # a number that a layer may not have
                return inf

        rounds = (
            [(place, above(place, finer)) for place in order if finer < len(steps[place])]
            for finer in range(max(map(len, steps)))
        )
        return filled(numbers, rounds, cost_of, budget)

    def _cells(self) -> tuple[Cell, ...]:
        channels = self.channels
        makers: list[list[int]] = [[] for _ in range(channels.units)]
        sources = list(channels.sources.values())
        each: dict[tuple[int, int], int] = {}
        for place, source in enumerate(sources):
            units, counts = np.unique(channels.unit[source.ids.ravel()], return_counts=True)
            for unit, count in zip(units.tolist(), counts.tolist(), strict=True):
                makers[unit].append(place)
                each[place, unit] = count
        found: dict[tuple[int, ...], list[int]] = {}
        for unit, several in enumerate(makers):
            if several and unit not in self.refused:
                found.setdefault(tuple(several), []).append(unit)
        return tuple(
            Cell(tuple(units), each[several[0], units[0]], sources[several[0]].name) for several, units in found.items()
        )
