"""The best set of regions to leave out for a budget.

Regions are nested or apart. Of each either itself goes, with the least loss of what was tried in its place, or some of
those inside it, or nothing: a knapsack over a tree. It is solved exactly, from the leaves up: of every subtree the sets
are kept that lose less than all others which save as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, final

from kerasurgeon.blocks.pareto import Choice, both, worth_keeping
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.costs import UNITS, Allowance, LeftOut, check_unreachable, require_counted
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import check_budget


class Measured(Protocol):
    """What is chosen from: ``Quotients``."""

    @property
    def rows(self) -> Sequence[Quotient]:
        """One for each region and method."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole model."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""

    @property
    def latency(self) -> float | None:
        """Its latency, where it was measured."""

    @property
    def left_out(self) -> LeftOut:
        """The calls whose multiply-accumulates cannot be told."""


@final
class Chosen(tuple[str, ...]):
    """Names of regions, as passes take them, with what choosing them means.

    Attributes:
        rows: The quotients that were chosen, in the order of the network.
        loss: The sum of their quotients, negative ones as 0: what leaving all of them out is expected to lose, if
            losses add up.
        measure: What the budget is of: ``"macs"``, ``"params"`` or ``"latency"``.
        kept: What is left of it, as a share of the whole.
        notes: By how much the budget was missed, and what it does not count; empty if there is nothing to say.
    """

    rows: tuple[Quotient, ...]
    loss: float
    measure: str
    kept: float
    notes: tuple[str, ...]

    def __new__(
        cls, names: Sequence[str], rows: Sequence[Quotient], measure: str, kept: float, notes: Sequence[str] = ()
    ) -> Self:
        """See the class; the loss is summed up here."""
        made = super().__new__(cls, names)
        made.rows, made.measure, made.kept, made.notes = tuple(rows), measure, kept, tuple(notes)
        made.loss = sum(max(row.quotient, 0.0) for row in rows)
        return made

    def summary(self) -> str:
        """One line: how many, what is left, what is expected to be lost, and what else is to be known."""
        count = f"{len(self.rows)} region{'s' * (len(self.rows) != 1)}"
        said = f"{count}: {self.kept:.1%} of the {UNITS[self.measure]} kept, summed quotients {self.loss:.4f}"
        return "; ".join([said, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "regions": list(self),
            "methods": {row.region: row.method for row in self.rows},
            "measure": self.measure,
            "kept": self.kept,
            "loss": self.loss,
            "notes": list(self.notes),
        }


def choose_regions(
    quotients: Measured,
    *,
    macs: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    join: bool = False,
    unreachable: str = "refuse",
) -> Chosen:
    """The set of regions with the least summed quotient that brings a cost down to a budget.

    No two of them overlap. That losses add up is an assumption: evaluate the result. Negative quotients count as 0, so
    that nothing is left out which the budget does not need; of equal sets one of the fewest regions is taken.

    Args:
        quotients: What ``knowledge_quotients`` measured.
        macs: Multiply-accumulates to keep: a fraction up to 1, or a number above 1. One of the three is given. See
            docs/budgets.md.
        params: Parameters to keep, likewise.
        latency: Latency to keep, likewise: a fraction, or above 1 in the unit of ``latency_of``.
        join: Give regions that follow one another as one, ``"entry->exit"``, as one shunt in place of all needs it.
        unreachable: What becomes of a budget that cannot be reached: ``"refuse"``, or ``"nearest"``: the set that comes
            nearest, with a note of by how much the budget was missed.

    Returns:
        Names of regions, for ``DropBlock`` and ``ReplaceWithShunt``, with what they save and lose.

    Raises:
        OptionError: Not exactly one budget is given, or it is no such number.
        BudgetError: It cannot be reached (the message says what can), or too many of the MACs are unknown.
    """
    given = {
        name: value for name, value in (("macs", macs), ("params", params), ("latency", latency)) if value is not None
    }
    if len(given) != 1:
        raise OptionError(
            "choose_regions needs one budget.", expected="macs=, params= or latency=", got=", ".join(given) or "none"
        )
    ((measure, target),) = given.items()
    total, saving = _measure(quotients, measure)
    check_budget("choose_regions", measure, target)
    check_unreachable("choose_regions", unreachable)
    left = require_counted("choose_regions", quotients.left_out) if measure == "macs" else LeftOut()
    allowance = Allowance("choose_regions", measure, float(target), total, unreachable)
    trees = trees_of(quotients.rows)
    least = total - sum(_most(tree, saving) for tree in trees)
    why = "measure quotients of larger regions too: which=, or a smaller min_nodes="
    need = (total - allowance.reachable(least, why)) * (1 - 1e-9)  # not to fail by rounding
    sets = [Choice()]
    for tree in trees:
        sets = both(sets, _options(tree, saving, need), need)
    best = min((one for one in sets if one.saved >= need), key=lambda one: (one.loss, one.count, one.saved))
    taken = set(map(id, best.items()))
    rows = [row for row in quotients.rows if id(row) in taken]
    reached = total - sum(saving(row) for row in rows)
    notes = [note for note in (allowance.missed(reached), left.said) if note]
    names = _joined(rows) if join else [row.region for row in rows]
    return Chosen(names, rows, measure, reached / total, notes)


@dataclass(slots=True)
class Tree:
    """A region's rows, and the trees of the regions inside it."""

    nodes: frozenset[str]
    rows: list[Quotient]
    inside: list[Tree]


def _measure(quotients: Measured, measure: str) -> tuple[float, Callable[[Quotient], float]]:
    """The whole of a cost, and what a row saves of it."""
    if measure == "macs":
        return quotients.macs, lambda row: row.macs_saved
    if measure == "params":
        return quotients.parameters, lambda row: row.parameters_saved
    if quotients.latency is None:
        raise OptionError(
            "The latency of these regions was not measured.", hint="pass latency_of=function to knowledge_quotients"
        )
    return quotients.latency, lambda row: row.latency_saved or 0.0


def trees_of(rows: Sequence[Quotient]) -> list[Tree]:
    """The regions as trees, by what nodes they hold."""
    by_nodes: dict[frozenset[str], Tree] = {}
    for row in rows:
        nodes = frozenset(row.nodes)
        by_nodes.setdefault(nodes, Tree(nodes, [], [])).rows.append(row)
    tops: list[Tree] = []
    placed: list[Tree] = []
    for tree in sorted(by_nodes.values(), key=lambda tree: -len(tree.nodes)):
        around = [other for other in placed if other.nodes & tree.nodes]
        for other in around:
            if not tree.nodes <= other.nodes:
                raise OptionError(
                    f"The regions {other.rows[0].region!r} and {tree.rows[0].region!r} overlap.",
                    expected="regions that are nested or apart",
                    hint="measure the quotients of either, not of both",
                )
        (min(around, key=lambda other: len(other.nodes)).inside if around else tops).append(tree)
        placed.append(tree)
    return tops


def _most(tree: Tree, saving: Callable[[Quotient], float]) -> float:
    """The most that can be saved of a region."""
    return max(0.0, *(saving(row) for row in tree.rows), sum(_most(child, saving) for child in tree.inside))


def _options(tree: Tree, saving: Callable[[Quotient], float], need: float) -> list[Choice]:
    """The sets inside a region that are worth keeping, the empty one among them."""
    sets = [Choice()]
    for child in tree.inside:
        sets = both(sets, _options(child, saving, need), need)
    own = [Choice(saving(row), max(row.quotient, 0.0), 1, (row,)) for row in tree.rows if saving(row) > 0]
    return worth_keeping([*sets, *own], need)


def _joined(rows: Sequence[Quotient]) -> list[str]:
    """Names, with those of regions that follow one another as one."""
    groups: list[list[Quotient]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if last is not None and last.run[0] == row.run[0] and last.run[1] + 1 == row.run[1]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [group[0].region if len(group) == 1 else f"{group[0].entry}->{group[-1].exit}" for group in groups]


__all__ = ["Chosen", "Tree", "choose_regions", "trees_of"]
