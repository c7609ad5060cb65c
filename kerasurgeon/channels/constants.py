"""Which channels are the same number everywhere, whatever the input: followed from zeros in weights to all readers.

A filter of zeros gives its bias, a batch norm with a scale of zero its shift. What layers make of such constants is
found by running them, in float64, with the constants in their channels and numbers of all magnitudes in the others: a
channel of the result is constant if it does not vary. Sums over channels are read off their kernels instead, but for
those of which an operand is constant throughout: products of tensors, attention to zeros.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.linear import Linear, linear
from kerasurgeon.channels.running import run_layer, sizes
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.layers.activations import keeps_apart
from kerasurgeon.rules.answers import Affine
from kerasurgeon.rules.asking import affine_of, is_elementwise
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.labels import Labels

Array = np.ndarray[Any, Any]

_VARIES = 1e-12


def blank(labels: Labels) -> tuple[int, ...]:
    """Sizes of an array with a position for every channel of a tensor, and 1 along axes without channels."""
    axes = {axis for factor in labels.factors for axis in factor.axes}
    return tuple(size if axis in axes and size is not None else 1 for axis, size in enumerate(labels.shape))


def along(array: Array, axis: int, size: int) -> Array:
    """The rows of an array over one axis: ``(other positions, size)``."""
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    return np.broadcast_to(rows, (rows.shape[0], size))


def spread(vector: Array, axis: int, shape: tuple[int, ...]) -> Array | None:
    """A vector over one axis as an array of a shape; ``None`` if the shape has no such axis."""
    if shape[axis] != len(vector):
        return None
    wanted = [1] * len(shape)
    wanted[axis] = len(vector)
    return np.broadcast_to(vector.reshape(wanted), shape).copy()


class Constants:
    """The constant channels of every tensor of a graph.

    Args:
        channels: The analysis of the graph.
    """

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.graph: Graph = channels.graph
        self.known: dict[Value, Array] = {}
        self.linear: dict[str, Linear | None] = {}
        for node in self.graph.nodes():
            labels = channels.labels[node.name]
            found = self._node(node, labels)
            for index, own in enumerate(labels):
                array = None if found is None else found[index]
                self.known[Value(node.name, index)] = np.full(blank(own), np.nan) if array is None else array

    def linear_of(self, node: Node) -> Linear | None:
        """The matrices of a node's layer, if it is a sum over channels."""
        if node.layer not in self.linear:
            self.linear[node.layer] = linear(self.graph.layers[node.layer])
        return self.linear[node.layer]

    def channel(self, value: Value, axis: int, size: int) -> Array:
        """The constants along one axis; not a number where there is none, or where they differ along other axes."""
        rows = along(self.known[value], axis, size)
        return np.where((rows == rows[:1]).all(axis=0), rows[0], np.nan)

    def _node(self, node: Node, labels: tuple[Labels, ...]) -> list[Array | None] | None:
        call = self.channels.calls.get(node.name)
        if call is None or not node.inputs or node.kwargs.get("training"):
            return None
        layer = self.graph.layers[node.layer]
        matrices = self.linear_of(node)
        if matrices is not None:
            return [self._sum(node, layer, matrices, labels[0])]
        affine = affine_of(layer) if len(node.inputs) == 1 else None
        if affine is not None:
            return [self._affine(node, affine, labels[0])]
        sums = call.masks or any(held.contracted for held in call.held)
        if sums and not any(not np.isnan(self.known[value]).any() for value in node.inputs):
            return None
        return self._probe(node, labels) if self._may_make(node, layer) else None

    def _sum(self, node: Node, layer: Layer, matrices: Linear, labels: Labels) -> Array | None:
        constants = self.channel(node.inputs[0], matrices.axis, matrices.reads)
        varies = np.isnan(constants) if matrices.even else ~(constants == 0)
        fixed = ~matrices.counted(varies)
        if not fixed.any():
            return None
        result = matrices.response(np.where(varies, 0.0, constants))
        if matrices.bias is not None:
            result = result + matrices.bias
        activated = _activated(layer, result)
        return None if activated is None else spread(np.where(fixed, activated, np.nan), matrices.axis, blank(labels))

    def _affine(self, node: Node, affine: Affine, labels: Labels) -> Array | None:
        """A batch norm, read off its weights: they are many, and each run makes a layer."""
        constants = self.channel(node.inputs[0], affine.axis, len(affine.shift))
        with np.errstate(all="ignore"):
            # A scale of zero gives the shift, whatever comes in.
            result = np.asarray(np.where(affine.scale == 0, 0.0, affine.scale * constants) + affine.shift)
        return None if np.isnan(result).all() else spread(result, affine.axis, blank(labels))

    def _may_make(self, node: Node, layer: Layer) -> bool:
        """Whether constants can come out: some go in, or a weight is zero."""
        if any(not np.isnan(self.known[value]).all() for value in node.inputs):
            return True
        return any(not weight.array.all() for weight in layer.weights.values())

    def _probe(self, node: Node, labels: tuple[Labels, ...]) -> list[Array | None] | None:
        specs = [self.graph.spec(value) for value in node.inputs]
        if not all(keras.backend.is_float_dtype(spec.dtype) for spec in specs):
            return None
        attempts = [False]
        ranks = {len(spec.shape) for spec in specs}
        if len(ranks) == 1 and is_elementwise(self.graph, node):
            attempts = [True, False]
        for small in attempts:
            try:
                with np.errstate(all="ignore"):
                    results = run_layer(self.graph, node, *self._fills(node, small))
            except Exception:  # noqa: BLE001 - whatever a layer raises: then nothing is known of it
                continue
            return [_unvarying([result[index] for result in results], own) for index, own in enumerate(labels)]
        return None

    def _fills(self, node: Node, small: bool) -> list[dict[Value, Array]]:
        """Operands with the constants where they are, and elsewhere numbers: positive, negative, mixed."""
        rng = np.random.default_rng(0)
        fills: list[dict[Value, Array]] = [{}, {}, {}]
        for value in dict.fromkeys(node.inputs):
            known = self.known[value]
            shape = sizes(self.graph, node, value, batch=2)
            if small:
                shape = tuple(
                    size if size == 1 or has != 1 else 2 for size, has in zip(shape, known.shape, strict=True)
                )
            for fill, sign in zip(fills, (1.0, -1.0, 0.0), strict=True):
                numbers = 10.0 ** rng.uniform(-2.0, 4.0, shape)
                signs = sign or rng.choice([-1.0, 1.0], shape)
                fill[value] = np.where(np.isnan(known), numbers * signs, known)
        return fills


def _unvarying(results: list[Array], labels: Labels) -> Array | None:
    """What is the same in all results, along all axes without channels."""
    shape = blank(labels)
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    if any(result.dtype.kind not in "fV" or result.ndim != len(shape) for result in results):
        return None
    lowest = np.min([result.min(axis=axes, keepdims=True) for result in results], axis=0)
    highest = np.max([result.max(axis=axes, keepdims=True) for result in results], axis=0)
    if lowest.shape != shape:
        return None
    with np.errstate(all="ignore"):
        same = highest - lowest <= _VARIES * np.maximum(np.abs(highest), np.abs(lowest))
    # What overflows says nothing: exp and cosh differ from infinity somewhere.
    return np.where(same & np.isfinite(highest) & np.isfinite(lowest), lowest, np.nan)


def _activated(layer: Layer, result: Array) -> Array | None:
    entry = layer.config.get("activation")
    if entry in (None, "linear"):
        return result
    try:
        if not keeps_apart(entry):
            return None
        return np.asarray(keras.ops.convert_to_numpy(keras.activations.get(entry)(keras.ops.convert_to_tensor(result))))
    except (CannotTell, ValueError, TypeError):
        return None
