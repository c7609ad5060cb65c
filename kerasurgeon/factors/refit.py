"""Fit layers of a changed network to what they gave, in the order of the network.

Factors are made layer by layer, each for what its layer reads in the whole network. In the factorised one a chain reads
something else: what the chains before it give, errors included. So the last kernel of every chain is fitted by ridge
regression to what the layer gave in the whole network, from what the chain itself computes behind the layers fitted
before it, and its bias, or the batch norm behind it, is moved by what is left on average. How strongly the kernel is
held to what it was is chosen on the last quarter of the samples.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasurgeon.channels.biases import add_to_bias, batch_norm_behind
from kerasurgeon.channels.measured import samples_at_once
from kerasurgeon.channels.patches import channels_last, drawn, numpy_of, output_positions, patches
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.factors.kernels.method import Factors
from kerasurgeon.factors.sites import Site
from kerasurgeon.factors.stored_kernels import grouped, stored
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.rules.asking import channel_form

Array = np.ndarray[Any, Any]

_MOST_SAMPLES = 512
_MEMORY = 2**29
_FEWEST_ROWS, _MOST_ROWS = 4096, 8192


@dataclass(frozen=True)
class Target:
    """What a layer is fitted to.

    Attributes:
        key: The layer of the whole network.
        kept: Which of its output channels; ``None`` for all.
    """

    key: str
    kept: tuple[int, ...] | None = None


def fit_in_order(
    whole: Graph, graph: Graph, targets: Mapping[str, Target], data: Any, seed: int
) -> dict[str, tuple[Array, Array]]:
    """Fit layers of a graph, in place.

    Args:
        whole: The graph as it was.
        graph: The graph as it is.
        targets: By key of a layer what it is fitted to. Passed over are layers that are no convolution and no Dense
            layer, or have several calls, or other channels or positions than their target.
        data: Calibration data, see ``input_batches``; of at most 512 samples, fewer where tensors would take more than
            512 MiB.
        seed: Draws the output positions that are looked at, up to 8,192 of each layer.

    Returns:
        By key of the layer its kernel, as it is stored, and what was added to its bias.
    """
    fits = {graph.calls(key)[0].name: target for key, target in targets.items() if _fits(whole, graph, key, target)}
    if not fits:
        return {}
    count = min(_MOST_SAMPLES, samples_at_once(whole, _MEMORY), samples_at_once(graph, _MEMORY))
    blocks = list(input_batches(whole, data, count, most=count))
    batch = [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]
    found: dict[str, tuple[Array, Array]] = {}
    runner = Runner(graph)
    with closing(_Wanted(whole, graph, fits, batch, np.random.default_rng(seed))) as wanted:
        for node, tensors in runner.walk(batch, set(fits)):
            if node.name not in fits:
                continue
            layer = graph.layer_of(node)
            config = layer.config
            tensor = channels_last(config, numpy_of(tensors[node.inputs[0]]))
            positions, had = wanted.of(node.name)
            left = (had - _given(graph, node, tensor, positions)).astype(np.float64)
            kernel, shift = _solved(layer, tensor, positions, left, positions[:, 0] >= int(0.75 * len(tensor)))
            graph.set_weight(node.layer, "kernel", kernel)
            add_to_bias(graph, graph[node.name], shift)
            runner.forget(node.layer)
            found[node.layer] = kernel, shift
    return found


def refitted(
    whole: Graph, graph: Graph, made: Mapping[str, tuple[Site, Factors]], ends: Mapping[str, str], data: Any, seed: int
) -> dict[str, tuple[Site, Factors]]:
    """Fit the last kernels of chains in a graph, in place.

    Args:
        whole: The graph before.
        graph: The graph with the chains.
        made: The factors by key of the layer.
        ends: Key of the last layer of each chain.
        data: As for ``fit_in_order``.
        seed: Likewise.

    Returns:
        The factors as they are now. Those of layers with several calls, of transposed convolutions, with a residual, or
        that end in a separable layer are as they were.
    """
    targets = {ends[key]: Target(key) for key, (_, factors) in made.items() if factors.residual is None}
    found = fit_in_order(whole, graph, targets, data, seed)
    result = dict(made)
    for key, (site, factors) in made.items():
        if ends[key] in found:
            kernel, shift = found[ends[key]]
            last = grouped(kernel, len(factors.kernels[-1])).astype(factors.kernels[-1].dtype)
            bias = shift if factors.bias is None else factors.bias + shift
            result[key] = site, replace(factors, kernels=(*factors.kernels[:-1], last), bias=bias.astype(last.dtype))
    return result


class _Wanted:
    """What layers gave in the whole network at some positions, as far as it has been run."""

    def __init__(
        self, whole: Graph, graph: Graph, fits: Mapping[str, Target], batch: list[Array], rng: np.random.Generator
    ) -> None:
        self._whole, self._rng = whole, rng
        self._names = {whole.calls(target.key)[0].name: name for name, target in fits.items()}
        self._kept = {name: target.kept for name, target in fits.items()}
        self._rows = {name: 2 * int(np.prod(_kernel(graph.layer_of(graph[name])).shape[1:-1])) for name in fits}
        self._known: dict[str, tuple[Array, Array]] = {}
        self._walk = self._all(batch)

    def of(self, name: str) -> tuple[Array, Array]:
        """Positions, and what is wanted there of a node of the changed network."""
        while name not in self._known:
            next(self._walk)
        return self._known.pop(name)

    def close(self) -> None:
        """End the run of the whole network. It holds this object, and with it layers and tensors."""
        self._walk.close()

    def _all(self, batch: list[Array]) -> Generator[None, None, None]:
        for node, tensors in Runner(self._whole).walk(batch, set(self._names)):
            name = self._names.get(node.name)
            if name is not None:
                config = self._whole.layer_of(node).config
                tensor = channels_last(config, numpy_of(tensors[node.inputs[0]]))
                rows = max(_FEWEST_ROWS, min(_MOST_ROWS, self._rows[name]))
                positions = drawn(output_positions(config, tensor.shape), rows, self._rng)
                given = _given(self._whole, node, tensor, positions)
                kept = self._kept[name]
                self._known[name] = positions, given if kept is None else given[:, list(kept)]
                yield


def _fits(whole: Graph, graph: Graph, key: str, target: Target) -> bool:
    now, was = graph.layers.get(key), whole.layers.get(target.key)
    if now is None or was is None or len(graph.calls(key)) != 1 or len(whole.calls(target.key)) != 1:
        return False
    axis = _channel_axis(was, whole.calls(target.key)[0])
    if axis is None or _channel_axis(now, graph.calls(key)[0]) != axis:
        return False
    given, wanted = graph.calls(key)[0].spec.shape, list(whole.calls(target.key)[0].spec.shape)
    if target.kept is not None:
        wanted[axis] = len(target.kept)
    return list(given[1:]) == wanted[1:]


def _channel_axis(layer: Layer, node: Node) -> int | None:
    """The axis of what a layer gives, if it multiplies patches by its kernel as it is stored."""
    form = channel_form(layer)
    if form is None or not form.by_patches or form.transposed or form.single is None or form.bias != "bias":
        return None
    kernel = layer.weights.get("kernel")
    plain = form.single.key == "kernel" and kernel is not None
    if kernel is None or not plain or not np.array_equal(form.single.seen(kernel.array), kernel.array):
        return None
    return form.axis(len(node.spec.shape))


def _kernel(layer: Layer) -> Array:
    return grouped(layer.weights["kernel"].array, int(layer.config.get("groups", 1)))


def _rows(config: Mapping[str, Any], tensor: Array, positions: Array, groups: int) -> list[Array]:
    """What each group reads at some output positions."""
    size = tensor.shape[-1] // groups
    parts = (tensor[..., group * size : (group + 1) * size] for group in range(groups))
    return [patches(config, part, positions).reshape(len(positions), -1) for part in parts]


def _given(graph: Graph, node: Node, tensor: Array, positions: Array) -> Array:
    """What a layer gives at some positions: before its activation, around the mean of a batch norm behind it."""
    layer = graph.layer_of(node)
    kernel = _kernel(layer)
    several = zip(_rows(layer.config, tensor, positions, len(kernel)), kernel, strict=True)
    given = np.concatenate([rows @ own.reshape(-1, own.shape[-1]) for rows, own in several], axis=-1)
    bias, norm = layer.array("bias"), batch_norm_behind(graph, node)
    mean = None if norm is None else graph.layer_of(norm).array("moving_mean")
    return np.asarray(given + (0.0 if bias is None else bias) - (0.0 if mean is None else mean))


def _solved(layer: Layer, tensor: Array, positions: Array, left: Array, held_out: Array) -> tuple[Array, Array]:
    """The kernel as it is stored, and what is to be added to the bias."""
    kernel = _kernel(layer)
    changed, shift, width = kernel.astype(np.float64), left.mean(axis=0), kernel.shape[-1]
    for group, rows in enumerate(_rows(layer.config, tensor, positions, len(kernel))):
        own = slice(group * width, (group + 1) * width)
        mean, change = fitted(rows, left[:, own], held_out, None)
        changed[group] += change.reshape(kernel.shape[1:])
        shift[own] -= mean @ change
    return stored(changed).astype(layer.weights["kernel"].array.dtype), shift


__all__ = ["Target", "fit_in_order", "refitted"]
