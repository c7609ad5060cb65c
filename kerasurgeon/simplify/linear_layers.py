"""Linear layers that a pass may change: called once, with weights of their own, and nothing but kernels and a bias."""

from __future__ import annotations

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.linear import LinearForm


def linear_layer(graph: Graph, node: Node) -> tuple[Layer, LinearForm]:
    """The layer of a node and its linear form, channels to channels.

    Raises:
        Skip: It is called elsewhere too, its weights are used elsewhere, or it computes something else.
    """
    layer = graph.layer_of(node)
    try:
        form = rule_for(layer.kind).linear(layer)
    except CannotTell as reason:
        raise Skip(f"{node.name!r} {str(reason).removeprefix('it ')}") from None
    if form is None or not form.by_channel:
        raise Skip(f"{node.name!r} is {layer.kind}, not a linear layer")
    if len(graph.calls(node.layer)) > 1:
        raise Skip(f"layer {node.layer!r} is shared: it is called {len(graph.calls(node.layer))} times")
    if graph.is_tied(node.layer):
        raise Skip(f"the weights of {node.layer!r} are used elsewhere too")
    sizes = node.spec.shape
    if form.channels_first and sizes[1] == sizes[-1] != 1:
        # keras.ops.add takes the bias for one of the last axis then (Keras 3.15, backend/tensorflow/numpy.py).
        raise Skip(f"Keras adds the bias of {node.name!r} along the wrong axis: it has as many channels as columns")
    return layer, form


def require_no_activation(layer: Layer, name: str) -> None:
    """Refuse a layer that does something to what its kernels give.

    Raises:
        Skip: It does.
    """
    if layer.config.get("activation", "linear") not in (None, "linear"):
        raise Skip(f"{name!r} has an activation of its own")
    if layer.config.get("activity_regularizer") is not None:
        raise Skip(f"{name!r} has an activity regulariser")
