"""What a model would cost with fewer channels, told from the analysis without cutting anything.

Parameters and bytes follow from the sizes of the weights: products of how many positions stay along their axes. So do
MACs of most layers, by a number of MACs per element of their kernels; whether it is so is tried out at the start, call
by call, and calls for which it is not (attention scores) are asked for again each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.candidates import axes
from kerasurgeon.channels.cut import _set
from kerasurgeon.channels.importance import Array
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef, dtype_bytes
from kerasurgeon.rules import CannotTell, Sizes, resolve, rule_for
from kerasurgeon.rules.call import Call, array_spec
from kerasurgeon.rules.channel_call import ChannelCall, Held
from kerasurgeon.rules.keep import Keep

MEASURES = ("macs", "params", "bytes")
_TRIALS = 8


class Budget:
    """Costs of a graph by what goes.

    Args:
        channels: The analysis of the graph.
        sizes: Sizes of the inputs that MACs are counted for, as for ``kerasurgeon.cost``.

    Attributes:
        rates: MACs per element of the kernels of a layer, by its key, for layers whose MACs follow their kernels.
    """

    def __init__(self, channels: Channels, sizes: Sizes | None = None) -> None:
        self.channels = channels
        self.graph = channels.graph
        self.specs = resolve(self.graph, sizes=sizes)
        self._index_weights()
        self._index_calls()

    def of(self, measure: str, gone: Array) -> float:
        """MACs for one sample, ``"params"`` or ``"bytes"`` when some units are gone.

        Args:
            measure: One of ``MEASURES``.
            gone: For every unit whether it goes.
        """
        sizes = self._sizes(gone)
        if measure == "params":
            return float(sizes @ self._counted)
        if measure == "bytes":
            return float(sizes @ self._element_bytes)
        total = float(sizes @ self._rates) + self._constant
        if self.odd:
            keep = self.channels.keep(gone)
            total += sum(self.call_macs(node, keep) or 0 for node in self.odd)
        return float(round(total))

    def call_macs(self, node: Node, keep: Keep) -> int | None:
        """The MACs of one call, from its rule; ``None`` where they cannot be told."""
        call = self.channels.calls.get(node.name)
        layer = self.graph.layers[node.layer]
        if call is not None:
            layer = self._shrunk(layer, node.layer, call, keep)
        try:
            return rule_for(layer.kind).macs(self._call(node, layer, call, keep))
        except CannotTell:
            return None

    # Weights.

    def _index_weights(self) -> None:
        """For every weight: a constant size, and the axes that shrink, by their place in one long array of units."""
        axes: dict[tuple[int, int], int] = {}
        pieces: list[Array] = []
        constants, places, widths, counted, self._owners, self._is_kernel = [], [], [], [], [], []
        layers = self.graph.layers
        elsewhere = self.graph.counted_elsewhere()
        for key, layer in layers.items():
            for path, weight in layer.weights.items():
                size, own = weight.array.size, []
                for held in self.channels.weights.get((key, path), ()):
                    for place, axis in enumerate(held.axes):
                        units = self._along(held, place)
                        if units is None or not weight.array.shape[axis]:
                            continue
                        index = axes.setdefault((id(held.ids), place), len(pieces))
                        if index == len(pieces):
                            pieces.append(units)
                        own.append(index)
                        size //= weight.array.shape[axis]
                counted.append((key, path) not in elsewhere)
                constants.append(size)
                places.append(own)
                widths.append(dtype_bytes(str(weight.array.dtype)))
                self._owners.append(key)
                self._is_kernel.append(weight.array.ndim > 1)
        most = max((len(own) for own in places), default=0)
        blank = len(pieces)
        self._places = np.array([own + [blank] * (most - len(own)) for own in places], int).reshape(-1, most)
        self._constants = np.array(constants, float)
        self._counted = np.array(counted, float)
        self._element_bytes = np.array(widths, float) * self._counted
        self._units = np.concatenate(pieces) if pieces else np.zeros(0, int)
        self._starts = np.cumsum([0, *(len(piece) for piece in pieces)])[:-1]

    def _along(self, held: Held, place: int) -> Array | None:
        """A unit for every position along an axis; ``None`` where the axis stays whatever goes."""
        units = self.channels.unit[held.ids]
        if units.ndim == 1:
            return units
        rows = np.moveaxis(units, place, 0).reshape(units.shape[place], -1)
        # Arrays of labels are settled: they vary along one axis only, so that any column tells.
        return rows[:, 0] if not len(rows) or bool((rows == rows[:, :1]).all()) else None

    def _sizes(self, gone: Array) -> Array:
        counts = np.ones(len(self._starts) + 1)
        if len(self._units):
            counts[:-1] = np.add.reduceat((~gone[self._units]).astype(np.int64), self._starts)
        return np.asarray(self._constants * counts[self._places].prod(axis=1))

    # Calls.

    def _index_calls(self) -> None:
        """Find for every call whether its MACs follow its kernels' elements, are constant, or must be asked for."""
        trials = [np.zeros(self.channels.units, bool), *(self._trial(seed) for seed in range(_TRIALS))]
        keeps = [self.channels.keep(trial) for trial in trials]
        kernels: list[dict[str, float]] = []
        for trial in trials:
            elements: dict[str, float] = {}
            for owner, kernel, size in zip(self._owners, self._is_kernel, self._sizes(trial).tolist(), strict=True):
                elements[owner] = elements.get(owner, 0.0) + size * kernel
            kernels.append(elements)
        number = Counter(owner for owner, kernel in zip(self._owners, self._is_kernel, strict=True) if kernel)
        rates: dict[str, float] = {}
        self._constant = 0.0
        self.odd: list[Node] = []
        for node in self.graph.nodes():
            whole = None if self.graph.kind(node) == "InputLayer" else self.call_macs(node, keeps[0])
            if not whole:
                continue
            # Several kernels may follow the rate of one by chance: these are tried more often.
            tried = keeps[1 : 3 if number[node.layer] == 1 else None]
            macs = [self.call_macs(node, keep) for keep in tried]
            size = kernels[0].get(node.layer, 0.0)
            rate = whole / size if size else 0.0
            if size and all(
                _close(one, rate * other[node.layer]) for one, other in zip(macs, kernels[1:], strict=False)
            ):
                rates[node.layer] = rates.get(node.layer, 0.0) + rate
            elif set(macs) == {whole}:
                self._constant += whole
            else:
                self.odd.append(node)
        self.rates: Mapping[str, float] = rates
        self._rates = np.array(
            [rates.get(owner, 0.0) * kernel for owner, kernel in zip(self._owners, self._is_kernel, strict=True)]
        )

    def _trial(self, seed: int) -> Array:
        """Units to take away at random, so that something stays of every axis."""
        rng = np.random.default_rng(seed)
        gone: Array = rng.random(self.channels.units) < (0.3, 0.6)[seed % 2]
        gone[list(self.channels.frozen)] = False
        for ids, _ in axes(self.channels):
            units = self.channels.unit[ids.ravel()]
            if gone[units].all():
                gone[units[:1]] = False
        return gone

    def _shrunk(self, layer: Layer, key: str, call: ChannelCall, keep: Keep) -> Layer:
        """A layer as a cut would leave it, with weights of the right shape that take no memory."""
        weights = dict(layer.weights)
        for path, weight in layer.weights.items():
            several = self.channels.weights.get((key, path))
            if several:
                array = np.broadcast_to(weight.array.dtype.type(0), _shape(weight.array.shape, several, keep))
                weights[path] = Weight(array, weight.trainable)
        changes: dict[str, Any] = {}
        for counted, ids in call.counts:
            _set(changes, layer.config, counted, keep.count(ids))
        for change in call.changes:
            for entry, value in change(keep).items():
                _set(changes, layer.config, entry if isinstance(entry, tuple) else (*call.config_path, entry), value)
        return replace(layer, weights=MappingProxyType(weights), config={**layer.config, **changes}, build_config=None)

    def _call(self, node: Node, layer: Layer, call: ChannelCall | None, keep: Keep) -> Call:
        constants: dict[int, list[Held]] = {}
        for held in call.held if call is not None else ():
            if isinstance(held.owner, int):
                constants.setdefault(held.owner, []).append(held)
        position = -1

        def translate(leaf: Any) -> Any:
            nonlocal position
            position += isinstance(leaf, (Value, WeightRef)) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))
            if isinstance(leaf, Value):
                return self._spec(leaf.node, leaf.index, keep)
            if isinstance(leaf, WeightRef):
                array = self.graph.layers[leaf.layer].weights[leaf.key].array
                several = self.channels.weights.get((leaf.layer, leaf.key), ())
                return replace(array_spec(array), shape=_shape(array.shape, several, keep))
            if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
                spec = array_spec(leaf)
                return replace(spec, shape=_shape(leaf.shape, constants.get(position, ()), keep))
            return leaf

        args, kwargs = map_leaves(translate, (node.args, dict(node.kwargs)))
        outputs = tuple(self._spec(node.name, index, keep) for index in range(len(node.outputs)))
        return Call(node.name, layer, args, kwargs, outputs, node)

    def _spec(self, name: str, index: int, keep: Keep) -> TensorSpec:
        spec = self.specs[name][index]
        labels = self.channels.labels[name][index]
        if not labels.factors:
            return spec
        sizes = list(spec.shape)
        for factor in labels.factors:
            for place, axis in enumerate(factor.axes):
                sizes[axis] = keep.count(factor.ids, place)
        return replace(spec, shape=tuple(sizes))


def _shape(shape: tuple[int, ...], several: Any, keep: Keep) -> tuple[int, ...]:
    sizes = list(shape)
    for held in several:
        for place, axis in enumerate(held.axes):
            sizes[axis] = keep.count(held.ids, place)
    return tuple(sizes)


def _close(one: float | None, other: float) -> bool:
    return one is not None and abs(one - other) <= 1e-9 * max(abs(one), 1.0)


def measures(channels: Channels, gone: Array) -> Mapping[str, float]:
    """All costs when some units are gone."""
    budget = Budget(channels)
    return {measure: budget.of(measure, gone) for measure in MEASURES}
