"""How spreads pass through the layers: see ``moments``."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.linear_part import full_shape, linear_part, run_linear
from kerasurgeon.channels.spread import Spread, compressed, gaussian, joined, largest
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.injection import brief_variables
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.layers.activations import keeps_apart
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.answers import Join, Product, Statistics, Sum
from kerasurgeon.rules.asking import combination_of, is_elementwise, linear_form, movement_of, positions_of
from kerasurgeon.rules.layout import spatial_axes
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.positions import Border, Enlarged, Gone, Positions, Window

Array = np.ndarray[Any, Any]
Operands = Mapping[Value, Spread | None]

# Elements of a spread, points included, that are worked on at a time.
_MOST = 8_000_000


class Unknown(Exception):  # noqa: N818 - an outcome
    """Nothing is known of what a node gives; without a message because nothing is known of what it reads."""


def begins(graph: Graph, node: Node) -> bool:
    """Whether what a node gives is known, or not, whatever it reads."""
    try:
        return not node.inputs or _statistics(graph, node) is not None
    except CannotTell:
        return True


def follow(graph: Graph, node: Node, operands: Operands) -> Spread:
    """The spread of a node's first output.

    Raises:
        Unknown: It cannot be told.
    """
    try:
        return _followed(graph, node, operands)
    except CannotTell as problem:
        raise Unknown(f"{node.name!r} ({graph.kind(node)}): {problem}") from problem


def _followed(graph: Graph, node: Node, operands: Operands) -> Spread:
    if graph.kind(node) == "InputLayer":
        raise Unknown(f"it depends on the input {node.name!r}, of which nothing is known without data")
    if not node.inputs:
        raise Unknown(f"{node.name!r} reads nothing")
    statistics = _statistics(graph, node)
    if statistics is not None:
        if node.kwargs.get("training"):
            raise Unknown(f"{node.name!r} normalises by the statistics of each batch")
        return gaussian(statistics.mean, statistics.variance)
    layer, combination = graph.layer_of(node), combination_of(graph, node)
    spreads = [operands[value] for value in node.inputs]
    if isinstance(combination, Join):
        return _concatenated(graph, node, spreads, combination)
    known = [spread for spread in spreads if spread is not None]
    if len(known) < len(spreads):
        raise Unknown("")
    if rule_for(layer.kind).only_in_training(layer):
        return known[0]
    form = linear_form(layer)
    if form is not None:
        return _linear(graph, node, form, known[0])
    if is_elementwise(graph, node) and _one_root(known):
        return _elementwise(graph, node, known)
    if isinstance(combination, (Sum, Product)):
        return _merged(graph, node, combination, known)
    positions = positions_of(graph, node) if len(known) == 1 else None
    if len(known) == 1 and movement_of(graph, node) is not None:
        return _moved(graph, node, positions, known[0])
    if isinstance(positions, (Window, Gone)):
        return _pooled(graph, node, positions, known[0])
    _tell_why(graph, node, form)
    raise Unknown(f"nothing is known of what {node.name!r} ({layer.kind}) gives")


def _statistics(graph: Graph, node: Node) -> Statistics | None:
    layer = graph.layer_of(node)
    return rule_for(layer.kind).statistics(layer, len(node.spec.shape))


def _tell_why(graph: Graph, node: Node, form: LinearForm | None) -> None:
    """Let the rule say what keeps a layer with kernels from being followed, or an activation."""
    layer = graph.layer_of(node)
    rule = rule_for(layer.kind)
    if form is None and layer.weights:
        rule.linear(layer)
    rule.channelwise(layer)


def _one_root(spreads: list[Spread]) -> bool:
    return len({id(spread.root) for spread in spreads if not spread.constant}) <= 1


def _elementwise(graph: Graph, node: Node, spreads: list[Spread]) -> Spread:
    """Run the layer on the points: all operands are functions of the same numbers, or constant."""
    root = next((spread.root for spread in spreads if not spread.constant), spreads[0].root)
    samples = [spread.samples for spread in spreads]
    try:
        result = _run(graph, node, samples)
    except Exception:  # noqa: BLE001 - a layer that insists on the sizes that it was built with
        result = _run(graph, node, [_full(graph, node, value, array) for value, array in _pairs(node, samples)])
    return Spread(compressed(result), root)


def _merged(graph: Graph, node: Node, combination: Sum | Product, spreads: list[Spread]) -> Spread:
    """Sums and products of tensors that are taken for independent."""
    means, variances = [spread.mean for spread in spreads], [spread.variance for spread in spreads]
    mean = _run(graph, node, means)
    if isinstance(combination, Product):
        squares = [np.square(one) + other for one, other in zip(means, variances, strict=True)]
        return gaussian(mean, _product(squares) - np.square(_product(means)))
    total: Array = np.zeros_like(variances[0])
    for factor, variance in zip(combination.factors, variances, strict=True):
        total = total + factor**2 * variance
    return gaussian(mean, total)


def _product(arrays: list[Array]) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total * array
    return total


def _concatenated(graph: Graph, node: Node, spreads: list[Spread | None], join: Join) -> Spread:
    if all(spread is None for spread in spreads):
        raise Unknown("")
    rank = len(node.spec.shape)
    axis = join.axis % rank
    sizes = [graph.spec(value).shape[axis] for value in node.inputs]
    if axis == 0 or None in sizes:
        raise Unknown(f"{node.name!r} joins along an axis of unknown size")
    nothing = Spread(np.full((1,) * rank, np.nan))
    parts = [nothing if spread is None else spread for spread in spreads]
    return joined(parts, [int(size or 0) for size in sizes], axis)


def _linear(graph: Graph, node: Node, form: LinearForm, spread: Spread) -> Spread:
    layer = graph.layer_of(node)
    value = node.inputs[0]
    with brief_variables():
        mean = run_linear(graph, node, linear_part(graph, node), _full(graph, node, value, spread.mean))
        variance = np.zeros_like(mean)
        if not spread.constant:
            squared = linear_part(graph, node, squared=True)
            variance = run_linear(graph, node, squared, _full(graph, node, value, spread.variance))
    if form.window is not None and _alike(graph, node, spread):
        axes = tuple(spatial_axes(layer.config, mean.ndim))  # positions near the border differ from the rest
        mean, variance = mean.mean(axis=axes, keepdims=True), variance.mean(axis=axes, keepdims=True)
    bias = layer.array(form.bias)
    if bias is not None:
        shape = [*bias.shape, *([1] * (mean.ndim - 2) if form.channels_first else [])]
        mean = mean + np.asarray(bias, np.float64).reshape(shape)
    return _activated(node, layer.config.get("activation"), gaussian(compressed(mean), compressed(variance)))


def _activated(node: Node, entry: Any, spread: Spread) -> Spread:
    if entry in (None, "linear"):
        return spread
    try:
        apart = keeps_apart(entry)
    except CannotTell as problem:
        raise Unknown(f"{node.name!r}: {problem}") from problem
    if not apart:
        raise Unknown(f"the activation {entry!r} of {node.name!r} works over all channels")
    function = keras.activations.get(entry)
    result = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(spread.samples, dtype="float32")))
    return Spread(np.asarray(result, np.float64), spread.root)


def _moved(graph: Graph, node: Node, positions: Positions | None, spread: Spread) -> Spread:
    """Layers that put elements elsewhere."""
    value = node.inputs[0]
    border = isinstance(positions, (Border, Enlarged))
    adds_zeros = isinstance(positions, Border) and not positions.cuts
    if border and not adds_zeros and _alike(graph, node, spread):
        return spread
    if len(spread.samples) * prod(full_shape(graph, node, value)) > _MOST:
        if border:
            return spread  # so large a map has little border
        return Spread(compressed(_run(graph, node, [_full(graph, node, value, spread.mean)])))
    return Spread(compressed(_run(graph, node, [_full(graph, node, value, spread.samples)])), spread.root)


def _pooled(graph: Graph, node: Node, positions: Window | Gone, spread: Spread) -> Spread:
    layer, value = graph.layer_of(node), node.inputs[0]
    if positions.takes != "max":
        if isinstance(positions, Window):
            if _alike(graph, node, spread):
                return spread
            if len(spread.samples) * prod(full_shape(graph, node, value)) <= _MOST:
                return Spread(compressed(_run(graph, node, [_full(graph, node, value, spread.samples)])), spread.root)
        elif positions.takes != "mean":
            raise Unknown(f"nothing is known of what {node.name!r} ({layer.kind}) gives")
        return Spread(compressed(_run(graph, node, [_full(graph, node, value, spread.mean)])))
    axes = tuple(spatial_axes(layer.config, spread.samples.ndim))
    sizes = full_shape(graph, node, value)
    window = positions.size if isinstance(positions, Window) else tuple(sizes[axis] for axis in axes)
    count = float(prod(window))
    several = largest(Spread(spread.samples.mean(axis=axes, keepdims=True)), np.sqrt(count))
    if len(node.spec.shape) < len(sizes):
        return Spread(several.samples.squeeze(axes))
    return several


def _alike(graph: Graph, node: Node, spread: Spread) -> bool:
    """Whether all positions of a map are alike."""
    array = spread.samples
    return all(array.shape[axis] == 1 for axis in spatial_axes(graph.layer_of(node).config, array.ndim))


def _full(graph: Graph, node: Node, value: Value, array: Array) -> Array:
    return np.broadcast_to(array, (len(array), *full_shape(graph, node, value)[1:]))


def _pairs(node: Node, arrays: list[Array]) -> list[tuple[Value, Array]]:
    return list(zip(node.inputs, arrays, strict=True))


def _run(graph: Graph, node: Node, arrays: list[Array]) -> Array:
    runner = Runner(graph)
    tensors = {
        value: keras.ops.convert_to_tensor(np.asarray(array), dtype=graph.spec(value).dtype)
        for value, array in _pairs(node, arrays)
    }
    return np.asarray(keras.ops.convert_to_numpy(runner.call(node, tensors)[0]), np.float64)
