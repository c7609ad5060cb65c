"""Which regions give way to shunts for a budget: what is put in counts, not only what is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kerasurgeon.blocks.bridges import build_shunt
from kerasurgeon.blocks.choose import Tree, trees_of
from kerasurgeon.blocks.options import architecture_of, architectures
from kerasurgeon.blocks.pareto import Choice, both, worth_keeping
from kerasurgeon.blocks.places import find_region
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.costs import UNITS, Allowance, cost, require_counted
from kerasurgeon.errors import KerasurgeonError, OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.regions import Region

_WHAT = "shunt.choose"
_LONGEST = 8
"""Regions in a row that one shunt takes the place of, at most."""


def regions_for_shunts(
    graph: Graph,
    quotients: Quotients,
    choose: Mapping[str, Any],
    arch: Any,
    *,
    sizes: Any = None,
    tell: Callable[[float, str], None] = lambda *_: None,
) -> tuple[tuple[str, ...], str]:
    """The places of shunts with the least summed quotient for which the network with shunts meets a budget.

    A shunt takes the place of a region, or of several that follow one another; what it saves is what they cost less
    what it costs itself. Of each region something inside it may go instead. That losses add up is an assumption.

    Args:
        graph: The network.
        quotients: What is chosen from.
        choose: ``macs`` or ``params``: what is kept, a fraction or a number, and maybe ``unreachable``.
        arch: What shunts are made of, as for ``ReplaceWithShunt``.
        sizes: The sizes that costs are counted for.
        tell: Told how far it is.

    Returns:
        The places, as ``ReplaceWithShunt`` takes them, and what was chosen, in a line.

    Raises:
        BudgetError: No places meet the budget; the message says what the nearest is.
        OptionError: The budget is met without any shunt, or no shunt saves anything.
    """
    options = dict(choose)
    unreachable = options.pop("unreachable", "refuse")
    ((measure, target),) = options.items()
    left = require_counted(_WHAT, quotients.left_out).said if measure == "macs" else ""
    attribute = "macs" if measure == "macs" else "parameters"
    total = getattr(quotients, attribute)
    allowed = Allowance(_WHAT, measure, float(target), total, unreachable)
    saving = _Saving(graph, attribute, architectures(_WHAT, arch), sizes, tell)
    trees = trees_of(quotients.rows)
    most = max(one.saved for one in _sets(trees, saving, float("inf")))
    why = "measure quotients of larger regions, or take a leaner arch"
    need = (total - allowed.reachable(total - most, why)) * (1 - 1e-9)
    best = min(
        (one for one in _sets(trees, saving, need) if one.saved >= need),
        key=lambda one: (one.loss, one.count, one.saved),
    )
    if not best.count:
        places_that_save = sum(gain > 0 for gain in saving.known.values())
        raise OptionError(
            "No region gives way to a shunt.",
            expected="a budget below what the network costs, and regions larger than the shunts in their place",
            got=f"{_WHAT} = {dict(choose)}, and {places_that_save} places where a shunt saves something",
        )
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    places = sorted(best.items(), key=lambda place: order[place.first.nodes[0]])
    kept = total - best.saved
    said = f"{kept / total:.1%} of the {UNITS[measure]} kept, shunts included, summed quotients {best.loss:.4f}"
    return tuple(place.name for place in places), "; ".join(filter(None, [said, allowed.missed(kept), left]))


@dataclass(frozen=True, slots=True)
class _Place:
    """Regions that follow one another."""

    first: Quotient
    last: Quotient

    @property
    def name(self) -> str:
        return self.first.region if self.first is self.last else f"{self.first.entry}->{self.last.exit}"


class _Saving:
    """What a shunt saves at a place: each is built once."""

    def __init__(self, graph: Graph, attribute: str, arch: Any, sizes: Any, tell: Callable[[float, str], None]) -> None:
        self.graph, self.attribute, self.arch, self.tell = graph, attribute, arch, tell
        rows = cost(graph, sizes=sizes).rows
        self.of = {row.name: getattr(row, attribute) or 0 for row in rows}
        self.shapes = {row.name: row.shape for row in rows}
        self.known: dict[str, float] = {}

    def __call__(self, place: _Place) -> float:
        if place.name not in self.known:
            self.tell(len(self.known) / (len(self.known) + 10), f"a shunt for {place.name}")
            self.known[place.name] = self._built(place)
        return self.known[place.name]

    def _built(self, place: _Place) -> float:
        region = find_region(self.graph, f"{place.first.entry}->{place.last.exit}")
        try:
            _, network = build_shunt(self.graph, region, architecture_of(self.arch, region), 0)
            taken = getattr(cost(network, sizes=self._sizes(region)), self.attribute)
        except KerasurgeonError:  # no shunt can bridge it
            return 0.0
        return float(sum(self.of[name] for name in region.nodes) - taken)

    def _sizes(self, region: Region) -> tuple[int, ...] | None:
        """What a shunt is costed for where the network leaves sizes open: what enters it at those of the network."""
        shape = [size for size in self.shapes[region.entry.node][1:] if size is not None]
        return tuple(shape) if None in region.entry_spec.shape[1:] else None


def _sets(trees: list[Tree], saving: _Saving, need: float) -> list[Choice]:
    """The sets of places inside some regions that are worth keeping."""
    chains: dict[int, list[Tree]] = {}
    for tree in trees:
        chains.setdefault(tree.rows[0].run[0], []).append(tree)
    found = [Choice()]
    for chain in chains.values():
        found = both(found, _sets_of_chain(sorted(chain, key=lambda tree: tree.rows[0].run[1]), saving, need), need)
    return found


def _sets_of_chain(chain: list[Tree], saving: _Saving, need: float) -> list[Choice]:
    """The same for regions that follow one another: the sets up to each of them, from those before it."""
    rows = [min(tree.rows, key=lambda row: max(row.quotient, 0.0)) for tree in chain]
    up_to = [[Choice()]]
    for end, tree in enumerate(chain):
        sets = both(up_to[end], _sets(tree.inside, saving, need), need)
        for begin in range(end, max(-1, end - _LONGEST), -1):
            if rows[end].run[1] - rows[begin].run[1] != end - begin:
                break  # something lies between
            place = _Place(rows[begin], rows[end])
            saved = saving(place)
            if saved > 0:
                loss = sum(max(row.quotient, 0.0) for row in rows[begin : end + 1])
                sets = [*sets, *both(up_to[begin], [Choice(saved, loss, 1, (place,))], need)]
        up_to.append(worth_keeping(sets, need))
    return up_to[-1]


__all__ = ["regions_for_shunts"]
