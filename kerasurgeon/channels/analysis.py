"""Which channels of a network live and die together, and where every one of them is held.

Every rule is asked once per call, in topological order, how labels pass. All equalities that the rules found are then
solved at once: the connected components are the *units* of a cut. Arrays of labels that have to stay arrays when some
labels go (a reshape into heads, a channel shuffle) are settled afterwards, along the axis that leaves most to choose
from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kerasurgeon.channels.tied import tie_uses
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io import lift
from kerasurgeon.rules import rule_for
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall, Held
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Ids, Labels, Why
from kerasurgeon.rules.reasons import Reason

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The channels that a layer makes.

    Attributes:
        name: The layer's key, followed by ``#part`` where it makes several kinds of channels (``"mha#heads"``).
        layer: The layer's key.
        node: The first call of the layer.
        ids: Their labels.
    """

    name: str
    layer: str
    node: str
    ids: Ids


@dataclass(slots=True, eq=False)
class Channels:
    """The result of the analysis of one graph.

    Attributes:
        graph: The graph, as it was when it was analysed.
        labels: Labels of every output of every node.
        unit: For every label, the unit that it belongs to.
        units: How many units there are.
        frozen: Why a unit may not go, for those that may not.
        inexact: Why the result is not exact when a unit goes, for those where it is so.
        avoided: Channels of which a certain number may not stay, by node: see ``channels.avoided``.
        sources: The channels that layers make, by name.
        calls: What the rules recorded, by node.
        weights: What is held by each weight, by ``(layer, path)``.
        barriers: Why a call is a barrier, by node.
        two_ways: Weights along an axis of which one call makes channels and another sums them.
    """

    graph: Graph
    labels: dict[str, tuple[Labels, ...]] = field(default_factory=dict)
    unit: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    units: int = 0
    frozen: dict[int, Why] = field(default_factory=dict)
    inexact: dict[int, Why] = field(default_factory=dict)
    avoided: list[tuple[str, Ids, int]] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    calls: dict[str, ChannelCall] = field(default_factory=dict)
    weights: dict[tuple[str, str], list[Held]] = field(default_factory=dict)
    barriers: dict[str, str] = field(default_factory=dict)
    two_ways: set[tuple[str, str]] = field(default_factory=set)

    def keep(self, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> Keep:
        """What stays when some units go.

        Args:
            gone: For every unit whether it goes.
        """
        return Keep(~gone[self.unit])


def analyse(model: Any, *, frozen: Sequence[str] = (), inputs: Mapping[str, int] | None = None) -> Channels:
    """Find which channels of a model go together.

    Args:
        model: A Keras model or a graph. It is only read.
        frozen: Names of layers whose channels are to be left alone.
        inputs: Inputs whose own channels are looked at too, with the axis that these stand along.

    Returns:
        The analysis, of the graph or of the lifted model.
    """
    graph = model if isinstance(model, Graph) else lift(model)
    return _Analysis(graph, frozenset(frozen), inputs or {}).run()


class _Analysis:
    def __init__(self, graph: Graph, request: frozenset[str], inputs: Mapping[str, int]) -> None:
        self.graph = graph
        self.inputs = inputs
        self.layers = graph.layers
        self.request = request
        self.result = Channels(graph)
        self.next_label = 0
        self.pairs: list[tuple[Ids, Ids]] = []
        self.frozen: list[tuple[Ids, Why]] = []
        self.inexact: list[tuple[Ids, Why]] = []
        self.grids: list[tuple[Ids, tuple[int, ...]]] = []
        self.first_calls: dict[str, ChannelCall] = {}
        self.barred: dict[str, Why] = {}
        self.reads: dict[tuple[str, str], list[tuple[str, Labels]]] = {}

    def run(self) -> Channels:
        labels = self.result.labels
        for node in self.graph.nodes():
            labels[node.name] = self._outputs(node)
        for value in values_in(self.graph.outputs):
            for factor in labels[value.node][value.index].factors:
                self.frozen.append((factor.ids, (Reason.MODEL_OUTPUT, value.node)))
        self._tie()
        self._solve()
        return self.result

    def _outputs(self, node: Node) -> tuple[Labels, ...]:
        layer = self.layers[node.layer]
        kind = layer.kind
        if kind == "InputLayer":
            return (self._input(node),)
        call = self._call(node, layer)
        try:
            why = _refused(layer)
            if why is not None:
                raise _Refused(why)
            found = rule_for(kind).channels(call)
            outputs = found if isinstance(found, tuple) else (found,)
            if len(outputs) != len(node.outputs):
                raise CannotTell(f"the rule gives labels for {len(outputs)} of {len(node.outputs)} outputs")
            unnamed = [key for key in layer.weights if key not in call.known]
            if unnamed:
                raise CannotTell(f"the rule says nothing of the weight {unnamed[0]!r}")
        except CannotTell as problem:
            return self._barrier(node, layer, call, str(problem), getattr(problem, "reason", None))
        self._record(node, call)
        return outputs

    def _input(self, node: Node) -> Labels:
        shape, why = node.outputs[0].shape, (Reason.MODEL_INPUT, node.name)
        size = shape[self.inputs[node.name]] if node.name in self.inputs else None
        if size is None:
            return Labels(shape, (), why)
        ids = np.arange(self.next_label, self.next_label + size)
        self.next_label += size
        return Labels(shape, (Factor((self.inputs[node.name],), ids),), why)

    def _call(self, node: Node, layer: Layer) -> ChannelCall:
        labels = self.result.labels

        def translate(leaf: Any) -> Any:
            if isinstance(leaf, Value):
                return labels[leaf.node][leaf.index]
            if isinstance(leaf, WeightRef):
                array = self.layers[leaf.layer].weights[leaf.key].array
                read = Labels(tuple(array.shape), (), (Reason.TIED, leaf.layer), array)
                self.reads.setdefault((leaf.layer, leaf.key), []).append((node.name, read))
                return read
            if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
                return Labels(tuple(leaf.shape), (), (Reason.FIXED_AXIS, node.name), leaf)
            return leaf

        args: tuple[Any, ...]
        if len(node.args) == 1 and isinstance(node.args[0], Value):
            value = node.args[0]
            args = (labels[value.node][value.index],)
        else:
            args = map_leaves(translate, node.args)
        kwargs = map_leaves(translate, dict(node.kwargs)) if node.kwargs else _NOTHING
        return ChannelCall(node.name, layer, args, kwargs, node.outputs, next_label=self.next_label)

    def _barrier(
        self, node: Node, layer: Layer, call: ChannelCall, problem: str, reason: Reason | None
    ) -> tuple[Labels, ...]:
        """Freeze what a call reads; nothing that the rule said before it gave up counts."""
        if reason is None:
            reason = Reason.NO_RULE if "there is no rule" in problem else Reason.CANNOT_TELL
        why = (reason, node.name)
        self.result.barriers[node.name] = problem
        self.barred[node.layer] = why
        self._freeze_all(call.inputs, why)
        if node.layer in self.first_calls:
            self._freeze_call(self.first_calls[node.layer], why)
        return tuple(Labels(spec.shape, (), why) for spec in node.outputs)

    def _freeze_call(self, call: ChannelCall, why: Why) -> None:
        """Another call of the layer is a barrier: its weights and its config must stay as they are."""
        self.frozen += [(held.ids, why) for held in call.held]
        self.frozen += [(ids, why) for _, ids in call.counts]
        if call.changes or call.scales:
            self._freeze_all(call.inputs, why)

    def _record(self, node: Node, call: ChannelCall) -> None:
        self.next_label = call.next_label
        self.pairs += call.pairs
        self.frozen += call.frozen
        self.inexact += call.inexact
        self.grids += call.grids
        self.result.avoided += [(node.name, ids, number) for ids, number in call.avoided]
        self.result.calls[node.name] = call
        first = self.first_calls.setdefault(node.layer, call)
        if first is not call:
            self._tie_calls(first, call)
        if node.layer in self.barred:
            self._freeze_call(call, self.barred[node.layer])
        for held in call.held:
            if isinstance(held.owner, str):
                self._hold((node.layer, held.owner), held, first is call)
        requested = node.layer in self.request
        for block in call.blocks:
            if first is call:
                name = f"{node.layer}#{block.part}" if block.part else node.layer
                self.result.sources[name] = Source(name, node.layer, node.name, block.ids)
            if requested:
                self.frozen.append((block.ids, (Reason.REQUEST, node.layer)))

    def _tie_calls(self, first: ChannelCall, call: ChannelCall) -> None:
        """All calls of a layer see the same channels."""
        for mine, theirs in zip(call.blocks, first.blocks, strict=True):
            self.pairs.append((mine.ids, theirs.ids))
        mine_counts, their_counts = dict(call.counts), dict(first.counts)
        for path in {*mine_counts, *their_counts}:
            one, other = mine_counts.get(path), their_counts.get(path)
            if one is None or other is None:
                present = one if other is None else other
                assert present is not None
                self.frozen.append((present, (Reason.FIXED_AXIS, call.name)))
            else:
                self.pairs.append((one, other))
        if call.changes or call.scales or first.changes or first.scales:
            # One config or weight cannot follow two calls that may lose different positions.
            self._freeze_all((*call.inputs, *first.inputs), (Reason.CANNOT_TELL, call.name))

    def _freeze_all(self, several: Sequence[Labels], why: Why) -> None:
        self.frozen += [(factor.ids, why) for labels in several for factor in labels.factors]

    def _hold(self, owner: tuple[str, str], held: Held, is_first: bool) -> None:
        """Note what a weight holds; what a later call says of the same axes is tied to what the first one said."""
        known = self.result.weights.setdefault(owner, [])
        for other in known:
            if other.axes == held.axes:
                self.pairs.append((held.ids.ravel(), other.ids.ravel()))
                if other.contracted != held.contracted:
                    self.result.two_ways.add(owner)
                other.contracted |= held.contracted
                return
        if not is_first:
            # An earlier call left these axes whole, so that they must stay.
            self.frozen.append((held.ids, (Reason.FIXED_AXIS, owner[0])))
            return
        known.append(held)

    def _tie(self) -> None:
        """Weights are cut as all their uses say; those of a layer that another layer holds stay as they are."""
        result = self.result
        pairs, frozen, two_ways = tie_uses(self.graph, result.calls, result.weights, self.reads)
        self.pairs += pairs
        self.frozen += frozen
        result.two_ways |= two_ways
        parts = {key for layer in self.layers.values() for key in layer.parts.values()}
        if parts:
            for (key, _), several in self.result.weights.items():
                if key in parts:
                    self.frozen += [(held.ids, (Reason.TIED, key)) for held in several]
        # Of a layer with several calls, a later one may leave axes whole that the first one did not.
        for node in self.graph.nodes():
            first = self.first_calls.get(node.layer)
            call = self.result.calls.get(node.name)
            if first is None or call is first:
                continue
            said = set() if call is None else {(held.owner, held.axes) for held in call.held}
            for held in first.held:
                if (held.owner, held.axes) not in said:
                    self.frozen.append((held.ids, (Reason.FIXED_AXIS, node.name)))

    def _solve(self) -> None:
        result = self.result
        result.unit, result.units = _components(self.next_label, self.pairs)
        while True:
            more = [pair for ids, fixed in self.grids for pair in _settled(result.unit[ids], ids, fixed, self.frozen)]
            if not more:
                break
            self.pairs += more
            result.unit, result.units = _components(self.next_label, self.pairs)
        for collected, into in ((self.frozen, result.frozen), (self.inexact, result.inexact)):
            for ids, why in collected:
                for unit in set(result.unit[ids.ravel()].tolist()):
                    into.setdefault(unit, why)


class _Refused(CannotTell):
    def __init__(self, why: tuple[Reason, str]) -> None:
        super().__init__(why[1])
        self.reason = why[0]


def _refused(layer: Layer) -> tuple[Reason, str] | None:
    if layer.prototype is not None:
        return Reason.NO_RULE, "it is made from Python functions"
    dtype = layer.config.get("dtype")
    if isinstance(dtype, Mapping) and "Quantized" in str(dtype.get("class_name", "")):
        return Reason.QUANTIZED, "its weights are quantised; cut the float model, then quantise it"
    if layer.parts:
        return Reason.TIED, "it holds a layer that is called elsewhere too"
    return None


def _components(labels: int, pairs: list[tuple[Ids, Ids]]) -> tuple[Ids, int]:
    if not pairs:
        return np.arange(labels), labels
    rows = np.concatenate([one for one, _ in pairs])
    columns = np.concatenate([other for _, other in pairs])
    matrix = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(labels, labels))
    count, unit = connected_components(matrix, directed=False)
    return unit.astype(np.int64), int(count)


def _settled(units: Ids, ids: Ids, fixed: tuple[int, ...], frozen: list[tuple[Ids, Why]]) -> list[tuple[Ids, Ids]]:
    """Ties that make an array of units vary along one axis only, if it does not already."""
    varying = [
        axis
        for axis in range(units.ndim)
        if units.shape[axis] > 1 and bool((units != np.take(units, [0], axis=axis)).any())
    ]
    if len(varying) <= 1 and not set(varying) & set(fixed):
        return []
    free = [axis for axis in varying if axis not in fixed]
    chosen = max(free, key=lambda axis: _choices(units, axis), default=None)
    first = ids[tuple(slice(None) if axis == chosen else slice(0, 1) for axis in range(ids.ndim))]
    one, other = np.broadcast_arrays(ids, first)
    return [(one.ravel(), other.ravel())]


def _choices(units: Ids, axis: int) -> int:
    """How many units there would be if the array varied along this axis only."""
    rows = np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1)
    _, classes = np.unique(rows, return_inverse=True)
    flat = classes.reshape(rows.shape)
    links = np.stack([np.repeat(flat[:, :1], rows.shape[1], axis=1).ravel(), flat.ravel()])
    size = int(classes.max()) + 1
    matrix = coo_matrix((np.ones(links.shape[1], np.int8), (links[0], links[1])), shape=(size, size))
    count, _ = connected_components(matrix, directed=False)
    return int(count)
