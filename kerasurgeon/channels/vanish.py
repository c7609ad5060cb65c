"""Branches of which no channel is left: they are removed, and what they gave is folded into what follows.

A layer that sums over channels gives a constant when none are left: its bias. Channels that are constant for that
reason go as well, to the end of the branch: zeros without a trace, others into the biases of what reads them. Where the
branch meets the rest in a sum or product, whose channels stay, the constant is followed there by running each layer on
it. Where it does not stay one number per channel (a bias in front of a padded convolution), one channel is kept, of
which nothing is read.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.biases import add_to_bias
from kerasurgeon.channels.deadness import find_dead
from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.channels.masked import mask_units, mask_weights
from kerasurgeon.channels.running import run_layer, sizes
from kerasurgeon.channels.scatter_layer import SCATTER
from kerasurgeon.errors import PlanError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.calls import splice, substitute
from kerasurgeon.rules.answers import Product, Sum
from kerasurgeon.rules.asking import affine_of, channel_form, combination_of, is_join

Array = np.ndarray[Any, Any]


@dataclass
class Vanished:
    """What became of axes that would have lost all their channels.

    Attributes:
        channels: The analysis of the graph as it is now.
        gone: The units that go, of that analysis.
        removed: Names of the nodes whose branches were removed, with what they gave.
        kept: Names of the layers of which one channel is kept, with the reason.
    """

    channels: Channels
    gone: Array
    removed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


class _Stuck(Exception):  # noqa: N818 - an outcome
    """The constant cannot be followed any further."""


def settle_vanished(graph: Graph, channels: Channels, gone: Array, *, fold: bool = True) -> Vanished:
    """Remove branches without channels from a graph, in place, or keep one channel where that cannot be.

    Args:
        graph: The analysed graph.
        channels: Its analysis.
        gone: The units that are to go.
        fold: Whether what branches gave is kept, as a constant; without it they are dropped, for fresh weights.

    Returns:
        What to cut now, and what was done.

    Raises:
        PlanError: The plan cuts the network in two: an output would no longer depend on any input.
    """
    result = Vanished(channels, np.array(gone, bool))
    if fold and _first_vanished(channels, result.gone) is not None:
        _take_consequences(graph, result)
    while True:
        units = _first_vanished(result.channels, result.gone)
        if units is None:
            return result
        name = _name(result.channels, units)
        trial = graph.copy()
        try:
            removed = _remove(trial, result.channels, result.gone, fold)
        except _Stuck as stuck:
            result.kept[name] = str(stuck)
            result.gone[units[0]] = False
            plan = KeptChannels.of(result.channels, result.gone)
            if fold:
                only = np.zeros_like(result.gone)
                only[units[0]] = True
                mask_units(graph, result.channels, only)
                _analyse_again(graph, result, plan)
            continue
        if not removed:
            return result
        plan = KeptChannels.of(result.channels, result.gone)
        graph.adopt(trial)
        result.removed.update(removed)
        _analyse_again(graph, result, plan)


def _analyse_again(graph: Graph, result: Vanished, plan: KeptChannels) -> None:
    result.channels = analyse(graph)
    left = {key: kept for key, kept in plan.kept.items() if key in result.channels.sources}
    result.gone = KeptChannels(left).gone(result.channels)


def _take_consequences(graph: Graph, result: Vanished) -> None:
    """Let channels go that are constant, wherever they are read, once those of the plan contribute nothing."""
    without = copy.copy(result.channels)
    without.graph = graph.copy()
    mask_weights(without.graph, result.channels, result.gone)
    before = find_dead(result.channels).gone  # of what was dead before, the plan says what becomes
    dead = find_dead(without, spare=before & ~result.gone)
    more = dead.gone & ~result.gone
    if not more.any():
        return
    plan = KeptChannels.of(result.channels, result.gone | more)
    for name, shift in dead.folds.items():
        add_to_bias(graph, graph[name], shift)
    _analyse_again(graph, result, plan)


def _first_vanished(channels: Channels, gone: Array) -> Array | None:
    """The units of the first axis, in the order of the graph, of which nothing would be left."""
    seen: set[int] = set()
    for several in channels.labels.values():
        for labels in several:
            for factor in labels.factors:
                if id(factor.ids) not in seen:
                    seen.add(id(factor.ids))
                    units = channels.unit[factor.ids].ravel()
                    if len(units) and gone[units].all():
                        return units
    for held in (held for call in channels.calls.values() for held in call.held):
        if id(held.ids) not in seen:
            units = channels.unit[held.ids].ravel()
            if len(units) and gone[units].all():
                return units
    return None


def keep_one_of_each(channels: Channels, gone: Array) -> dict[str, str]:
    """Keep one channel, in ``gone``, of every axis of which nothing would be left. Returns the layers, with why."""
    kept = {}
    while (units := _first_vanished(channels, gone)) is not None:
        gone[units[0]] = False
        kept[_name(channels, units)] = "nothing would be left on the way to an output"
    return kept


def _name(channels: Channels, units: Array) -> str:
    wanted = set(units.tolist())
    for name, source in channels.sources.items():
        if wanted & set(channels.unit[source.ids.ravel()].tolist()):
            return name
    return "?"


def _remove(graph: Graph, channels: Channels, gone: Array, fold: bool) -> dict[str, str]:
    """Fold what vanished branches give into the rest. Returns what was done at which node."""
    empty: set[Value] = set()
    constants: dict[Value, Array] = {}
    done: dict[str, str] = {}
    for node in graph.nodes():
        for index, labels in enumerate(channels.labels[node.name]):
            if any(gone[channels.unit[factor.ids]].all() for factor in labels.factors):
                empty.add(Value(node.name, index))
    inner = [
        name
        for name, call in channels.calls.items()
        if any(not held.contracted and gone[channels.unit[held.ids]].all() for held in call.held if held.ids.size)
        and not any(Value(name, index) in empty for index in range(len(call.outputs)))
    ]
    if inner:
        raise _Stuck(f"nothing would be left inside {inner[0]!r}")
    for name in [node.name for node in graph.nodes()]:
        node = graph[name]  # as it is now: an earlier join may have given it other operands
        reads = node.inputs
        if is_join(graph, node) and not any(value in constants for value in reads):
            continue  # what is empty is dropped once it is cut
        if Value(node.name, 0) in empty or not any(value in empty or value in constants for value in reads):
            continue
        if any(value in empty for value in reads):
            constants[node.value] = _response(graph, channels, node, fold)
        elif all(value in constants for value in reads):
            constants[node.value] = _followed(graph, node, constants, fold)
        else:
            done[node.name] = _join(graph, node, constants, fold)
            continue
        if graph.is_output(node.value):
            raise PlanError(
                f"The plan cuts the network in two: the output {node.name!r} would no longer depend on any input.",
                where=", ".join(sorted(value.node for value in empty)[:4]),
                hint="keep at least one channel of every layer on the way",
            )
    for value in empty:
        if graph.is_output(value):
            raise PlanError(f"The plan takes all channels of the output {value.node!r}.")
    graph.remove_unused()
    return done


def _response(graph: Graph, channels: Channels, node: Node, fold: bool) -> Array:
    """What a layer gives that reads no channels any more."""
    call = channels.calls.get(node.name)
    sums = call is not None and (any(held.contracted for held in call.held) or graph.kind(node) == SCATTER)
    if not sums or len(node.inputs) != 1:
        raise _Stuck(f"{node.name!r} ({graph.kind(node)}) cannot do without this operand")
    spec = graph.spec(node.inputs[0])
    return _run(graph, node, np.zeros(sizes(graph, node, node.inputs[0]), spec.dtype)) if fold else np.zeros(())


def _followed(graph: Graph, node: Node, constants: dict[Value, Array], fold: bool) -> Array:
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        raise _Stuck(f"{node.name!r} ({graph.kind(node)}) reads several constants")
    spec = graph.spec(node.inputs[0])
    if not fold:
        return np.zeros(())
    array = np.broadcast_to(constants[node.inputs[0]], sizes(graph, node, node.inputs[0])).astype(spec.dtype)
    return _run(graph, node, array)


def _run(graph: Graph, node: Node, array: Array) -> Array:
    """Run a layer on a constant map; what it gives, with one position along every axis that does not vary."""
    operands = {value: array.astype(np.float64) if array.dtype.kind in "fV" else array for value in node.inputs}
    try:
        result = run_layer(graph, node, operands)[0][0]
    except Exception as error:
        raise _Stuck(f"{node.name!r} cannot be run on a constant: {type(error).__name__}") from error
    channel_axes = 0
    for axis in range(result.ndim):
        first = np.take(result, [0], axis=axis)
        if result.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, result.shape), result):
            result = first
        elif result.shape[axis] > 1:
            channel_axes += 1
    if channel_axes > 1:
        raise _Stuck(f"what {node.name!r} makes of a constant is not the same everywhere (its padding, perhaps)")
    return result


def drop_empty_operands(graph: Graph) -> dict[str, str]:
    """After a cut: take operands without channels out of concatenations, with all that computed them."""
    done = {}
    for name in [node.name for node in graph.nodes() if is_join(graph, node)]:
        node = graph[name]  # as it is now: it may join what an earlier join has left
        kept = [value for value in node.inputs if 0 not in graph.spec(value).shape]
        if len(kept) == len(node.inputs):
            continue
        done[name] = "the branch is gone"
        if len(kept) == 1:
            substitute(graph, node, kept[0])
        elif kept:
            graph.set_operands(node, (kept,), {})
    if done:
        graph.remove_unused()
    return done


def _join(graph: Graph, node: Node, constants: dict[Value, Array], fold: bool) -> str:
    """Fold constants into the sum or product where their branch meets the rest."""
    kind = graph.kind(node)
    combination = combination_of(graph, node)
    product = isinstance(combination, Product)
    if isinstance(combination, Sum):
        factors = combination.factors
    elif product:
        factors = (1.0,) * len(node.inputs)
    else:
        raise _Stuck(f"{node.name!r} ({kind}) cannot take a constant in place of this operand")
    operands = list(zip(node.inputs, factors, strict=True))
    others = [value for value, _ in operands if value not in constants]
    given = [constants[value] * factor for value, factor in operands if value in constants]
    if any(factor != 1 for value, factor in operands if value not in constants):
        raise _Stuck(f"{node.name!r} would only scale what is left")
    if any(len(graph.spec(value).shape) != len(node.spec.shape) for value in others):
        raise _Stuck(f"{node.name!r} broadcasts what is left")
    full = [value for value in others if graph.spec(value).shape == node.spec.shape]
    if not full:
        raise _Stuck(f"what is left of {node.name!r} is smaller than its result")
    total = given[0]
    for array in given[1:]:
        total = total * array if product else total + array
    total = np.asarray(total, node.spec.dtype)
    base = others[0]
    if len(others) > 1:
        combine = keras.ops.multiply if product else keras.ops.add
        for other in others[1:]:
            base = splice(graph, combine, base, other, like=node)
    neutral = not fold or bool(np.all(total == (1 if product else 0)))
    if not neutral and not (not product and _into_bias(graph, base, node, total)):
        operation = keras.ops.multiply if product else keras.ops.add
        base = splice(graph, lambda tensor: operation(tensor, total), base, like=node)
    substitute(graph, node, base)
    return "the branch is gone" if neutral else "the branch is gone; what it gave is a constant now"


def _into_bias(graph: Graph, value: Value, user: Node, constant: Array) -> bool:
    """Add a constant per channel to the bias of the layer that computes a tensor, if nothing else reads it."""
    producer = graph.producer(value)
    layer = graph.layer_of(producer)
    alone = len(graph.uses(value)) == 1 and len(graph.calls(producer.layer)) == 1 and not graph.is_output(value)
    if not alone:
        return False
    form, affine, last = channel_form(layer), affine_of(layer), len(user.spec.shape) - 1
    if form is not None and not form.channels_first and layer.config.get("activation") == "linear":
        key = form.bias
    elif affine is not None and affine.axis in (-1, last):
        key = affine.shift_key
    else:
        return False
    if key not in layer.weights:
        return False
    if constant.size not in (1, constant.shape[-1]) or producer.layer in graph.tied_layers():
        return False
    array = layer.weights[key].array
    graph.set_weight(producer.layer, key, array + np.broadcast_to(constant.reshape(-1), array.shape))
    return True
