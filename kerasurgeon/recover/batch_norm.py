"""Estimate the statistics of batch norms anew from data.

A network that was pruned, folded or quantised gives its batch norms other inputs than those whose statistics they
hold. Estimating them again needs some data, no labels and no training, and often wins back much of the accuracy.

Reference:
    Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020 (adaptive batch
    normalisation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner

Array = np.ndarray[Any, Any]


def recalibrate_batch_norm(
    model: keras.Model, data: Any, *, batch_size: int = 32, batches: int | None = None
) -> keras.Model:
    """A copy of a model whose batch norms hold the statistics of some data.

    The data is run through once. In every batch, each batch norm normalises by the batch's own statistics, as in
    training; mean and variance over all batches become its moving statistics: the average of the means, and by the law
    of total variance the average of the variances plus the variance of the means, each batch weighted by its size. All
    other layers work as in inference: nothing is dropped, no noise is added. With all data in one batch the result is
    exact: in inference every batch norm then sees inputs of exactly the statistics that it holds. Larger batches come
    closer to that.

    Args:
        model: A functional or sequential model; it is not changed. A batch norm with several calls gets the statistics
            over all of them. Batch norms inside wrappers such as TimeDistributed are left alone, as are those whose
            weights another layer holds too.
        data: Inputs as for ``predict``, ``(inputs, labels)``, or an iterable of such batches. Labels are not used.
        batch_size: Samples per batch; a few hundred if memory allows.
        batches: How many batches to use at most; by default all.

    Returns:
        A new model. Without batch norms, a plain copy.

    Raises:
        OptionError: There is no data, it does not fit the inputs, or holds NaN; ``batch_size`` or ``batches`` is below
            one.

    Example:
        >>> small = ks.recalibrate_batch_norm(ks.cut(model, plan), train_images[:2000], batch_size=200)
    """
    graph = lift(model)
    recalibrate_graph(graph, data, batch_size=batch_size, batches=batches)
    return emit(graph)


def recalibrate_graph(
    graph: Graph, data: Any, *, batch_size: int = 32, batches: int | None = None
) -> dict[str, tuple[float, float]]:
    """Estimate the statistics of a graph's batch norms anew, in place; see ``recalibrate_batch_norm``.

    Args:
        graph: The graph.
        data: As for ``recalibrate_batch_norm``.
        batch_size: Samples per batch.
        batches: How many batches to use at most; by default all.

    Returns:
        For each batch norm how far its mean moved, in standard deviations, and by which factor its standard deviation
        grew, both as averages (of squares, and geometric) over its channels.

    Raises:
        OptionError: There is no data, it does not fit the inputs, or holds NaN; a number is below one.
    """
    for name, number in (("batch_size", batch_size), ("batches", batches)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise OptionError(f"{name!r} must be a positive whole number.", got=repr(number))
    tied = graph.tied_layers()  # what is used elsewhere has the statistics of both places
    norms = [node for node in graph.nodes() if graph.kind(node) == "BatchNormalization" and node.layer not in tied]
    if not norms:
        return {}
    names = {node.name for node in norms}
    runner = _Calibrator(graph, names)
    for count, batch in enumerate(input_batches(graph, data, batch_size), start=1):
        for node, tensors in runner.walk(batch, until=names):
            if node.name == norms[-1].name:
                runner.call(node, tensors)  # the walk ends before it
        if count == batches:
            break
    moved = {}
    for key, total in runner.totals.items():
        layer = graph.layers[key]
        old_mean = np.asarray(layer.weights["moving_mean"].array, np.float64)
        old_deviation = _deviation(layer.weights["moving_variance"].array, layer.config["epsilon"])
        mean, variance = total.mean, total.variance
        deviation = _deviation(variance, layer.config["epsilon"])
        graph.update_layer(key, layer.with_weights(moving_mean=mean, moving_variance=variance))
        shift = float(np.sqrt(np.mean(np.square((mean - old_mean) / old_deviation))))
        moved[key] = shift, float(np.exp(np.mean(np.log(deviation / old_deviation))))
    return moved


def _deviation(variance: Array, epsilon: float) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.asarray(variance, np.float64), 0.0) + max(epsilon, 1e-12)))


class _Total:
    """Means and variances of batches, put together."""

    def __init__(self) -> None:
        self.count, self.sums, self.squares = 0, np.zeros(()), np.zeros(())

    def add(self, count: int, mean: Array, variance: Array) -> None:
        self.count += count
        self.sums = self.sums + count * mean
        self.squares = self.squares + count * (variance + mean**2)

    @property
    def mean(self) -> Array:
        return np.asarray(self.sums / self.count)

    @property
    def variance(self) -> Array:
        return np.asarray(np.maximum(self.squares / self.count - self.mean**2, 0.0))


class _Calibrator(Runner):
    """Runs batch norms by the statistics of the batch, and sums these up."""

    def __init__(self, graph: Graph, norms: set[str]) -> None:
        super().__init__(graph)
        self.norms = norms
        self.totals: dict[str, _Total] = {}

    def call(self, node: Node, tensors: Mapping[Value, Any]) -> list[Any]:
        if node.name not in self.norms:
            return super().call(node, tensors)
        layer = self.graph.layer_of(node)
        tensor = tensors[node.inputs[0]]
        array = np.asarray(keras.ops.convert_to_numpy(tensor))
        axis = layer.config["axis"]
        axis = (axis if isinstance(axis, int) else axis[0]) % array.ndim
        others = tuple(place for place in range(array.ndim) if place != axis)
        mean = array.mean(axis=others, dtype=np.float64)
        shape = [1] * array.ndim
        shape[axis] = -1
        variance = np.square(array - mean.reshape(shape)).mean(axis=others, dtype=np.float64)
        count = array.size // array.shape[axis]
        self.totals.setdefault(node.layer, _Total()).add(count, mean, variance)
        gamma, beta = layer.array("gamma"), layer.array("beta")
        scale = 1.0 / np.sqrt(variance + layer.config["epsilon"])
        scale = scale if gamma is None else scale * gamma
        shift = -mean * scale if beta is None else beta - mean * scale
        scale, shift = (part.reshape(shape).astype("float32") for part in (scale, shift))
        dtype = node.spec.dtype
        result = keras.ops.cast(tensor, "float32") * scale + shift
        return [keras.ops.cast(result, dtype)]
