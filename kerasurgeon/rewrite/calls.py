"""Put new calls into a graph: one layer, or all that a Keras function or model does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io.derive import derive_new
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.keras_io.ties import renumbered


def call(
    graph: Graph,
    layer: keras.Layer | Layer,
    *args: Any,
    weights: Mapping[str, Any] | None = None,
    name: str | None = None,
    like: Node | str | None = None,
    **kwargs: Any,
) -> Value:
    """Add a layer to a graph and call it.

    Args:
        graph: The graph.
        layer: A Keras layer, built or not, or a definition. It is only read.
        *args: Positional operands: values, nested as the layer takes them, or constants.
        weights: Arrays by path (``{"kernel": ...}``), cast to the layer's dtype. Without them a built layer
            brings its own, and one that is not built is initialised by its initialisers.
        name: Wanted name, made unique; by default the layer's own.
        like: A node that the new one stands in for: it takes its place in nested models, its position and its origin.
        **kwargs: Keyword operands.

    Returns:
        The first output; others are ``Value(result.node, i)``.

    Raises:
        VerificationError: Keras refuses the call or the weights do not fit; the graph is as it was.
    """
    definition = layer if isinstance(layer, Layer) else layer_from_keras(layer)
    if weights is not None:
        given = {key: Weight(np.asarray(array), trainable=None) for key, array in weights.items()}
        definition = replace(definition, weights=given)
    elif definition.weights:
        given = {key: replace(weight, trainable=None) for key, weight in definition.weights.items()}
        definition = replace(definition, weights=given)
    model = None if like is None else graph[like if isinstance(like, str) else like.name]
    scope = "" if model is None else model.scope
    wanted = name or definition.name
    key = graph.unique_name(f"{scope}/{wanted}" if scope else wanted)
    definition = replace(definition.with_name(key.rpartition("/")[2]), parent_path="")
    definition, outputs = derive_new(graph, definition, args, kwargs)
    graph.add_layer(definition, key)
    node = graph.add_node(
        key,
        args,
        kwargs,
        outputs=outputs,
        scope=scope,
        near=None if model is None else model.name,
        origin=() if model is None else model.origin,
    )
    graph.mark_checked(node.name)
    return node.value


def substitute(graph: Graph, node: Node | str, value: Value) -> None:
    """Let ``value`` take the place of a node's first output, and remove the node.

    If the model returns the node's result, what computes ``value`` takes over the node's name as well, since Keras
    names outputs after the layer that computes them; unless it is an input or its layer is called elsewhere.

    Args:
        graph: The graph.
        node: The node that goes.
        value: The tensor that its users read instead.

    Raises:
        GraphError: Other outputs of the node are used, or ``value`` is computed from it.
    """
    old = graph[node if isinstance(node, str) else node.name]
    others = [index for index in range(1, len(old.outputs)) if graph.is_used(Value(old.name, index))]
    if others:
        raise GraphError(
            f"{value} cannot take the place of {old.name!r}: other outputs of it are used.",
            got=f"outputs {', '.join(map(str, others))}",
        )
    returned, name = graph.is_output(old.value), graph.layer_of(old).name
    successor = graph.producer(value)
    graph.replace_uses(old.value, value)
    graph.remove(old)
    free = f"{successor.scope}/{name}" if successor.scope else name
    taken = free in graph or free in graph.layers
    alone = len(graph.calls(successor.layer)) == 1 and successor.inputs and successor.scope == old.scope
    if returned and alone and not taken:
        graph.rename(successor, name)


def splice(
    graph: Graph,
    source: Graph | keras.Model | Callable[..., Any],
    *operands: Value,
    like: Node | str | None = None,
    prefix: str | None = None,
) -> Any:
    """Copy what a model, a graph or a function of Keras tensors computes into a graph.

    Args:
        graph: The graph to copy into.
        source: A Keras model, a graph, or a function that takes symbolic tensors and returns some
            (``lambda x: keras.ops.relu(x) + 1``). Weights come along.
        *operands: What stands in for the source's inputs, in flattened order.
        like: A node whose place in nested models, position and origin the new nodes take.
        prefix: Put before the names of the new nodes.

    Returns:
        The source's outputs, nested as the source nests them, as values of ``graph``.

    Raises:
        GraphError: The number of operands is wrong, or an operand's shape or dtype is not what the source takes.
        VerificationError: Keras refuses one of the calls; the graph is as it was.
    """
    inner = source if isinstance(source, Graph) else _lift_source(graph, source, operands)
    inputs = values_in(inner.inputs)
    if len(inputs) != len(operands):
        raise GraphError(
            f"{inner.name!r} takes {len(inputs)} inputs.",
            got=f"{len(operands)} operands: {', '.join(map(str, operands))}",
        )
    for theirs, ours in zip(inputs, operands, strict=True):
        if not inner.spec(theirs).accepts(graph.spec(ours)):
            raise GraphError(
                f"{ours} does not fit input {theirs} of {inner.name!r}.",
                expected=str(inner.spec(theirs)),
                got=str(graph.spec(ours)),
            )
    if inner.scopes:
        inner = inner.copy()
        inner.flatten()
    trial = graph.copy()
    outputs = _copy_nodes(trial, inner, dict(zip(inputs, operands, strict=True)), like, prefix)
    graph.adopt(trial)
    return outputs


def _copy_nodes(
    graph: Graph, inner: Graph, bound: dict[Value, Value], like: Node | str | None, prefix: str | None
) -> Any:
    model = None if like is None else graph[like if isinstance(like, str) else like.name]
    scope = "" if model is None else model.scope
    before = f"{scope}/" if scope else ""
    keys: dict[str, str] = {}
    ties: dict[int, int] = {}

    def translate(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return bound[leaf]
        if isinstance(leaf, WeightRef):
            return WeightRef(key_of(leaf.layer), leaf.key)
        return leaf

    def key_of(key: str) -> str:
        if key not in keys:
            layer = renumbered(inner.layers[key], ties)
            wanted = f"{before}{prefix or ''}{layer.name}"
            keys[key] = graph.unique_name(wanted)
            graph.add_layer(replace(layer.with_name(keys[key].rpartition("/")[2]), parent_path=""), keys[key])
        return keys[key]

    for node in inner.nodes():
        if node.value in bound and inner.kind(node) == "InputLayer":
            continue
        args, kwargs = map_leaves(translate, node.args), map_leaves(translate, dict(node.kwargs))
        made = graph.add_node(
            key_of(node.layer),
            args,
            kwargs,
            outputs=node.outputs,
            scope=scope,
            near=None if model is None else model.name,
            origin=() if model is None else model.origin,
        )
        for index in range(len(node.outputs)):
            bound[Value(node.name, index)] = Value(made.name, index)
    return map_leaves(translate, inner.outputs)


def _input(spec: TensorSpec) -> Any:
    return keras.Input(batch_shape=spec.shape, dtype=spec.dtype, sparse=spec.sparse)


def _lift_source(graph: Graph, source: Any, operands: tuple[Value, ...]) -> Graph:
    if isinstance(source, keras.Model):
        return lift(source)
    tensors = [_input(graph.spec(value)) for value in operands]
    try:
        outputs = source(*tensors)
    except Exception as error:
        raise VerificationError(
            f"The function {getattr(source, '__name__', source)!r} fails on symbolic tensors.",
            got=f"{type(error).__name__}: {error}",
            expected="a function of Keras tensors, made of layers and keras.ops",
        ) from error
    if not all(isinstance(leaf, keras.KerasTensor) for leaf in leaves(outputs)):
        raise VerificationError(
            f"The function {getattr(source, '__name__', source)!r} does not return Keras tensors.",
            got=type(outputs).__name__,
        )
    return lift(keras.Model(tensors, outputs))
