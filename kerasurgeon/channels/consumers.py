"""Who sums over channels that go, and how what they gave is put elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.biases import add_to_bias, takes_no_bias
from kerasurgeon.channels.scatter_layer import SCATTER
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.asking import linear_form, may_be_linear
from kerasurgeon.rules.channel_call import Held
from kerasurgeon.rules.labels import Factor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """A call that sums over channels of which some go.

    Attributes:
        node: The call.
        value: The tensor that it reads.
        gone: For every position along the summed axes whether it goes; sizes of one along the other axes.
    """

    node: Node
    value: Value
    gone: Array

    @property
    def count(self) -> int:
        """How many positions go."""
        return int(self.gone.sum())


def find_consumers(
    graph: Graph, channels: Channels, gone: Array, besides: Collection[str] = ()
) -> tuple[dict[str, list[Consumer]], list[str]]:
    """The consumers of channels that go, by layer, in the order of the graph, and notes on those without a place.

    Args:
        graph: The analysed graph.
        channels: Its analysis.
        gone: For every unit whether it goes.
        besides: Nodes that somebody else looks after.
    """
    found: dict[str, list[Consumer]] = {}
    notes: list[str] = []
    lost = gone[channels.unit]
    tied = graph.tied_layers()
    for node in graph.nodes():
        call = channels.calls.get(node.name)
        if call is None or node.name in besides:
            continue
        summed = [held.ids for held in call.held if held.contracted]
        summed += [factor.ids for _, factor in call.masks]
        if not any(lost[ids].any() for ids in summed):
            continue
        layer = graph.layer_of(node)
        why = ""
        if layer.kind != SCATTER:
            why = _takes_nothing_up(layer)
        if not why and node.layer in tied:
            why = "another layer uses its weights"
        elif not why and len(node.inputs) != 1:
            why = "it reads several tensors"
        if why:
            notes.append(f"{node.name!r} is not compensated: {why}")
            continue
        factors = channels.labels[node.inputs[0].node][node.inputs[0].index].factors
        mask = _mask(factors, _summed_axes(graph, node), lost, len(graph.spec(node.inputs[0]).shape))
        if mask.any():
            found.setdefault(node.layer, []).append(Consumer(node, node.inputs[0], mask))
        else:
            notes.append(f"{node.name!r} is not compensated: what it loses does not lie along its channels")
    return found, notes


def _summed_axes(graph: Graph, node: Node) -> set[int]:
    """The axes of the operand that are summed over."""
    layer = graph.layer_of(node)
    rank = len(graph.spec(node.inputs[0]).shape)
    if layer.kind == SCATTER:
        return {int(layer.config["axis"]) % rank}
    form = linear_form(layer)
    assert form is not None
    return form.summed_axes(rank)


def _takes_nothing_up(layer: Layer) -> str:
    """Why a layer that sums over channels has no place for what they gave; empty if it has."""
    if not may_be_linear(layer.kind):
        return f"a {layer.kind} has no bias that could take it up"
    try:
        form = rule_for(layer.kind).linear(layer)
    except CannotTell as reason:
        return str(reason)
    return f"a {layer.kind} has no bias that could take it up" if form is None or form.depthwise else ""


def _mask(factors: tuple[Factor, ...], axes: set[int], lost: Array, rank: int) -> Array:
    mask: Array = np.zeros((1,) * rank, bool)
    for factor in factors:
        if not axes & set(factor.axes):
            continue
        shape = [1] * rank
        for axis, size in zip(factor.axes, factor.ids.shape, strict=True):
            shape[axis] = size
        mask = mask | lost[factor.ids].reshape(shape)
    return mask


def put(graph: Graph, channels: Channels, key: str, shift: Array) -> str:
    """Add a constant to what a layer gives, before its activation: to its bias, or to what stands for one.

    Args:
        graph: The graph, changed in place.
        channels: Its analysis; told of a bias that is new.
        key: The layer.
        shift: The constant, in the shape of the bias.

    Returns:
        Why that cannot be; empty if it is done.
    """
    calls = graph.calls(key)
    layer = graph.layers[key]
    form = linear_form(layer)
    if form is None:
        return "it takes no bias"
    had = layer.array(form.bias)
    if had is not None:
        graph.set_weight(key, form.bias, np.asarray(had, np.float64) + shift)
        return ""
    if len(calls) > 1:
        return f"it has no bias, and is called {len(calls)} times"
    why = takes_no_bias(graph, calls[0])
    if why:
        return why
    add_to_bias(graph, calls[0], shift)
    if form.bias in graph.layers[key].weights:
        labels = channels.labels[calls[0].name][0]
        factor = labels.factor(form.axis(labels.rank))
        if factor is not None and len(factor.axes) == 1:
            channels.weights[key, form.bias] = [Held(form.bias, (0,), factor.ids)]
    return ""
