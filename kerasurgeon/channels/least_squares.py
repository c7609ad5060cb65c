"""Fit the kernels of layers that lost inputs to what they gave before.

For a layer that gave ``Y = X W + b`` from the whole network, and reads ``X'`` of the kept channels in the network
compensated so far, kernel and bias become the solution of

    min over V, c:  | X' V + c - Y |^2 + ridge * trace(X' X'^T) / size * | V - W' |^2

with ``W'`` the kernel's rows of kept channels: directions that the data does not show stay as they are. How strongly
they are held there is chosen for every layer by the last quarter of the samples, which the fit does not see; where no
fit helps there, only the bias changes. Convolutions are taken as products with their patches (im2col) at positions
drawn at random, groups each by themselves. Layers are fitted in the order of the network, each with the inputs that the
fitted layers before it give, so that later layers make up for what earlier ones could not. The normal equations are
added up in float64 and solved by Cholesky factorisation, over the columns or the rows, whichever are fewer.

References:
    Luo et al., "ThiNet", ICCV 2017, section 3.2.3; He et al., "Channel Pruning for Accelerating Very Deep Neural
    Networks", ICCV 2017, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.consumers import Consumer, put
from kerasurgeon.channels.linear_part import linear_part, run_linear, to_bias
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.measured import samples_at_once
from kerasurgeon.channels.patches import channels_last, drawn, numpy_of, output_positions, patches
from kerasurgeon.channels.recurrent_fit import Losing, fitted_kernels
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.channels.scatter_layer import SCATTER
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import sealed
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.injection import brief_variables
from kerasurgeon.keras_io.running import Runner, last_uses
from kerasurgeon.keras_io.tensors import new_array
from kerasurgeon.rules.asking import channel_form

Array = np.ndarray[Any, Any]

MOST_SAMPLES = 512
_MEMORY = 2**29
# Bytes that are added at a time.
_BLOCK = 2**22
_FEWEST_ROWS, _MOST_ROWS = 4096, 8192
# Outputs that vary less than this share of what they did are not brought back by a factor: it would be noise.
_LEAST = 0.05


def reconstruct(
    graph: Graph,
    channels: Channels,
    gone: Array,
    consumers: dict[str, list[Consumer]],
    data: Any,
    *,
    ridge: float | None = None,
    seed: int = 0,
    kernels: bool = True,
    twin: Graph | None = None,
    losing: Mapping[str, Losing] | None = None,
) -> list[str]:
    """Fit all layers that lose inputs, in place, in the order of the network. See the module.

    At most 512 samples are used, fewer where the tensors that are alive together would take more than 512 MiB in either
    of the two networks; of each layer, up to 8,192 output positions.

    Args:
        graph: The whole graph.
        channels: Its analysis.
        gone: For every unit whether it goes.
        consumers: Who loses inputs, by layer.
        data: Calibration data, see ``input_batches``.
        ridge: How strongly kernels are held to what they are; by default chosen for each layer on held-out samples.
        seed: Draws the positions.
        kernels: Whether kernels are fitted element by element, and not only scaled, output by output.
        twin: The graph in which the units are gone, if that is not the masked one; it is fitted too.
        losing: Recurrent layers that are to be fitted, by node.

    Returns:
        Notes on what was done.
    """
    count = min(MOST_SAMPLES, samples_at_once(graph, _MEMORY))
    blocks = list(input_batches(graph, data, count, most=count))
    batch = [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]
    fit = _Fit(graph, channels, gone, consumers, ridge, np.random.default_rng(seed), kernels, twin, losing or {})
    return fit.run(batch)


class _Fit:
    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        gone: Array,
        consumers: dict[str, list[Consumer]],
        ridge: float | None,
        rng: np.random.Generator,
        kernels: bool,
        twin: Graph | None,
        losing: Mapping[str, Losing],
    ) -> None:
        self.graph, self.channels, self.gone, self.losing = graph, channels, gone, losing
        self.consumers, self.ridge, self.rng, self.kernels = consumers, ridge, rng, kernels
        self.whole, self.twin = graph.copy(), _masked(graph, channels, gone) if twin is None else twin
        self.notes: list[str] = []

    def run(self, batch: list[Array]) -> list[str]:
        """Run the whole and the masked network side by side, and fit each layer when it is its turn."""
        by_node = {consumer.node.name: consumer for several in self.consumers.values() for consumer in several}
        left = {*by_node, *self.losing}
        originals = {node.name: node for node in self.whole.nodes()}
        one = Runner(self.whole)
        other = Runner(self.twin, like=one)
        before = one.feed(batch)
        after = dict(before)
        order = [node for node in self.twin.nodes() if self.twin.kind(node) != "InputLayer"]
        ends = last_uses(order)
        whole_ends = last_uses([originals.get(node.name, node) for node in order])
        for place, node in enumerate(order):
            if not left:
                break
            old = originals.get(node.name)
            if node.name in left:
                left.discard(node.name)
                if node.name in self.losing:
                    self._fit_steps(self.losing[node.name], before, after)
                else:
                    self._settle(by_node[node.name], before, after)
                other.forget(node.layer)
            same = (
                old is not None
                and old.inputs == node.inputs
                and self.whole.layers[old.layer] is self.twin.layers[node.layer]
                and all(before[value] is after[value] for value in node.inputs)
            )
            for index, output in enumerate(other.call(node, after)):
                after[Value(node.name, index)] = output
            if old is not None:
                outputs = [after[Value(node.name, index)] for index in range(len(old.outputs))]
                for index, output in enumerate(outputs if same else one.call(old, before)):
                    before[Value(node.name, index)] = output
            for value in ends.get(place, ()):
                after.pop(value, None)
            for value in whole_ends.get(place, ()):
                before.pop(value, None)
        return self.notes

    def _settle(self, consumer: Consumer, before: dict[Value, Any], after: dict[Value, Any]) -> None:
        """Compensate one layer, in the graph and in its masked twin."""
        node, key = consumer.node, consumer.node.layer
        layer = self.graph.layers[key]
        several = self.consumers[key]
        if several[-1] is not consumer:
            return  # a layer with several calls is settled at its last one, by what that one reads
        current = self.twin[node.name].inputs[0]
        if layer.kind == SCATTER:
            shift = np.asarray(keras.ops.convert_to_numpy(before[consumer.value]), np.float64)
            axis = layer.config["axis"] % shift.ndim
            mean = np.where(consumer.gone, shift, 0.0).mean(axis=tuple(p for p in range(shift.ndim) if p != axis))
            for graph in (self.graph, self.twin):
                graph.set_weight(key, "fill", layer.weights["fill"].array + mean)
            self.notes.append(f"{key!r} takes up what {consumer.count} channels gave")
            return
        form = channel_form(layer)
        fits = form is not None and form.by_patches and len(self.graph.calls(key)) == 1
        if fits and self.kernels:
            self._fit(consumer, before[consumer.value], after[current])
            return
        target = _linear(self.whole, self.whole[node.name], before[consumer.value])
        given = _linear(self.twin, self.twin[node.name], after[current])
        if fits:
            ends = channels_last(layer.config, target), channels_last(layer.config, given)
            self._rescale(key, *ends, consumer.count)
            return
        why = "" if len(self.graph.calls(key)) == 1 else " (it has several calls)"
        shift = to_bias(layer, target - given)
        self._shift(key, shift, f"{key!r} takes up what {consumer.count} channels gave in its bias{why}")

    def _fit(self, consumer: Consumer, before: Any, after: Any) -> None:
        """Fit the kernel and the bias of a layer by what it read in the whole network, and reads now."""
        key = consumer.node.layer
        layer = self.graph.layers[key]
        form = channel_form(layer)
        assert form is not None
        assert form.single is not None
        own = form.single
        kernel = own.seen(self.whole.layers[key].weights[own.key].array)
        had, has = (channels_last(layer.config, numpy_of(tensor)) for tensor in (before, after))
        change, shift = self._solved(layer.config, kernel, had, has, ~consumer.gone.ravel())
        for graph in (self.graph, self.twin):
            kernel = own.seen(graph.layers[key].weights[own.key].array)
            graph.set_weight(key, own.key, own.seen(_sum(kernel, change.reshape(kernel.shape))))
        self._shift(key, shift, f"{key!r} is fitted to what it gave with {consumer.count} channels more")

    def _fit_steps(self, losing: Losing, before: dict[Value, Any], after: dict[Value, Any]) -> None:
        """Fit the kernels of a recurrent layer, in the graph and in its masked twin."""
        key = losing.node.layer
        whole, twin = self.whole.layers[key], self.twin.layers[key]
        had, has = before[losing.value], after[self.twin[losing.node.name].inputs[0]]
        mask = None if losing.mask is None else before[losing.mask]
        changes = fitted_kernels(whole, twin, losing, had, has, mask, self.ridge, self.rng)
        for graph in (self.graph, self.twin):
            for name, change in changes.items():
                graph.set_weight(key, name, graph.layers[key].weights[name].array + change)
        fit = f"is fitted to the states that it had with {losing.count} features and units more"
        self.notes.append(f"{key!r} {fit if changes else 'stays as it is: no fit brings its states closer'}")

    def _rescale(self, key: str, target: Array, given: Array, count: int) -> None:
        """Scale and move every output of a layer to where it is closest to what it was."""
        layer = self.graph.layers[key]
        form = channel_form(layer)
        assert form is not None
        assert form.single is not None
        axes = tuple(range(target.ndim - 1))
        had, has = target - target.mean(axis=axes), given - given.mean(axis=axes)
        products, squares = (had * has).sum(axis=axes), np.square(has).sum(axis=axes)
        known = squares > _LEAST**2 * np.square(had).sum(axis=axes)
        factor = np.where(known, products / np.maximum(squares, 1e-30), 1.0)
        own = form.single
        for graph in (self.graph, self.twin):
            kernel = own.seen(graph.layers[key].weights[own.key].array)
            graph.set_weight(key, own.key, own.seen(kernel * factor))
        shift = target.mean(axis=axes) - factor * given.mean(axis=axes)
        self._shift(key, shift, f"{key!r} is scaled and moved to what it gave with {count} channels more")

    def _shift(self, key: str, shift: Array, note: str) -> None:
        for graph in (self.twin, self.graph):
            problem = put(graph, self.channels, key, shift)
        self.notes.append(note if not problem else f"{key!r} is not compensated: {problem}")

    def _solved(self, config: Any, kernel: Array, before: Array, after: Array, kept: Array) -> tuple[Array, Array]:
        """The change of the kernel, zero for channels that go, and of the bias, by what is read before and after.

        What the layer gives is computed only where it is looked at: a convolution at some thousand positions costs a
        small part of that at all of them.
        """
        groups = int(config.get("groups", 1))
        filters = kernel.shape[-1]
        taps = int(np.prod(config.get("kernel_size", (1,))))
        size = after.shape[-1] // groups
        matrix = kernel.reshape(taps, size, filters)
        change = np.zeros(matrix.shape)
        most = max(_FEWEST_ROWS, min(2 * taps * size, _MOST_ROWS))
        positions = drawn(output_positions(config, after.shape), most, self.rng)
        held_out = positions[:, 0] >= int(0.75 * len(after)) if self.ridge is None else None
        shift = np.zeros(filters)
        for group in range(groups):
            columns = np.flatnonzero(kept.reshape(groups, size)[group])
            own = slice(group * filters // groups, (group + 1) * filters // groups)
            every = slice(group * size, (group + 1) * size)
            whole = patches(config, before[..., every], positions).reshape(len(positions), -1)
            rows = patches(config, after[..., group * size + columns], positions).reshape(len(positions), -1)
            had = whole @ matrix[..., own].reshape(taps * size, -1)
            wanted = had.astype(np.float64) - rows @ matrix[:, columns, own].reshape(rows.shape[1], -1)
            shift[own] = wanted.mean(axis=0)
            if len(columns):
                mean, solution = fitted(rows, wanted, held_out, self.ridge)
                change[:, columns, own] = solution.reshape(taps, len(columns), -1)
                shift[own] -= mean @ solution
        return change, shift


def _sum(kernel: Array, change: Array) -> Array:
    """Their sum in the kernel's dtype, a block at a time."""
    result = new_array(kernel.shape, kernel.dtype)
    block = max(1, _BLOCK // max(1, change.nbytes // max(1, len(change))))
    for start in range(0, len(change), block):
        own = slice(start, start + block)
        result[own] = kernel[own] + change[own]
    return sealed(result)


def _masked(graph: Graph, channels: Channels, gone: Array) -> Graph:
    twin = graph.copy()
    mask_units(twin, channels, gone)
    return twin


def _linear(graph: Graph, node: Node, tensor: Any) -> Array:
    with brief_variables():
        return run_linear(graph, node, linear_part(graph, node), tensor)
