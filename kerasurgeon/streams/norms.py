"""Norms over channels: layers, ops, and those that are written out, with the scale and shift behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.matching import Match, find
from kerasurgeon.rewrite.patterns import Pattern, anything, constant, one_of, ops
from kerasurgeon.rules.answers import Product, Sum
from kerasurgeon.rules.asking import combination_of, normalisation_of
from kerasurgeon.streams.known import Known

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm over the last axis, with what scales and shifts its result.

    Attributes:
        root: The node that gives the result.
        value: What is normalised.
        nodes: All nodes of it, producers first, the root last.
        epsilon: What is added to the mean square.
        centred: Whether the mean is taken away first.
        scale: ``(channels,)``, in float64.
        shift: ``(channels,)``, in float64.
    """

    root: Node
    value: Value
    nodes: tuple[Node, ...]
    epsilon: float
    centred: bool
    scale: Array
    shift: Array

    @property
    def plain(self) -> bool:
        """Whether the result is not scaled or shifted."""
        return bool(np.all(self.scale == 1) and not self.shift.any())

    def same(self, other: Norm | None) -> bool:
        """Whether another norm scales and shifts alike."""
        return other is not None and bool(
            np.array_equal(self.scale, other.scale) and np.array_equal(self.shift, other.shift)
        )


def find_norms(graph: Graph, known: Known) -> list[Norm]:
    """All norms over the last axis, in the order of the graph."""
    found = [*_layers(graph, known), *_written(graph)]
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    return sorted((_with_affine(graph, known, norm) for norm in found), key=lambda norm: order[norm.root.name])


def _layers(graph: Graph, known: Known) -> Iterator[Norm]:
    for node in graph.nodes():
        said = normalisation_of(graph, node)
        if said is None or not isinstance(node.args[0], Value):
            continue
        shape = graph.spec(node.args[0]).shape
        size = shape[-1]
        if said.axis % len(shape) != len(shape) - 1 or size is None:
            continue
        layer = graph.layer_of(node)
        scale, shift = (layer.array(key) for key in (said.scale, said.shift))
        others = [leaf for leaf in leaves((node.args[1:], dict(node.kwargs))) if known.is_known(leaf)]
        if len(others) > (1 + said.centred) * (not said.scale) or len(node.inputs) > 1 + len(others):
            continue
        arrays = [None if array is None else array.astype(np.float64) for array in (scale, shift)]
        arrays = [known.array(other).reshape(-1) for other in others] or arrays
        scale, shift = (*arrays, None)[:2]
        yield Norm(
            node,
            node.args[0],
            (node,),
            said.epsilon,
            said.centred,
            np.ones(size) if scale is None else scale,
            np.zeros(size) if shift is None else shift,
        )


def _over_last(node: Node, layer: Layer) -> bool:
    axis, rank = layer.config.get("axis"), len(node.spec.shape)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return bool(layer.config.get("keepdims")) and [None if one is None else one % rank for one in axes] == [rank - 1]


def _root_mean_square(x: Pattern, spread: Pattern) -> Pattern:
    """``x`` divided by the root of a mean square, in the ways in which it is written."""
    shifted = ops.add(spread, constant().bind("epsilon"))
    root = ops.sqrt(shifted)
    return one_of(
        ops.multiply(x, ops.rsqrt(shifted)),
        ops.divide(x, root),
        ops.multiply(x, ops.reciprocal(root)),
        ops.multiply(x, ops.divide(constant(1.0), root)),
    )


def _mean_square(x: Pattern) -> Pattern:
    return ops.mean(one_of(ops.square(x), ops.multiply(x, x), ops.power(x, constant(2.0))), where=_over_last)


def _patterns() -> Iterator[tuple[Pattern, bool]]:
    x = anything("x")
    centred = ops.subtract(x, ops.mean(x, where=_over_last).many_uses_ok()).many_uses_ok()
    yield _root_mean_square(centred, _mean_square(centred)), True
    yield _root_mean_square(centred, ops.var(x, where=_over_last)), True
    yield _root_mean_square(x, _mean_square(x)), False


def _written(graph: Graph) -> Iterator[Norm]:
    seen: set[str] = set()
    for pattern, centred in _patterns():
        for match in find(graph, pattern):
            norm = _matched(graph, match, centred)
            if norm is not None and norm.root.name not in seen:
                seen.update(node.name for node in norm.nodes)
                yield norm


def _matched(graph: Graph, match: Match, centred: bool) -> Norm | None:
    value, epsilon = match.value("x"), match.array("epsilon")
    size = graph.spec(value).shape[-1]
    inside = {node.name for node in match.nodes}
    leaving = [node for node in match.nodes[:-1] if any(user.name not in inside for user in graph.users(node))]
    if size is None or epsilon.size != 1 or leaving or graph.spec(value).shape != match.root.spec.shape:
        return None
    return Norm(match.root, value, match.nodes, float(epsilon.reshape(())), centred, np.ones(size), np.zeros(size))


def _with_affine(graph: Graph, known: Known, norm: Norm) -> Norm:
    """The norm with products and sums behind it that scale and shift its channels by known numbers."""
    size = len(norm.scale)
    while True:
        users = graph.users(norm.root)
        if len(users) != 1 or graph.is_output(norm.root.value) or users[0].spec.shape != norm.root.spec.shape:
            return norm
        user = users[0]
        combination = combination_of(graph, user)
        product = isinstance(combination, Product)
        summed = isinstance(combination, Sum) and set(combination.factors) == {1.0}
        others = [leaf for leaf in leaves(user.operands) if known.is_known(leaf)]
        single = user.inputs.count(norm.root.value) == 1 and len(list(leaves(user.operands))) == 2
        if not (product or summed) or not single or len(others) != 1:
            return norm
        numbers = known.array(others[0])
        if numbers.size not in (1, size) or (numbers.size == size and numbers.shape[-1] != size):
            return norm
        vector = np.broadcast_to(numbers.reshape(-1), (size,))
        scale = norm.scale * vector if product else norm.scale
        shift = norm.shift * vector if product else norm.shift + vector
        norm = replace(norm, root=user, nodes=(*norm.nodes, user), scale=scale, shift=shift)
