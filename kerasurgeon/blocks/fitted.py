"""Fit networks that are put in place of regions, without training: their statistics, and their last linear layer.

A network with random kernels makes many random features of what enters. Its batch norms take the statistics of these,
and its last layer, a 1x1 convolution or a Dense layer, becomes the matrix that makes of them, by least squares, what
the region made (random features: Rahimi and Recht, "Weighted Sums of Random Kitchen Sinks", NeurIPS 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.blocks.calibration import SAMPLES, Reader, batch_size, require_finite
from kerasurgeon.blocks.compensation import so_far
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.recover.batch_norm import recalibrate_graph
from kerasurgeon.rewrite.regions import Region
from kerasurgeon.rules.asking import linear_form
from kerasurgeon.rules.linear import LinearForm

Array = np.ndarray[Any, Any]

_ROWS = 32768
"""Positions that a layer is fitted to, at most; a position is a row of features."""

_MEMORY = 2**28
"""Bytes of what enters and leaves a region that are held, at most."""

_HELD_OUT = 8
"""One sample in so many chooses the strength of the ridge."""


def fit_steps(
    graph: Graph,
    found: Sequence[Region],
    steps: Sequence[BlockStep],
    data: Any,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> list[BlockStep]:
    """The steps with networks that make, as well as their last layers can, what the regions made.

    Each is fitted to what enters it in the network without the regions before it.

    Args:
        graph: The graph; it is only read.
        found: The regions, in the order of the network.
        steps: What is put in their places. A network whose last layer is no linear one of single positions, with or
            without a batch norm behind it, has its statistics taken and stays else as it is.
        data: Calibration data, see ``input_batches``.
        samples: How many samples are used, at most; fewer where they take much memory.
        seed: Draws positions, where there are very many.
        progress: Called with the fraction done and the region.

    Returns:
        The steps; option ``error`` says what of the variance of what the region gave is missed, on held-out samples.

    Raises:
        OptionError: The data cannot be used.
    """
    done: list[BlockStep] = []
    for place, (region, step) in enumerate(zip(found, steps, strict=True)):
        if progress is not None:
            progress(place / len(found), region.name)
        if step.network is None:
            done.append(step)
            continue
        changed, entry = so_far(graph, done, region)
        enters, leaves = _tensors(graph, changed, region, entry, data, samples)
        network = step.network.copy()
        recalibrate_graph(network, enters, batch_size=64)
        error = _fit_last(network, enters, leaves, np.random.default_rng(seed))
        options = dict(step.options) if error is None else {**step.options, "error": round(error, 6)}
        done.append(replace(step, network=network, options=options))
    return done


def _tensors(
    graph: Graph, changed: Graph, region: Region, entry: Value, data: Any, samples: int
) -> tuple[Array, Array]:
    """What enters a region in the network as it is changed so far, and what leaves it in the original."""
    before, after = Reader(graph, [region.exit]), Reader(changed, [entry])
    size = batch_size(graph, [region.entry, region.exit])
    enters: list[Array] = []
    leaves: list[Array] = []
    for batch in input_batches(graph, data, size, most=samples):
        pair = np.asarray(after(batch)[entry]), np.asarray(before(batch)[region.exit])
        if enters and (pair[0].shape[1:], pair[1].shape[1:]) != (enters[0].shape[1:], leaves[0].shape[1:]):
            continue  # images of another size than the first ones
        enters.append(pair[0])
        leaves.append(pair[1])
        if sum(array.nbytes for array in (*enters, *leaves)) > _MEMORY:
            break
    require_finite((*enters, *leaves), region.name)
    return np.concatenate(enters), np.concatenate(leaves)


def _fit_last(network: Graph, enters: Array, wanted: Array, rng: np.random.Generator) -> float | None:
    """Fit the last linear layer, in place; the error on held-out samples, ``None`` where there is no such layer."""
    last = _last_linear(network)
    if last is None or len(enters) < 2:
        return None
    node, form, norm = last
    value = node.inputs[0]
    axis = form.axis(len(network.spec(value).shape))
    reader = Reader(network, [value])
    size = batch_size(network, [value])
    places = int(np.prod(wanted.shape)) // (len(wanted) * wanted.shape[axis])
    chosen = np.sort(rng.permutation(places)[: max(_ROWS // len(enters), 1)])
    batches = input_batches(network, enters, size)
    x = np.concatenate([_rows(np.asarray(reader(batch)[value]), axis, chosen) for batch in batches])
    y = _rows(wanted, axis, chosen)
    held_out = np.repeat(np.arange(len(enters)) % _HELD_OUT == 0, len(chosen))
    mean, weight = fitted(x, y, held_out, None)
    shift = y.astype(np.float64).mean(axis=0)
    missed = np.square(y[held_out] - shift - (x[held_out] - mean) @ weight).sum()
    error = float(missed / max(float(np.square(y[held_out] - shift).sum()), 1e-30))
    _put(network, node, form, norm, weight, mean, shift, (x - mean) @ weight)
    return error


def _put(
    network: Graph,
    node: Node,
    form: LinearForm,
    norm: Node | None,
    weight: Array,
    mean: Array,
    shift: Array,
    made: Array,
) -> None:
    """Give the layer its matrix; a batch norm behind it normalises what that makes, and scales it back."""
    layer = network.layer_of(node)
    key, bias = form.kernels[0].key, layer.array(form.bias)
    network.set_weight(node.layer, key, weight.reshape(layer.weights[key].shape))
    offset = mean @ weight
    if norm is None:
        network.set_weight(node.layer, form.bias, shift - offset)
        return
    variance = made.var(axis=0)
    values = {
        "gamma": np.sqrt(variance + float(network.layer_of(norm).config["epsilon"])),
        "beta": shift,
        "moving_mean": offset if bias is None else offset + bias,
        "moving_variance": variance,
    }
    for name, array in values.items():
        network.set_weight(norm.layer, name, array)


def _last_linear(network: Graph) -> tuple[Node, LinearForm, Node | None] | None:
    """The layer that makes a network's result, position by position, and the batch norm behind it."""
    (value,) = values_in(network.outputs)
    node, norm = network[value.node], None
    if network.kind(node) == "BatchNormalization" and {"gamma", "beta"} <= set(network.layer_of(node).weights):
        norm, node = node, network[node.inputs[0].node]
    layer = network.layer_of(node)
    form = linear_form(layer)
    if form is None or not form.by_patches or not form.pointwise or form.single is None or form.single.groups > 1:
        return None
    if form.window is not None and any(step != 1 for step in form.window.strides):
        return None
    if layer.config.get("activation") not in (None, "linear") or len(network.calls(node.layer)) > 1:
        return None
    return (node, form, norm) if norm is not None or form.bias in layer.weights else None


def _rows(array: Array, axis: int, chosen: Array) -> Array:
    """Some positions of each sample as rows of channels."""
    rows = np.moveaxis(array, axis, -1).reshape(len(array), -1, array.shape[axis])
    return np.asarray(rows[:, chosen].reshape(-1, array.shape[axis]))


__all__ = ["fit_steps"]
