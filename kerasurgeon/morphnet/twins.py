"""Training twins: models with scales or gates at every channel, and back again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, Source, analyse
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.morphnet.alive import terms
from kerasurgeon.morphnet.twin_layers import GATE, SCALE, ChannelGate, ChannelScale
from kerasurgeon.rewrite.option_checks import check_count, check_flag, is_number, wrong_option
from kerasurgeon.rewrite.surgery import insert_after
from kerasurgeon.rules.answers import Affine
from kerasurgeon.rules.asking import affine_of, channel_form
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.linear_numbers import scaled_outputs

Array = np.ndarray[Any, Any]


def with_scales(model: keras.Model) -> keras.Model:
    """A model that computes the same, in which every channel that may go has a scale: for the gamma algorithm.

    Batch normalisations without scales get scales of one. Layers that no batch normalisation follows get a layer of
    scales behind them, before their activation, which becomes a layer of its own. ``without_scales`` folds these
    layers away, and so does ``MorphNet.shrink``.

    Args:
        model: A functional or sequential model; it is not changed.

    Returns:
        A new model.

    Raises:
        LiftError: The model has no graph.
    """
    graph = lift(model)
    for key, layer in list(graph.layers.items()):
        affine = affine_of(layer)
        if affine is not None and affine.scale_key not in layer.weights and "scale" in layer.config:
            graph.update_layer(key, _scaled_norm(layer, affine))
    channels = analyse(graph)
    spoken = np.zeros(channels.units, bool)
    for term in terms(channels, "gamma"):
        spoken[term.units] = True
    for source in channels.sources.values():
        units = channels.unit[source.ids.ravel()]
        if _may_go(channels, units) and not spoken[units].all() and _has_a_place(graph, source):
            _put(graph, source, "scale", ChannelScale, after_norm=False)
    return emit(graph)


@python_kept()
def with_gates(
    model: keras.Model,
    *,
    initial: float = 2.5,
    temperature: float = 1e-3,
    straight_through: bool = True,
    seed: int = 0,
) -> keras.Model:
    """A training twin with a gate at every channel that may go: for ``MorphNet(..., "gates")``.

    Gates stand behind the batch normalisation that follows a layer, or behind the layer and before its activation. A
    channel whose gates are all shut gives zero there, so that cutting it changes nothing unless what follows adds a
    constant. The twin does not compute quite what the model does: gates let through ``sigmoid(initial)`` at first.
    Channels of layers that are called several times, or are neither convolutions nor dense, have no gates, and neither
    have those that share channels with them.

    Args:
        model: A functional or sequential model; it is not changed.
        initial: Log-odds of all gates at first.
        temperature: Of the samples: the lower, the nearer to 0 and 1.
        straight_through: Take the gradient of the probability, not of the sample.
        seed: All noise follows from it.

    Returns:
        A new model.

    Raises:
        LiftError: The model has no graph.
        OptionError: An option has a value that it may not have.
    """
    if not is_number(initial):
        raise wrong_option("with_gates", "initial", initial, "a number")
    if not is_number(temperature) or temperature <= 0:
        raise wrong_option("with_gates", "temperature", temperature, "a number above 0")
    check_flag("with_gates", "straight_through", straight_through)
    check_count("with_gates", "seed", seed, 0)
    graph = lift(model)
    channels = analyse(graph)

    def gate(axis: int, name: str) -> keras.Layer:
        return ChannelGate(axis, initial, temperature, straight_through, seed + len(graph), name=name)

    # A unit that one of its layers makes without a gate is never shut.
    ungated = np.zeros(channels.units, bool)
    for source in channels.sources.values():
        if not _has_a_place(graph, source):
            ungated[channels.unit[source.ids.ravel()]] = True
    for source in channels.sources.values():
        units = channels.unit[source.ids.ravel()]
        if _may_go(channels, units) and not ungated[units].any():
            _put(graph, source, "gate", gate, after_norm=True)
    return emit(graph)


def without_scales(model: keras.Model) -> keras.Model:
    """A model that computes the same in inference, with scales and gates folded into the layers before them.

    Args:
        model: A model that ``with_scales`` or ``with_gates`` made, or that was shrunk from such; it is not changed.
    """
    graph = lift(model)
    fold(graph)
    return emit(graph)


def fold(graph: Graph) -> int:
    """Fold scales and gates of a graph, in place. Returns how many there were."""
    count = 0
    for node in graph.nodes():
        if graph.kind(node) in (SCALE, GATE):
            _fold(graph, node)
            count += 1
    return count


def _may_go(channels: Channels, units: Array) -> bool:
    return any(unit not in channels.frozen for unit in units.tolist())


def _has_a_place(graph: Graph, source: Source) -> bool:
    """Whether a layer can stand behind a source, and be folded into it again."""
    form = channel_form(graph.layers[source.layer])
    return form is not None and not form.depthwise and len(graph.calls(source.layer)) == 1


def _put(graph: Graph, source: Source, what: str, make: Any, *, after_norm: bool) -> None:
    """A layer behind a source."""
    layer, nodes = graph.layers[source.layer], graph.calls(source.layer)
    rank = len(nodes[0].spec.shape)
    axis = channel_axis(layer.config) if rank > 2 else -1
    value = nodes[0].value
    name = f"{layer.name}_{what}"
    users = graph.uses(value)
    if after_norm and len(users) == 1 and not graph.is_output(value):
        user = graph[users[0].node]
        if affine_of(graph.layer_of(user)) is not None and len(graph.calls(user.layer)) == 1:
            insert_after(graph, user.value, make(axis, name=graph.unique_name(name)))
            return
    activation = layer.config.get("activation")
    insert_after(graph, value, make(axis, name=graph.unique_name(name)))
    if activation not in (None, "linear"):
        graph.update_layer(source.layer, layer.with_config(activation="linear"))
        scaled = next(use.node for use in graph.uses(value))
        called = keras.activations.get(activation)
        own = keras.layers.Activation(called, name=graph.unique_name(f"{layer.name}_activation"))
        insert_after(graph, graph[scaled].value, own)


def _scaled_norm(layer: Layer, affine: Affine) -> Layer:
    """A batch norm without scales, with scales of one."""
    some = next(iter(layer.weights.values())).array
    ones = Weight(np.ones(affine.scale.shape, some.dtype))
    return replace(layer.with_config(scale=True), weights={affine.scale_key: ones, **layer.weights})


def _fold(graph: Graph, node: Node) -> None:
    layer = graph.layer_of(node)
    if graph.kind(node) == SCALE:
        vector = layer.weights["gamma"].array.astype("float64")
    else:
        logits = layer.weights["logits"].array.astype("float64")
        vector = np.where(logits > 0, 1 / (1 + np.exp(-logits)), 0.0)
    before = graph[node.inputs[0].node]
    own = graph.layer_of(before)
    affine, form = affine_of(own), channel_form(own)
    if affine is not None:
        own = own if affine.scale_key in own.weights else _scaled_norm(own, affine)
        keys = [key for key in (affine.scale_key, affine.shift_key) if key in own.weights]
        new = {key: own.weights[key].array * vector for key in keys}
    else:
        assert form is not None
        new = scaled_outputs(own, form, vector)
        if form.bias in own.weights:
            new[form.bias] = own.weights[form.bias].array * vector
    cast = {key: array.astype(own.weights[key].array.dtype) for key, array in new.items()}
    graph.update_layer(before.layer, own.with_weights(**cast))
    graph.replace_uses(node.value, Value(before.name, 0))
    graph.remove(node.name)
