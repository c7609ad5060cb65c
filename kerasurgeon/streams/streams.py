"""Residual streams: channels that sums join, that are written by kernels and read by kernels behind norms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np

from kerasurgeon.channels import Channels, analyse
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.answers import Join, Mixing, Product, Sum
from kerasurgeon.rules.asking import carries_channels, combination_of, is_multilinear, mixing_of
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.streams.known import Known
from kerasurgeon.streams.norms import Norm, find_norms

Array = np.ndarray[Any, Any]
Key = tuple[str, str]
"""A weight: its layer, its path."""


@dataclass(frozen=True, eq=False)
class Reads:
    """A kernel that sums over a stream.

    Attributes:
        axis: Which axis of it does.
        mixing: What its layer is.
        norm: The norm that it reads; ``None`` where it reads the stream itself.
    """

    axis: int
    mixing: Mixing
    norm: Norm | None


@dataclass(eq=False)
class Stream:
    """Channels that may be turned: everything that reads or writes them does so by kernels.

    Attributes:
        name: The first layer that writes it.
        width: How many channels it has.
        norms: The norms that read it.
        raw: Tensors of it that kernels read without a norm, with the calls that read them.
        reads: The kernels that read it.
        makes: The weights that make it, with the axis of the channels.
        both: Those of them that something reads the stream by, too; with the calls that write it by them.
        constants: Arrays that are added to it: the sum, their place among its operands, the axis of the channels.
        tied: Calls that multiply what a norm gives by what is known, or by a weight that also makes the stream: the
            operand that they read, and the norm, ``None`` for the stream itself.
    """

    name: str
    width: int
    norms: list[Norm] = field(default_factory=list)
    raw: list[tuple[Value, str]] = field(default_factory=list)
    reads: dict[Key, Reads] = field(default_factory=dict)
    makes: dict[Key, int] = field(default_factory=dict)
    both: dict[Key, list[Value]] = field(default_factory=dict)
    constants: list[tuple[str, int, int]] = field(default_factory=list)
    tied: dict[str, tuple[Value, Norm | None]] = field(default_factory=dict)

    @property
    def centred(self) -> bool:
        """Whether what reads it takes its mean away."""
        return any(norm.centred for norm in self.norms)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose weights hold it."""
        return tuple(dict.fromkeys(key for key, _ in (*self.makes, *self.reads)))


def find_streams(graph: Graph) -> tuple[list[Stream], dict[str, str]]:
    """The streams of a graph that may be turned, and why others may not, by a norm that reads them.

    Args:
        graph: The graph; it is only read.
    """
    known, channels = Known(graph), analyse(untied(graph))
    streams: list[Stream] = []
    left: dict[str, str] = {}
    groups: dict[tuple[int, ...], list[Norm]] = {}
    norms = find_norms(graph, known)
    for norm in norms:
        labels = channels.labels[norm.value.node][norm.value.index]
        factor = labels.factor(-1)
        if factor is None or len(factor.axes) > 1:
            reason, about = labels.why
            left[norm.root.name] = f"its channels cannot change: {reason}" + (f" ({about})" if about else "")
        else:
            groups.setdefault(tuple(channels.unit[factor.ids].tolist()), []).append(norm)
    for units, several in groups.items():
        try:
            streams.append(_Walk(graph, channels, known, norms, several, np.array(units)).run())
        except Skip as skip:
            left[several[0].root.name] = skip.reason
    return streams, left


def untied(graph: Graph) -> Graph:
    """A copy of a graph in which layers that hold one variable have one each: for the analysis of channels."""
    twin = graph.copy()
    for key in {ref.layer for refs in graph.ties().values() for ref in refs}:
        layer = twin.layers[key]
        weights = {path: replace(weight, tie=None) for path, weight in layer.weights.items()}
        twin.update_layer(key, replace(layer, weights=weights))
    return twin


class _Walk:
    """Goes through a graph along one stream and finds what becomes of it."""

    def __init__(
        self, graph: Graph, channels: Channels, known: Known, norms: list[Norm], own: list[Norm], units: Ids
    ) -> None:
        self.graph, self.channels, self.known, self.units = graph, channels, known, units
        self.stream = Stream("", len(units), norms=own)
        self.normed: dict[Value, Norm] = {}
        self.kernels: set[str] = set()  # layers that give what products read the stream by
        self.inside = {node.name: norm for norm in norms for node in norm.nodes}
        self.member = np.zeros(channels.units, bool)
        self.member[units] = True

    def run(self) -> Stream:
        """The stream.

        Raises:
            Skip: It cannot be turned; with the reason.
        """
        if len(np.unique(self.units)) < len(self.units):
            raise Skip("some of its channels go together only")
        for node in self.graph.nodes():
            norm = self.inside.get(node.name)
            if norm is None or not self._met(Value(norm.root.name)):
                self._visit(node)
            elif node.name == norm.root.name:
                self._check_norm(norm)
        for value in values_in(self.graph.outputs):
            if self._met(value):
                raise Skip(f"the model returns it ({value})")
        stream = self.stream
        if not stream.makes:
            raise Skip("no layer makes its channels")
        if len({norm.centred for norm in stream.norms}) > 1:
            raise Skip("some of its norms take away the mean, others do not")
        unnormed = [name for _, name in stream.raw]
        if stream.centred and unnormed:
            raise Skip(f"{unnormed[0]!r} reads it without a norm, and its norms take away the mean")
        self._check_weights()
        stream.name = next(iter(stream.makes))[0]
        return stream

    def _check_norm(self, norm: Norm) -> None:
        if norm.value in self.normed:
            raise Skip(f"{norm.root.name!r} normalises what is normalised already")
        for name in nx.ancestors(self.graph.digraph, norm.root.name):
            layer = self.graph.layer_of(name)
            if layer.config.get("mask_zero") or layer.kind == "Masking":
                raise Skip(f"it carries the mask that {name!r} makes, which the norms that are put in would end")
        self.normed[norm.root.value] = norm

    def _visit(self, node: Node) -> None:
        graph, channels = self.graph, self.channels
        ins = [value for value in dict.fromkeys(node.inputs) if self._met(value)]
        outs = [value for index in range(len(node.outputs)) if self._met(value := Value(node.name, index))]
        if not any(not self.known.is_zero(value) for value in outs or ins):
            return  # zeros are zeros, however they are turned
        call = channels.calls.get(node.name)
        if call is None:
            if ins:
                raise Skip(f"{node.name!r} reads it: {channels.barriers.get(node.name, 'it is not known')}")
            return
        held = [item for item in call.held if self.member[channels.unit[item.ids]].any()]
        for value in (*ins, *outs):
            self._require_last(value)
        combination, kind = combination_of(graph, node), graph.kind(node)
        if isinstance(combination, Sum) and outs:
            self._sum(node, ins, {item.owner: item.axes for item in held})
        elif ins and outs and not held and self._is_passed(node, ins, combination):
            self._pass(node, ins, outs)
        elif held and all(isinstance(item.owner, str) and len(item.axes) == 1 for item in held):
            self._mix(node, ins, outs)
        elif is_multilinear(graph, node) and not outs and (data := self._data(node)) is not None:
            self.stream.tied[node.name] = data, self.normed.get(data)
            for other in set(node.inputs) - {data}:
                needed = nx.ancestors(graph.digraph, other.node) | {other.node}
                self.kernels |= {graph[name].layer for name in needed}
        else:
            raise Skip(f"{node.name!r} ({kind}) is in it, which is no sum over its channels")

    def _met(self, value: Value) -> bool:
        """Whether any channel of a tensor is the stream's."""
        labels = self.channels.labels[value.node][value.index]
        return any(self.member[self.channels.unit[factor.ids]].any() for factor in labels.factors)

    def _require_last(self, value: Value) -> None:
        """Refuse a tensor that does not have the whole stream, in order, along its last axis."""
        labels: Labels = self.channels.labels[value.node][value.index]
        factor = labels.factor(-1)
        whole = factor is not None and factor.axes == (labels.rank - 1,)
        if not whole or not np.array_equal(self.channels.unit[factor.ids], self.units):  # type: ignore[union-attr]
            transposed = self.known.is_known(value)  # a kernel that was turned, for a product
            if not transposed:
                raise Skip(f"{value.node!r} has its channels apart, in another order, or along another axis")

    def _sum(self, node: Node, ins: list[Value], held: dict[Any, tuple[int, ...]]) -> None:
        position = -1
        for leaf in leaves(node.operands):
            if isinstance(leaf, Value) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
                position += 1
            if isinstance(leaf, Value):
                if leaf not in ins:
                    raise Skip(f"{node.name!r} adds {leaf.node!r} to it, which is the same for all channels")
                if leaf in self.normed:
                    raise Skip(f"{node.name!r} adds what a norm gives, {leaf.node!r}: the norms stand behind the sums")
            elif isinstance(leaf, WeightRef) or not self.known.is_known(leaf):
                if leaf is not None and not isinstance(leaf, (bool, str)):
                    raise Skip(f"{node.name!r} adds {leaf} to it")
            elif position not in held or not hasattr(leaf, "shape"):
                raise Skip(f"{node.name!r} adds numbers to it that are the same for all channels")
            else:
                self.stream.constants.append((node.name, position, held[position][-1]))

    def _is_passed(self, node: Node, ins: list[Value], combination: Any) -> bool:
        """Whether a call does the same to all channels of what it reads."""
        if isinstance(combination, Join):
            return len(ins) == len(set(node.inputs))
        if isinstance(combination, Product):
            return len(ins) == 1 and self._scales(node, ins[0])
        return carries_channels(self.graph, node)

    def _pass(self, node: Node, ins: list[Value], outs: list[Value]) -> None:
        norms = [self.normed.get(value) for value in ins]
        if any(norm is not norms[0] for norm in norms):
            raise Skip(f"{node.name!r} puts what different norms give together")
        if norms[0] is not None:
            self.normed.update(dict.fromkeys(outs, norms[0]))

    def _scales(self, node: Node, value: Value) -> bool:
        """Whether a product multiplies all channels by the same."""
        rank = len(self.graph.spec(value).shape)
        for leaf in leaves(node.operands):
            if isinstance(leaf, Value) and leaf != value:
                shape = self.graph.spec(leaf).shape
                if len(shape) > rank or shape[-1:] not in ((), (1,)):
                    return False
            elif (hasattr(leaf, "shape") and leaf.shape and tuple(leaf.shape)[-1] != 1) or isinstance(leaf, WeightRef):
                return False
        return True

    def _data(self, node: Node) -> Value | None:
        """The one operand of a product that is not known."""
        found = [value for value in node.inputs if not self.known.is_known(value)]
        return found[0] if len(found) == 1 and self._met(found[0]) else None

    def _mix(self, node: Node, ins: list[Value], outs: list[Value]) -> None:
        """A layer with kernels."""
        layer, name = self.graph.layer_of(node), node.name
        mixing = mixing_of(layer)
        if mixing is None:
            raise Skip(f"{name!r} ({layer.kind}) works on its channels one by one")
        norms = [self.normed.get(value) for value in ins]
        norm = norms[0] if norms else None
        if any(other is not norm and not (norm and norm.same(other)) for other in norms):
            raise Skip(f"{name!r} reads it through different norms")
        for path, axis, contracted in self._held(node.layer):
            both = (node.layer, path) in self.channels.two_ways
            if ins and contracted:
                self._reads(node, mixing, path, axis, norm)
            elif outs and (both or not contracted):
                if not mixing.makes:
                    raise Skip(
                        f"{name!r} ({layer.kind}) makes its channels, and they do not come straight from a kernel"
                    )
                self.stream.makes[node.layer, path] = axis
        read = {path for path, _, contracted in self._held(node.layer) if contracted}
        if (ins and not read) or (outs and not any((node.layer, path) in self.stream.makes for path in layer.weights)):
            raise Skip(f"{name!r} ({layer.kind}) leaves its channels as they are and adds to them")
        for value in ins:
            if norm is None:
                self.stream.raw.append((value, name))

    def _held(self, key: str) -> list[tuple[str, int, bool]]:
        """The weights of a layer that hold the stream: path, axis, and whether it is summed over."""
        found = []
        for (layer, path), several in self.channels.weights.items():
            for item in several if layer == key else ():
                units = self.channels.unit[item.ids]
                if not self.member[units].any():
                    continue
                if len(item.axes) > 1 or not np.array_equal(units, self.units):
                    raise Skip(f"{key!r} has its channels apart, or in another order")
                found.append((path, item.axes[0], item.contracted))
        return found

    def _reads(self, node: Node, mixing: Mixing, path: str, axis: int, norm: Norm | None) -> None:
        key = node.layer, path
        if path not in mixing.reads:
            raise Skip(f"{node.name!r} reads it, not by kernels alone")
        if key in self.channels.two_ways:
            self.stream.tied[node.name] = next(value for value in node.inputs if self._met(value)), norm
            self.stream.makes[key] = axis
            return
        before = self.stream.reads.get(key)
        if before is not None and before.norm is not norm and not (norm and norm.same(before.norm)):
            raise Skip(f"{node.layer!r} is called several times, behind different norms")
        if norm is not None and norm.shift.any():
            self._require_bias(node, mixing, path)
        self.stream.reads[key] = Reads(axis, mixing, norm)

    def _require_bias(self, node: Node, mixing: Mixing, path: str) -> None:
        layer = self.graph.layer_of(node)
        if not mixing.even:
            raise Skip(f"{node.name!r} pads with zeros what a norm has shifted")
        if mixing.reads[path] not in layer.weights and (mixing.new_bias is None or not mixing.reads[path]):
            raise Skip(f"{node.name!r} has no bias that could take up what a norm adds")

    def _check_weights(self) -> None:
        """Refuse weights that something else uses too, but for products that turn with them."""
        stream, graph = self.stream, self.graph
        for refs in graph.ties().values():
            axes = [stream.makes.get((ref.layer, ref.key)) for ref in refs]
            read = [ref for ref in refs if (ref.layer, ref.key) in stream.reads]
            if read or (set(axes) != {None} and len(set(axes)) > 1):
                raise Skip(f"{refs[0].layer!r} and {refs[1].layer!r} hold one weight, and use it in different ways")
            if set(axes) != {None}:
                stream.both |= {(ref.layer, ref.key): [] for ref in refs}
        two_ways = self.channels.two_ways
        stream.both |= {key: [] for key in stream.makes if key in two_ways or key[0] in self.kernels}
        for (key, _), written in stream.both.items():
            calls = [node.value for node in graph.calls(key) if not self.known.is_known(node.value)]
            written += [value for value in calls if self._met(value)]
        for key in stream.layers:
            for user, _ in self.known.readers(key):
                if user.name not in stream.tied:
                    raise Skip(f"{user.name!r} reads a weight of {key!r}")
            if any(key in layer.parts.values() for layer in graph.layers.values()):
                raise Skip(f"another layer holds {key!r}")
