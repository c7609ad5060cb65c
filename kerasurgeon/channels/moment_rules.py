"""How spreads pass through the layers: see ``moments``."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.linear_part import DEPTHWISE, SUMMING, full_shape, is_plain, linear_part, run_linear
from kerasurgeon.channels.spread import Spread, compressed, gaussian, joined, largest
from kerasurgeon.channels.sums import sum_factors
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.layers.activations import keeps_apart
from kerasurgeon.layers.free import ACTIVATION_OPS, ELEMENTWISE_OPS, names
from kerasurgeon.rules.call import CannotTell

Array = np.ndarray[Any, Any]
Operands = Mapping[Value, Spread | None]

_APPLICATIONS = "custom:keras.src.applications."
_IN_TRAINING_ONLY = frozenset(
    names("Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise")
    + names("AlphaDropout ActivityRegularization")
) | {f"{_APPLICATIONS}convnext.StochasticDepth", "ops.stop_gradient"}
_MIXING_OPS = {"softmax", "log_softmax", "sparsemax", "glu"}
_ELEMENTWISE = frozenset(
    names("Activation ReLU LeakyReLU ELU PReLU Rescaling")
    + tuple(f"ops.{name}" for name in (*ELEMENTWISE_OPS, *ACTIVATION_OPS) if name not in _MIXING_OPS)
) | {f"{_APPLICATIONS}convnext.LayerScale"}
_MERGES = frozenset(names("Add Subtract Average Multiply ops.add ops.subtract ops.multiply")) | {
    f"{_APPLICATIONS}inception_resnet_v2.CustomScaleLayer"
}
_PRODUCTS = {"Multiply", "ops.multiply"}
_CONCATENATIONS = {"Concatenate", "ops.concatenate"}
_BORDERS = tuple(f"{name}{rank}D" for name in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3))
_MOVES = frozenset(
    (*names("Reshape Flatten Permute RepeatVector ops.reshape ops.transpose ops.expand_dims ops.squeeze"), *_BORDERS)
)
# Elements of a spread, points included, that are worked on at a time.
_MOST = 8_000_000


class Unknown(Exception):  # noqa: N818 - an outcome
    """Nothing is known of what a node gives; without a message because nothing is known of what it reads."""


def begins(graph: Graph, node: Node) -> bool:
    """Whether what a node gives is known, or not, whatever it reads."""
    return graph.kind(node) in ("InputLayer", "BatchNormalization", "Normalization")


def follow(graph: Graph, node: Node, operands: Operands) -> Spread:
    """The spread of a node's first output.

    Raises:
        Unknown: It cannot be told.
    """
    kind = graph.kind(node)
    if begins(graph, node):
        return _begin(graph, node, kind)
    spreads = [operands[value] for value in node.inputs]
    if kind in _CONCATENATIONS:
        return _concatenated(graph, node, spreads)
    known = [spread for spread in spreads if spread is not None]
    if len(known) < len(spreads):
        raise Unknown("")
    if not known:
        raise Unknown(f"{node.name!r} reads nothing")
    if kind in _IN_TRAINING_ONLY:
        return known[0]
    if kind in SUMMING or kind in DEPTHWISE:
        return _linear(graph, node, known[0])
    if kind in _ELEMENTWISE | _MERGES and _one_root(known):
        return _elementwise(graph, node, known)
    if kind in _MERGES:
        return _merged(graph, node, known)
    if len(known) == 1 and kind in _MOVES:
        return _moved(graph, node, known[0])
    if len(known) == 1 and "Pooling" in kind:
        return _pooled(graph, node, kind, known[0])
    raise Unknown(f"nothing is known of what {node.name!r} ({kind}) gives")


def _begin(graph: Graph, node: Node, kind: str) -> Spread:
    layer = graph.layer_of(node)
    if kind == "InputLayer":
        raise Unknown(f"it depends on the input {node.name!r}, of which nothing is known without data")
    rank = len(node.spec.shape)
    if kind == "Normalization":
        if layer.config.get("invert"):
            raise Unknown(f"{node.name!r} undoes a normalisation")
        if not _adapted(layer):
            raise Unknown(f"{node.name!r} has the statistics that it was made with, not those of data")
        return gaussian(np.zeros((1,) * rank), np.ones((1,) * rank))
    if node.kwargs.get("training"):
        raise Unknown(f"{node.name!r} normalises by the statistics of each batch")
    axis = layer.config["axis"]
    axis = axis if isinstance(axis, int) else axis[0]
    shape = [1] * rank
    shape[axis] = -1
    size = len(layer.weights["moving_mean"].array)
    gamma, beta = layer.array("gamma"), layer.array("beta")
    mean = np.zeros(size) if beta is None else np.asarray(beta, np.float64)
    variance = np.ones(size) if gamma is None else np.square(np.asarray(gamma, np.float64))
    return gaussian(mean.reshape(shape), variance.reshape(shape))


def _adapted(layer: Layer) -> bool:
    """Whether a Normalization has statistics of some data."""
    for key, untouched in (("mean", 0.0), ("variance", 1.0)):
        array = layer.array(key)
        given = layer.config.get(key) if array is None else array
        if given is not None and np.any(np.asarray(given) != untouched):
            return True
    return False


def _one_root(spreads: list[Spread]) -> bool:
    return len({id(spread.root) for spread in spreads if not spread.constant}) <= 1


def _elementwise(graph: Graph, node: Node, spreads: list[Spread]) -> Spread:
    """Run the layer on the points: all operands are functions of the same numbers, or constant."""
    entry = graph.layer_of(node).config.get("activation")
    try:
        apart = keeps_apart(entry)
    except CannotTell as problem:
        raise Unknown(f"{node.name!r}: {problem}") from problem
    if not apart:
        raise Unknown(f"{node.name!r} ({entry}) works over all channels")
    root = next((spread.root for spread in spreads if not spread.constant), spreads[0].root)
    samples = [spread.samples for spread in spreads]
    try:
        result = _run(graph, node, samples)
    except Exception:  # noqa: BLE001 - a layer that insists on the sizes that it was built with
        result = _run(graph, node, [_full(graph, value, array) for value, array in _pairs(node, samples)])
    return Spread(compressed(result), root)


def _merged(graph: Graph, node: Node, spreads: list[Spread]) -> Spread:
    """Sums and products of tensors that are taken for independent."""
    kind = graph.kind(node)
    means, variances = [spread.mean for spread in spreads], [spread.variance for spread in spreads]
    mean = _run(graph, node, means)
    if kind in _PRODUCTS:
        squares = [np.square(one) + other for one, other in zip(means, variances, strict=True)]
        return gaussian(mean, _product(squares) - np.square(_product(means)))
    factors = sum_factors(graph, node) or (1.0,) * len(spreads)  # an op with a constant reads one tensor only
    total: Array = np.zeros_like(variances[0])
    for factor, variance in zip(factors, variances, strict=True):
        total = total + factor**2 * variance
    return gaussian(mean, total)


def _product(arrays: list[Array]) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total * array
    return total


def _concatenated(graph: Graph, node: Node, spreads: list[Spread | None]) -> Spread:
    if all(spread is None for spread in spreads):
        raise Unknown("")
    config = graph.layer_of(node).config
    rank = len(node.spec.shape)
    axis = int(node.kwargs.get("axis", config.get("axis", -1))) % rank
    sizes = [graph.spec(value).shape[axis] for value in node.inputs]
    if axis == 0 or None in sizes:
        raise Unknown(f"{node.name!r} joins along an axis of unknown size")
    nothing = Spread(np.full((1,) * rank, np.nan))
    parts = [nothing if spread is None else spread for spread in spreads]
    return joined(parts, [int(size or 0) for size in sizes], axis)


def _linear(graph: Graph, node: Node, spread: Spread) -> Spread:
    layer = graph.layer_of(node)
    if not is_plain(layer):
        raise Unknown(f"{node.name!r} ({layer.kind}) computes with more than a kernel and a bias")
    value = node.inputs[0]
    mean = run_linear(graph, node, linear_part(graph, node), _full(graph, value, spread.mean))
    variance = np.zeros_like(mean)
    if not spread.constant:
        squared = linear_part(graph, node, squared=True)
        variance = run_linear(graph, node, squared, _full(graph, value, spread.variance))
    if layer.kind not in ("Dense", "EinsumDense") and all(size == 1 for size in _spatial(layer, spread.samples)):
        axes = tuple(_spatial_axes(layer, mean.ndim))  # positions near the border differ from the rest
        mean, variance = mean.mean(axis=axes, keepdims=True), variance.mean(axis=axes, keepdims=True)
    bias = layer.array("bias")
    if bias is not None:
        shape = list(bias.shape)
        if layer.config.get("data_format") == "channels_first":
            shape += [1] * (mean.ndim - 2)
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


def _moved(graph: Graph, node: Node, spread: Spread) -> Spread:
    """Layers that put elements elsewhere."""
    value = node.inputs[0]
    border = graph.kind(node) in _BORDERS
    if border and "ZeroPadding" not in graph.kind(node) and _alike(graph, node, spread):
        return spread
    if len(spread.samples) * prod(full_shape(graph.spec(value))) > _MOST:
        if border:
            return spread  # so large a map has little border
        return Spread(compressed(_run(graph, node, [_full(graph, value, spread.mean)])))
    return Spread(compressed(_run(graph, node, [_full(graph, value, spread.samples)])), spread.root)


def _pooled(graph: Graph, node: Node, kind: str, spread: Spread) -> Spread:
    layer, value = graph.layer_of(node), node.inputs[0]
    if "Max" not in kind and not kind.startswith(("Global", "Adaptive")):
        if _alike(graph, node, spread):
            return spread
        if len(spread.samples) * prod(full_shape(graph.spec(value))) <= _MOST:
            return Spread(compressed(_run(graph, node, [_full(graph, value, spread.samples)])), spread.root)
    if "Max" not in kind:
        return Spread(compressed(_run(graph, node, [_full(graph, value, spread.mean)])))
    axes = tuple(_spatial_axes(layer, spread.samples.ndim))
    window = layer.config.get("pool_size")
    sizes = full_shape(graph.spec(value))
    count = float(prod(sizes[axis] for axis in axes)) if window is None else float(np.prod(window))
    several = largest(Spread(spread.samples.mean(axis=axes, keepdims=True)), np.sqrt(count))
    if len(node.spec.shape) < len(sizes):
        return Spread(several.samples.squeeze(axes))
    return several


def _alike(graph: Graph, node: Node, spread: Spread) -> bool:
    """Whether all positions of a map are alike."""
    return all(size == 1 for size in _spatial(graph.layer_of(node), spread.samples))


def _spatial_axes(layer: Layer, rank: int) -> range:
    return range(2, rank) if layer.config.get("data_format") == "channels_first" else range(1, rank - 1)


def _spatial(layer: Layer, array: Array) -> list[int]:
    return [array.shape[axis] for axis in _spatial_axes(layer, array.ndim)]


def _full(graph: Graph, value: Value, array: Array) -> Array:
    return np.broadcast_to(array, (len(array), *full_shape(graph.spec(value))[1:]))


def _pairs(node: Node, arrays: list[Array]) -> list[tuple[Value, Array]]:
    return list(zip(node.inputs, arrays, strict=True))


def _run(graph: Graph, node: Node, arrays: list[Array]) -> Array:
    runner = Runner(graph)
    tensors = {
        value: keras.ops.convert_to_tensor(np.asarray(array), dtype=graph.spec(value).dtype)
        for value, array in _pairs(node, arrays)
    }
    return np.asarray(keras.ops.convert_to_numpy(runner.call(node, tensors)[0]), np.float64)
