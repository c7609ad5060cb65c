"""The cuts that a search chooses among: found in the backbone, then thinned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kerasurgeon.blocks.cuts import CutPair, between, cut_pairs
from kerasurgeon.costs import cost, require_counted
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.option_checks import check_count, check_flag, is_number, wrong_option
from kerasurgeon.rules import Sizes
from kerasurgeon.workflows.tuner.block_ends import block_ends

NONE = "none"  # the choice that cuts nothing


@dataclass(frozen=True)
class Cuts:
    """Which cuts of a backbone a search may choose.

    Attributes:
        least_saved: A cut saves at least this share of the backbone, in [0, 1]: of its MACs where those are the cost of
            the search, of its parameters otherwise.
        most_saved: And at most this share.
        most: How many at most. Of more, those are taken whose savings are spread most evenly.
        whole_blocks: Only cuts that begin and end where blocks do.

    Raises:
        OptionError: An option is out of its range.
    """

    least_saved: float = 0.05
    most_saved: float = 0.95
    most: int = 32
    whole_blocks: bool = True

    def __post_init__(self) -> None:
        for option in ("least_saved", "most_saved"):
            value = getattr(self, option)
            if not is_number(value) or not 0 <= value <= 1:
                raise wrong_option("Cuts", option, value, "a number in [0, 1]")
        if self.least_saved > self.most_saved:
            raise wrong_option("Cuts", "least_saved", self.least_saved, f"at most most_saved={self.most_saved}")
        check_count("Cuts", "most", self.most)
        check_flag("Cuts", "whole_blocks", self.whole_blocks)

    def find(self, graph: Graph, *, by_macs: bool = False, sizes: Sizes | None = None) -> tuple[CutPair, ...]:
        """The cuts of a backbone, in the order of their beginnings.

        Args:
            graph: The backbone.
            by_macs: Count what is saved in MACs, not parameters.
            sizes: Sizes of the inputs that MACs are counted for, as for ``kerasurgeon.cost``.

        Raises:
            OptionError: There are none.
            BudgetError: Too many of the MACs are unknown.
        """
        if by_macs:
            require_counted("AutoCompress", cost(graph, sizes=sizes))
        pairs = cut_pairs(graph, saving=False, sizes=sizes)
        every = [pair for pair in pairs if saved_share(pair, by_macs=by_macs) > 0]
        ends = block_ends(graph) if self.whole_blocks else frozenset()
        whole = [pair for pair in every if not self.whole_blocks or {pair.entry, pair.exit} <= ends]
        left = [pair for pair in whole if self.least_saved <= saved_share(pair, by_macs=by_macs) <= self.most_saved]
        if not left:
            raise self._none(graph, every, whole, by_macs)
        chosen = set(map(id, _spread(left, self.most, by_macs)))
        return tuple(pair for pair in left if id(pair) in chosen)

    def _none(self, graph: Graph, every: list[CutPair], whole: list[CutPair], by_macs: bool) -> OptionError:
        what = "MACs" if by_macs else "parameters"
        if not every:
            got, hint = "no cut at all", "a cut lies between two tensors of images that everything flows through"
        elif not whole:
            got = f"{len(every)} cuts, none of them between the ends of blocks"
            hint = "Cuts(whole_blocks=False) takes them all; or name cuts=[(A, B), ...] yourself"
        else:
            shares = [saved_share(pair, by_macs=by_macs) for pair in whole]
            got = f"{len(whole)} cuts, which save {min(shares):.1%} to {max(shares):.1%} of the {what}"
            hint = "set least_saved and most_saved of Cuts(...) to hold some of them"
        return OptionError(
            "No cut of this backbone is left to choose.",
            where=f"backbone {graph.name!r}",
            expected=f"cuts that save {self.least_saved:.0%} to {self.most_saved:.0%} of the {what}",
            got=got,
            hint=hint,
        )


def saved_share(pair: CutPair, *, by_macs: bool) -> float:
    """The share of the backbone that a cut saves, the translator counted; negative where it costs more."""
    return 1 - (pair.macs_kept_ratio if by_macs else pair.parameters_kept_ratio)


def ends_by_label(
    graph: Graph, cuts: Any, *, by_macs: bool, sizes: Sizes | None = None
) -> dict[str, tuple[Value, Value]]:
    """Between which tensors each choice of cut takes out what is there.

    Args:
        graph: The backbone.
        cuts: ``Cuts``, ``None`` for the usual ones, or pairs ``(A, B)`` of node names, also written ``"A,B"``.
        by_macs: Count what is saved in MACs.
        sizes: Sizes of the inputs that MACs are counted for.

    Returns:
        The entry and the exit of each region, by the label ``"A,B"``.

    Raises:
        GraphError: A pair that was named is no cut; the message says why.
        OptionError: There are none, or ``cuts`` is none of these.
    """
    if cuts is None or isinstance(cuts, Cuts):
        found = (cuts or Cuts()).find(graph, by_macs=by_macs, sizes=sizes)
        return {f"{pair.first},{pair.last}": (pair.entry, pair.exit) for pair in found}
    named = [_pair(cut) for cut in _several(cuts)]
    if not named:
        raise wrong_option("", "cuts", cuts, "one or more pairs (A, B)", "leave cuts out to have them found")
    regions = {f"{first},{last}": between(graph, first, last) for first, last in named}
    return {label: (region.entry, region.exit) for label, region in regions.items()}


def _several(cuts: Any) -> Sequence[Any]:
    if isinstance(cuts, (list, tuple)) and not isinstance(cuts, str):
        return cuts
    raise wrong_option("", "cuts", cuts, "Cuts(...), or a list of pairs (A, B) of node names")


def _pair(cut: Any) -> tuple[str, str]:
    if isinstance(cut, CutPair):
        return cut.first, cut.last
    parts = cut.split(",") if isinstance(cut, str) else cut
    if not isinstance(parts, (list, tuple)) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise wrong_option("", "cuts", cut, "a pair (A, B) of node names, or 'A,B'")
    return parts[0].strip(), parts[1].strip()


def _spread(pairs: Sequence[CutPair], most: int, by_macs: bool) -> Sequence[CutPair]:
    """At most so many of the pairs, savings as evenly apart as they can be."""
    if len(pairs) <= most:
        return pairs
    left = sorted(pairs, key=lambda pair: saved_share(pair, by_macs=by_macs))
    low, high = saved_share(left[0], by_macs=by_macs), saved_share(left[-1], by_macs=by_macs)
    chosen = []
    for step in range(most):
        wanted = high if most == 1 else low + (high - low) * step / (most - 1)
        nearest = min(left, key=lambda pair: abs(saved_share(pair, by_macs=by_macs) - wanted))
        left.remove(nearest)
        chosen.append(nearest)
    return chosen
