"""Rules of ``Simplify`` for what moves elements and does not change them: reshapes, permutations, also in a row."""

from __future__ import annotations

from math import prod

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.answers import Moved, Permuted, Regrouped
from kerasurgeon.rules.asking import movement_of
from kerasurgeon.simplify.rules import (
    Rule,
    bypass,
    require_merged,
    require_unmasked,
    require_unshared,
    rule,
    source,
)


def _regroups(graph: Graph, node: Node) -> bool:
    movement = movement_of(graph, node)
    return isinstance(movement, Regrouped) or (isinstance(movement, Moved) and bool(movement.also))


def _permutes(graph: Graph, node: Node) -> bool:
    return isinstance(movement_of(graph, node), Permuted)


@rule("reshapes", sites=_regroups)
def same_shape(graph: Graph, node: Node) -> str:
    """A reshape to the shape that the tensor has."""
    movement = _regrouping(graph, node)
    before, after = graph.spec(source(node)), node.spec
    if before != after:
        raise Skip(f"it turns {before} into {after}")
    if not _settled(after, keeps_batch=movement.keeps_batch):
        raise Skip(f"several sizes of {after} are unknown")
    return bypass(graph, node, "the tensor has that shape already")


@rule("reshapes", sites=_regroups)
def reshape_of_reshape(graph: Graph, node: Node) -> str:
    """A reshape of a reshape: the second alone does it, or neither is needed."""
    first = graph.producer(source(node))
    if not _regroups(graph, first):
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another reshape")
    for each in (node, first):
        _regrouping(graph, each)
    require_merged(graph, first, node)
    start = source(first)
    keeps_batch = _keeps_batch(graph, first) and _keeps_batch(graph, node)
    settled = _inverse(graph, first, node) or _settled(node.spec, keeps_batch=keeps_batch)
    if graph.spec(start) == node.spec and settled:
        return bypass(graph, node, f"it undoes {first.name!r}", start)
    if not _regrouping(graph, node).by_count:
        raise Skip(f"it adds or removes an axis of the shape that {first.name!r} makes")
    if _regrouping(graph, node).keeps_batch and not _keeps_batch(graph, first):
        raise Skip(f"{first.name!r} reshapes the batch axis, too")
    require_unmasked(graph, first, start)
    graph.set_operands(node, (start,), {})
    return f"merged with {first.name!r}: it reads {start} itself"


@rule("reshapes", sites=_permutes)
def permutation_of_nothing(graph: Graph, node: Node) -> str:
    """A permutation that leaves the axes in order."""
    axes = _permutation(graph, node).order
    if axes != tuple(range(len(axes))):
        raise Skip(f"it permutes the axes to {axes}")
    return bypass(graph, node, "it leaves the axes in order")


@rule("reshapes", sites=_permutes)
def permutation_of_permutation(graph: Graph, node: Node) -> str:
    """Two permutations in a row: one does it, or none."""
    first = graph.producer(source(node))
    if not _permutes(graph, first):
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another permutation")
    require_merged(graph, first, node)
    start = source(first)
    inner, outer = _permutation(graph, first).order, _permutation(graph, node)
    together = tuple(inner[axis] for axis in outer.order)
    if together == tuple(range(len(together))):
        return bypass(graph, node, f"it undoes {first.name!r}", start)
    layer = require_unshared(graph, node)
    entries = outer.config(together)
    if entries is None and outer.entry is not None:
        raise Skip(f"{first.name!r} moves the batch axis")
    if entries is None:
        raise Skip(f"{layer.kind} cannot say what both do together")
    require_unmasked(graph, first, start)
    graph.set_operands(node, (start,), {})
    graph.update_layer(node.layer, layer.with_config(**entries))
    return f"merged with {first.name!r}: it permutes the axes of {start} to {together}"


def _regrouping(graph: Graph, node: Node) -> Regrouped:
    movement = movement_of(graph, node)
    if isinstance(movement, Moved):
        raise Skip(f"{node.name!r} {movement.also}")
    assert isinstance(movement, Regrouped)
    return movement


def _permutation(graph: Graph, node: Node) -> Permuted:
    movement = movement_of(graph, node)
    assert isinstance(movement, Permuted)
    return movement


def _settled(spec: TensorSpec, *, keeps_batch: bool) -> bool:
    """Whether a count of elements settles every size: at most one is unknown, the batch aside where it is kept."""
    return sum(size is None for size in spec.shape[keeps_batch:]) <= 1


def _keeps_batch(graph: Graph, node: Node) -> bool:
    """Whether a reshape certainly leaves the batch axis alone."""
    before, after = graph.spec(source(node)).shape, node.spec.shape
    if _regrouping(graph, node).keeps_batch:
        return True
    if not before or not after or before[0] != after[0] or None in (*before[1:], *after[1:]):
        return False
    return prod(size or 0 for size in before[1:]) == prod(size or 0 for size in after[1:])


def _inverse(graph: Graph, first: Node, second: Node) -> bool:
    """Whether one op inserts the axis that the next one drops."""
    if graph.kind(first) != "ops.expand_dims" or graph.kind(second) != "ops.squeeze":
        return False
    one, other = (graph.layer_of(node).config["axis"] for node in (first, second))
    rank = len(first.spec.shape)
    one, other = (axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis for axis in (one, other))
    return isinstance(one, int) and isinstance(other, int) and one % rank == other % rank


RULES: tuple[Rule, ...] = (same_shape, reshape_of_reshape, permutation_of_nothing, permutation_of_permutation)

__all__ = ["RULES"]
