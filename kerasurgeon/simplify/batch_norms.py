"""Fold what multiplies every channel and adds to it into the linear layer before or behind it.

In inference a batch norm is ``s * x + t`` per channel, with ``s = gamma / sqrt(variance + epsilon)`` and
``t = beta - s * mean``. Behind a linear layer ``W x + b`` that is ``(s W) x + (s b + t)``; before one,
``W (s x + t) + b = (W s) x + (W t + b)``, where ``W t`` is a bias only if every output sums over the same taps: zero
padding behind the batch norm pads with 0, not with ``t``.
"""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.answers import Affine
from kerasurgeon.rules.asking import affine_of, is_channelwise, positions_of
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.linear_numbers import bias_of, scaled_inputs, scaled_outputs, with_numbers
from kerasurgeon.rules.positions import Gone
from kerasurgeon.simplify.linear_layers import linear_layer, require_no_activation
from kerasurgeon.simplify.rules import require_free_name, require_inference


def folded(graph: Graph, norm: Node) -> tuple[Node, Layer, str]:
    """The linear layer that takes a batch norm up, as it is afterwards, and on which side it stands.

    Args:
        graph: The graph; it is only read.
        norm: A node whose layer is affine in inference: a batch norm.

    Raises:
        Skip: There is none that can; the reasons of both sides.
    """
    layer = graph.layer_of(norm)
    if layer.config.get("trainable", True):  # frozen ones use their statistics in any mode
        require_inference(graph, norm)
    if graph.spec(norm.inputs[0]) != norm.spec:
        raise Skip(f"it turns {graph.spec(norm.inputs[0])} into {norm.spec}")
    require_free_name(graph, norm, norm.inputs[0])
    affine = affine_of(layer)
    assert affine is not None
    if not np.all(np.isfinite(affine.scale)):
        raise Skip("it divides by a variance of zero")
    reasons = []
    for side, attempt in (("before", _into_previous), ("behind", _into_next)):
        try:
            linear, result = attempt(graph, norm, affine)
            return linear, result, side
        except Skip as skip:
            reasons.append(f"{side} it: {skip.reason}")
    raise Skip("; ".join(reasons))


def _into_previous(graph: Graph, norm: Node, affine: Affine) -> tuple[Node, Layer]:
    value = norm.inputs[0]
    linear = graph.producer(value)
    layer, form = linear_layer(graph, linear)
    require_no_activation(layer, linear.name)
    _require_only_use(graph, value, norm)
    _require_axis(graph, affine, layer, form, value)
    bias = np.asarray(bias_of(layer, form) * affine.scale + affine.shift)
    return linear, with_numbers(layer, form, scaled_outputs(layer, form, affine.scale), bias)


def _into_next(graph: Graph, norm: Node, affine: Affine) -> tuple[Node, Layer]:
    linear, rank = _only_user(graph, norm), len(norm.spec.shape)
    through = None
    positions = positions_of(graph, linear)
    if isinstance(positions, Gone) and positions.takes == "mean" and is_channelwise(graph.layer_of(linear)):
        through, linear = linear, _only_user(graph, linear)
    layer, form = linear_layer(graph, linear)
    axis = affine.axis % rank
    if through is None:
        _require_axis(graph, affine, layer, form, norm.value)
    elif form.window is not None:
        raise Skip(f"{through.name!r} comes between it and {linear.name!r}")
    elif axis != channel_axis(graph.layer_of(through).config, rank):
        raise Skip(f"{through.name!r} averages over its axis")
    elif axis == 1 and len(through.spec.shape) > 2:
        raise Skip(f"{linear.name!r} does not read the channels that {through.name!r} leaves on axis 1")
    if np.any(affine.shift != 0) and not form.even:
        raise Skip(f"{linear.name!r} pads with zeros, where the batch norm would give its shift")
    arrays, added = scaled_inputs(layer, form, affine.scale, affine.shift)
    return linear, with_numbers(layer, form, arrays, np.asarray(bias_of(layer, form) + added))


def _require_only_use(graph: Graph, value: Value, user: Node) -> None:
    others = [use.node for use in graph.uses(value) if use.node != user.name]
    if others:
        raise Skip(f"{value} is also used by {others[0]!r}")
    if graph.is_output(value):
        raise Skip(f"{value} is also an output of the model")


def _only_user(graph: Graph, node: Node) -> Node:
    users = graph.users(node)
    if graph.is_output(node.value):
        raise Skip(f"{node.name!r} is an output of the model")
    if len(users) != 1 or len(graph.uses(node.value)) != 1:
        raise Skip(f"{node.name!r} is used {len(graph.uses(node.value))} times")
    return users[0]


def _require_axis(graph: Graph, affine: Affine, layer: Layer, form: LinearForm, value: Value) -> None:
    rank = len(graph.spec(value).shape)
    if affine.axis % rank != form.axis(rank):
        raise Skip(
            f"it normalises axis {affine.axis % rank}, {layer.name!r} has its channels on axis {form.axis(rank)}"
        )
