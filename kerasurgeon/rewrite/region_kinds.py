"""What kind of region some nodes are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from kerasurgeon.ir import Graph, Value
from kerasurgeon.rules.asking import is_join, is_product, is_sum

RegionKind = Literal["chain", "residual", "dense", "gate", "branches", "run"]
"""What a region is:

* ``chain``: one node after another.
* ``residual``: a sum of the entry and what is made of it; the entry may be projected on the short way.
* ``dense``: a concatenation of the entry and what is made of it.
* ``gate``: a product whose one factor is computed from the other or together with it: squeeze-and-excite,
  hard swish, gated linear units.
* ``branches``: any other way of splitting and merging, such as an inception cell.
* ``run``: several regions one after another.
"""


def merge_kind(graph: Graph, entry: Value, exit: Value, nodes: Sequence[str]) -> RegionKind:
    """The kind of a region whose last node merges several ways from the entry."""
    merge = graph[exit.node]
    operands = tuple(dict.fromkeys(merge.inputs))
    if is_product(graph, merge) and len(operands) == 2 and _is_gated(graph, entry, operands, nodes):
        return "gate"
    if is_join(graph, merge) and entry in operands:
        return "dense"
    if is_sum(graph, merge) and len(operands) == 2 and _has_shortcut(graph, entry, operands, nodes):
        return "residual"
    return "branches"


def _is_gated(graph: Graph, entry: Value, operands: tuple[Value, ...], nodes: Sequence[str]) -> bool:
    """Whether one factor is the entry, or what the other is computed from."""
    return any(
        operand == entry or operand.node in _ancestors(graph, other, nodes)
        for operand, other in (operands, operands[::-1])
    )


def _has_shortcut(graph: Graph, entry: Value, operands: tuple[Value, ...], nodes: Sequence[str]) -> bool:
    """Whether one operand is the entry, or the entry projected by at most one layer with a kernel."""
    if entry in operands:
        return True
    ways = [_ancestors(graph, operand, nodes) for operand in operands]
    if ways[0] & ways[1]:
        return False
    short, long = sorted(sum("kernel" in _weights(graph, name) for name in way) for way in ways)
    return short < long and short <= 1


def _ancestors(graph: Graph, value: Value, nodes: Sequence[str]) -> set[str]:
    """The nodes among ``nodes`` that a tensor is computed by."""
    allowed, found, waiting = set(nodes), set[str](), [value]
    while waiting:
        name = waiting.pop().node
        if name in allowed and name not in found:
            found.add(name)
            waiting.extend(graph[name].inputs)
    return found


def _weights(graph: Graph, name: str) -> Iterable[str]:
    return graph.layer_of(name).weights


__all__ = ["RegionKind", "merge_kind"]
