"""Find the numbers before a softmax in a graph, so that a temperature can be put between."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.calls import splice
from kerasurgeon.rewrite.surgery import insert_after
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.asking import activation_of, identity_of, movement_of, positions_of
from kerasurgeon.rules.positions import Gone, Resized, Window

_SMALLEST = 1e-7


def logits_of(graph: Graph, output: Value) -> Value:
    """The logits of an output: what its softmax reads. The graph is changed where that takes it.

    A softmax may be a layer or op, or the activation of a layer: that layer is split in two. Where a softmax is
    followed by something that moves probabilities about, as a resizing does, the logits are the logarithm of the
    probabilities, which a softmax takes for the same. An output without a softmax is logits itself.

    Args:
        graph: The graph; it goes on computing the same.
        output: The output.

    Returns:
        The logits, with classes along the last axis.

    Raises:
        OptionError: The output is no choice among classes: it comes from a sigmoid, say, or has one number.
    """
    classes = graph.spec(output).shape[-1] if graph.spec(output).shape else None
    if classes is not None and classes < 2:
        raise _no_choice(graph, output, f"it has {classes} number per sample")
    value = output
    while True:
        node = graph.producer(value)
        layer = graph.layer_of(node)
        activation = activation_of(layer)
        if activation == "softmax":
            if not layer.weights:
                _check_axis(graph, node.layer, output)
                return node.inputs[0]
            return _split(graph, value)
        if activation not in (None, "linear"):
            if activation in ("sigmoid", "hard_sigmoid"):
                raise _no_choice(graph, output, f"{node.name!r} ends in {activation}")
            return output
        if not _is_transparent(graph, node):
            break
        if not node.inputs:
            return output
        value = node.inputs[0]
    return _logarithm(graph, output) if _of_softmax(graph, value) else output


def outputs_of(graph: Graph) -> tuple[Value, ...]:
    """The outputs of a graph, flattened."""
    return values_in(graph.outputs)


def _check_axis(graph: Graph, layer: str, output: Value) -> None:
    axis = graph.layers[layer].config.get("axis", -1)
    rank = len(graph.spec(output).shape)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if [one % rank for one in axes] != [rank - 1]:
        raise OptionError(
            "Distillation needs classes along the last axis.", where=f"softmax {layer!r}", got=f"axis {axis}"
        )


def _split(graph: Graph, value: Value) -> Value:
    """Take the softmax out of a layer and put it behind each of its calls. Returns the logits of ``value``."""
    key = graph.producer(value).layer
    layer = graph.layers[key]
    graph.update_layer(key, layer.with_config(activation="linear"))
    for node in graph.calls(key):
        # A split layer computes in its own precision, as its softmax did.
        softmax = keras.layers.Softmax(name=f"{layer.name}_softmax", dtype=layer.config.get("dtype"))
        insert_after(graph, node.value, softmax)
    return value


def _of_softmax(graph: Graph, value: Value) -> bool:
    node = graph.producer(value)
    while node.inputs and (_keeps_probabilities(graph, node) or _is_transparent(graph, node)):
        value = node.inputs[0]
        node = graph.producer(value)
        if activation_of(graph.layer_of(node)) == "softmax":
            return True
    return False


def _is_transparent(graph: Graph, node: Node) -> bool:
    """Whether a node does not change what numbers mean: from probabilities one looks on to their softmax."""
    try:
        return graph.kind(node) == "ops.cast" or bool(identity_of(graph, node))
    except CannotTell:
        return rule_for(graph.kind(node)).only_in_training(graph.layer_of(node))


def _keeps_probabilities(graph: Graph, node: Node) -> bool:
    """Whether a node moves numbers about, or averages them, without taking them for anything but probabilities."""
    positions = positions_of(graph, node)
    averages = isinstance(positions, (Window, Gone)) and positions.takes == "mean"
    return averages or isinstance(positions, Resized) or movement_of(graph, node) is not None


def _logarithm(graph: Graph, output: Value) -> Value:
    def logarithm(tensor: Any) -> Any:
        return keras.ops.log(keras.ops.maximum(keras.ops.cast(tensor, "float32"), _SMALLEST))

    return values_in(splice(graph, logarithm, output))[0]


def _no_choice(graph: Graph, output: Value, why: str) -> OptionError:
    return OptionError(
        "Distillation of what a network says of classes needs an output that chooses among classes by a softmax.",
        where=f"output {output} {graph.spec(output)} of {graph.name!r}",
        got=why,
        hint="FeatureMatching compares any tensors",
    )


__all__ = ["logits_of", "outputs_of"]
