"""Add a constant per channel to what a layer gives: to its bias, to the batch norm behind it, or as a new bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.rules.asking import affine_of, linear_form

Array = np.ndarray[Any, Any]


def takes_no_bias(graph: Graph, node: Node) -> str:
    """Why a layer cannot take up a constant per channel that it gives; empty if it can."""
    layer = graph.layer_of(node)
    form = linear_form(layer)
    able = form is not None and (form.bias in layer.weights or form.new_bias is not None)
    return "" if able else "it takes no bias"


def add_to_bias(graph: Graph, node: Node, shift: Array) -> None:
    """Add a constant per output channel to what a node's layer gives, before its activation, in place.

    Args:
        graph: The graph.
        node: A call of a layer with a kernel, the only one.
        shift: ``(channels,)``.
    """
    layer = graph.layer_of(node)
    form = linear_form(layer)
    assert form is not None
    bias = layer.array(form.bias)
    if bias is not None:
        graph.set_weight(node.layer, form.bias, (bias.astype(np.float64) + shift).astype(bias.dtype))
        return
    norm = batch_norm_behind(graph, node)
    if norm is not None:
        mean = graph.layer_of(norm).weights["moving_mean"].array
        graph.set_weight(norm.layer, "moving_mean", (mean.astype(np.float64) - shift).astype(mean.dtype))
        return
    assert form.new_bias is not None
    dtype = layer.weights[form.kernels[0].key].array.dtype
    biased = layer.with_config(**form.new_bias).with_weights(**{form.bias: shift.astype(dtype)})
    graph.update_layer(node.layer, biased)


def batch_norm_behind(graph: Graph, node: Node) -> Node | None:
    """The batch norm that alone reads a linear layer, over the same axis."""
    layer = graph.layer_of(node)
    users = graph.users(node)
    if len(users) != 1 or graph.is_output(node.value) or layer.config.get("activation") not in (None, "linear"):
        return None
    norm = users[0]
    affine = affine_of(graph.layer_of(norm))
    if affine is None or "moving_mean" not in graph.layer_of(norm).weights or len(graph.calls(norm.layer)) != 1:
        return None
    if norm.layer in graph.tied_layers() or norm.kwargs.get("training"):
        return None
    rank = len(node.spec.shape)
    form = linear_form(layer)
    return norm if form is not None and affine.axis % rank == form.axis(rank) else None
