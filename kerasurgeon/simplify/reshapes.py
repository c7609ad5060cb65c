"""Rules of ``Simplify`` for what moves elements and does not change them: reshapes, permutations, also in a row."""

from __future__ import annotations

from math import prod

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.simplify.rules import (
    Rule,
    bypass,
    require_merged,
    require_unmasked,
    require_unshared,
    rule,
    source,
)

_LAYERS = ("Reshape", "Flatten")
_OPS = ("ops.reshape", "ops.expand_dims", "ops.squeeze", "ops.ravel")
# Their result depends on how many elements they read and no more, so that they can read what an earlier one reads.
_BY_COUNT = ("Reshape", "Flatten", "ops.reshape", "ops.ravel")
_PERMUTATIONS = ("Permute", "ops.transpose", "ops.swapaxes", "ops.moveaxis")


@rule("reshapes", *_LAYERS, *_OPS)
def same_shape(graph: Graph, node: Node) -> str:
    """A reshape to the shape that the tensor has."""
    _require_plain(graph, node)
    before, after = graph.spec(source(node)), node.spec
    if before != after:
        raise Skip(f"it turns {before} into {after}")
    if not _settled(after, keeps_batch=graph.kind(node) in _LAYERS):
        raise Skip(f"several sizes of {after} are unknown")
    return bypass(graph, node, "the tensor has that shape already")


@rule("reshapes", *_LAYERS, *_OPS)
def reshape_of_reshape(graph: Graph, node: Node) -> str:
    """A reshape of a reshape: the second alone does it, or neither is needed."""
    first = graph.producer(source(node))
    if graph.kind(first) not in (*_LAYERS, *_OPS):
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another reshape")
    for each in (node, first):
        _require_plain(graph, each)
    require_merged(graph, first, node)
    start = source(first)
    keeps_batch = _keeps_batch(graph, first) and _keeps_batch(graph, node)
    settled = _inverse(graph, first, node) or _settled(node.spec, keeps_batch=keeps_batch)
    if graph.spec(start) == node.spec and settled:
        return bypass(graph, node, f"it undoes {first.name!r}", start)
    if graph.kind(node) not in _BY_COUNT:
        raise Skip(f"it adds or removes an axis of the shape that {first.name!r} makes")
    if graph.kind(node) in _LAYERS and not _keeps_batch(graph, first):
        raise Skip(f"{first.name!r} reshapes the batch axis, too")
    require_unmasked(graph, first, start)
    graph.set_operands(node, (start,), {})
    return f"merged with {first.name!r}: it reads {start} itself"


@rule("reshapes", *_PERMUTATIONS)
def permutation_of_nothing(graph: Graph, node: Node) -> str:
    """A permutation that leaves the axes in order."""
    axes = _axes(graph, node)
    if axes != tuple(range(len(axes))):
        raise Skip(f"it permutes the axes to {axes}")
    return bypass(graph, node, "it leaves the axes in order")


@rule("reshapes", *_PERMUTATIONS)
def permutation_of_permutation(graph: Graph, node: Node) -> str:
    """Two permutations in a row: one does it, or none."""
    first = graph.producer(source(node))
    if graph.kind(first) not in _PERMUTATIONS:
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another permutation")
    require_merged(graph, first, node)
    start = source(first)
    inner = _axes(graph, first)
    together = tuple(inner[axis] for axis in _axes(graph, node))
    if together == tuple(range(len(together))):
        return bypass(graph, node, f"it undoes {first.name!r}", start)
    layer = require_unshared(graph, node)
    if layer.kind == "Permute":
        if together[0] != 0:
            raise Skip(f"{first.name!r} moves the batch axis")
        changed = layer.with_config(dims=together[1:])
    elif layer.kind == "ops.transpose":
        changed = layer.with_config(axes=together)
    else:
        raise Skip(f"{layer.kind} cannot say what both do together")
    require_unmasked(graph, first, start)
    graph.set_operands(node, (start,), {})
    graph.update_layer(node.layer, changed)
    return f"merged with {first.name!r}: it permutes the axes of {start} to {together}"


def _require_plain(graph: Graph, node: Node) -> None:
    """Refuse ``Flatten`` where it transposes first."""
    layer = graph.layer_of(node)
    rank = len(graph.spec(source(node)).shape)
    if layer.kind == "Flatten" and layer.config["data_format"] == "channels_first" and rank > 2:
        raise Skip(f"{node.name!r} moves the channels to the end before it flattens")


def _settled(spec: TensorSpec, *, keeps_batch: bool) -> bool:
    """Whether a count of elements settles every size: at most one is unknown, the batch aside where it is kept."""
    return sum(size is None for size in spec.shape[keeps_batch:]) <= 1


def _keeps_batch(graph: Graph, node: Node) -> bool:
    """Whether a reshape certainly leaves the batch axis alone."""
    before, after = graph.spec(source(node)).shape, node.spec.shape
    if graph.kind(node) in _LAYERS:
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


def _axes(graph: Graph, node: Node) -> tuple[int, ...]:
    """Where each axis of the result comes from."""
    layer, rank = graph.layer_of(node), len(node.spec.shape)
    config = layer.config
    order = list(range(rank))
    if layer.kind == "Permute":
        return (0, *(int(axis) for axis in config["dims"]))
    if layer.kind == "ops.transpose":
        axes = config["axes"]
        return tuple(reversed(order)) if axes is None else tuple(int(axis) % rank for axis in axes)
    if layer.kind == "ops.swapaxes":
        one, other = config["axis1"] % rank, config["axis2"] % rank
        order[one], order[other] = order[other], order[one]
        return tuple(order)
    ends = [config["source"], config["destination"]]
    starts, targets = ([end] if isinstance(end, int) else list(end) for end in ends)
    rest = [axis for axis in order if axis not in {start % rank for start in starts}]
    for target, start in sorted((target % rank, start % rank) for start, target in zip(starts, targets, strict=True)):
        rest.insert(target, start)
    return tuple(rest)


RULES: tuple[Rule, ...] = (same_shape, reshape_of_reshape, permutation_of_nothing, permutation_of_permutation)

__all__ = ["RULES"]
