"""Derive what a node's outputs must be, by Keras itself, and compare it with what the graph records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import keras

from kerasurgeon.errors import EmitError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io.foreign import told
from kerasurgeon.keras_io.injection import brief_variables
from kerasurgeon.keras_io.layers import build, capture, construct, specs_of, symbolic
from kerasurgeon.keras_io.quick import quick_keras


def derive_specs(graph: Graph, node: Node | str, made: Any = None) -> tuple[TensorSpec, ...]:
    """What Keras says a node's outputs are, given its layer's config, its weights and its operands' specs.

    Args:
        graph: The graph.
        node: The node.
        made: The built Keras layer, where the caller has one already.

    Raises:
        VerificationError: Keras refuses the call, or the weights do not fit it.
    """
    node = graph[node] if isinstance(node, str) else node
    layer = graph.layer_of(node)
    if layer.kind == "InputLayer":
        return (_input_spec(layer),)
    if layer.prototype is not None:
        return node.outputs  # made from Python functions: nothing here can derive what they give
    args, kwargs = symbolic_operands(graph, node)
    try:
        with brief_variables(), told(layer, "fails when it is called"):
            made = built_layer(layer, args, kwargs, parts=built_parts(graph, layer)) if made is None else made
            outputs = made(*args, **kwargs)
    except EmitError as error:
        raise VerificationError(
            error.what,
            where=error.where or f"node {node.name!r}",
            expected=error.expected,
            got=error.got,
            hint=error.hint,
            context=neighbourhood(graph, node.name),
        ) from error
    except Exception as error:
        raise VerificationError(
            f"Keras refuses the call of {node.name!r} ({layer.kind}).",
            where=f"node {node.name!r}",
            got=_condensed(error),
            hint="the operands' shapes and the layer's config do not go together",
            context=neighbourhood(graph, node.name),
        ) from error
    return output_specs(made, args, kwargs, outputs)


def output_specs(made: Any, args: Any, kwargs: Any, outputs: Any) -> tuple[TensorSpec, ...]:
    """The specs of what a layer gave when it was called on symbolic tensors."""
    operands = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
    return specs_of(made, operands, outputs)


def built_layer(
    layer: Layer,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    initialise: bool = False,
    parts: Mapping[str, Any] | None = None,
) -> Any:
    """The Keras layer of a definition, built for these operands; see ``layers.construct`` and ``layers.build``."""
    made = construct(layer, parts)
    try:
        build(layer, made, args, kwargs, initialise=initialise)
    except EmitError:
        if not parts:
            raise
        # It holds a part in some other place too, where its own cannot be exchanged.
        made = construct(layer)
        build(layer, made, args, kwargs, initialise=initialise)
    return made


def built_parts(graph: Graph, layer: Layer) -> dict[str, Any]:
    """The layers that a layer holds as attributes and that the graph calls by themselves, each built."""
    return {
        attribute: built_layer(graph.layers[key], *symbolic_operands(graph, graph.calls(key)[0]))
        for attribute, key in layer.parts.items()
        if key in graph.layers
    }


def keras_layer(graph: Graph, node: Node | str) -> Any:
    """The Keras layer or op that a node calls, made anew from its definition: built, with its weights.

    Raises:
        EmitError: It cannot be made from its definition.
    """
    node = graph[node] if isinstance(node, str) else node
    layer = graph.layer_of(node)
    with quick_keras():
        return built_layer(layer, *symbolic_operands(graph, node), parts=built_parts(graph, layer))


def symbolic_operands(graph: Graph, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A node's operands with fresh symbolic tensors in place of values and weight references."""
    tensors: dict[Value, Any] = {}

    def translate(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            if leaf not in tensors:
                tensors[leaf] = symbolic(graph.spec(leaf))
            return tensors[leaf]
        if isinstance(leaf, WeightRef):
            return graph.layers[leaf.layer].weights[leaf.key].array
        return leaf

    return map_leaves(translate, node.args), map_leaves(translate, dict(node.kwargs))


def check_types(graph: Graph, *, everything: bool = False) -> int:
    """Derive every spec that may have changed and compare it with the recorded one.

    Args:
        graph: The graph.
        everything: Derive all nodes, also those that have not changed since they were last derived.

    Returns:
        How many nodes were derived.

    Raises:
        VerificationError: A recorded shape or dtype is not what Keras derives, or a weight does not fit.
    """
    names = None if everything else graph.unchecked
    checked = 0
    for node in graph.nodes():
        if names is not None and node.name not in names:
            continue
        derived = derive_specs(graph, node)
        if derived != node.outputs:
            raise VerificationError(
                f"Node {node.name!r} ({graph.kind(node)}) does not give what the graph records.",
                where=f"node {node.name!r}",
                expected=", ".join(map(str, node.outputs)) + " (recorded)",
                got=", ".join(map(str, derived)) + " (derived by Keras)",
                hint="call infer(graph) after a change of shapes, or fix the pass that made it",
                context=neighbourhood(graph, node.name),
            )
        graph.mark_checked(node.name)
        checked += 1
    return checked


def infer(graph: Graph) -> tuple[str, ...]:
    """Derive the specs of all changed nodes and record them, on through every node that they affect.

    Returns:
        Names of the nodes whose recorded specs changed.

    Raises:
        VerificationError: Keras refuses a call, or weights do not fit.
    """
    changed = []
    for node in graph.nodes():
        if node.name not in graph.unchecked:
            continue
        derived = derive_specs(graph, node)
        if derived != node.outputs:
            graph.set_outputs(node, derived)
            changed.append(node.name)
        graph.mark_checked(node.name)
    return tuple(changed)


def _input_spec(layer: Layer) -> TensorSpec:
    config = layer.config
    return TensorSpec(tuple(config["batch_shape"]), str(config["dtype"]), bool(config.get("sparse", False)))


def _condensed(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:400]


def derive_new(
    graph: Graph, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Layer, tuple[TensorSpec, ...]]:
    """Build a definition for operands that are in the graph: its weights as Keras makes them, and its outputs.

    Args:
        graph: The graph that the operands belong to. It is only read.
        layer: The definition; weights it lacks are initialised by Keras.
        args: Positional operands.
        kwargs: Keyword operands.

    Returns:
        The definition with all its weights, and the specs of its outputs.

    Raises:
        VerificationError: Keras refuses the call or the weights do not fit.
    """
    for value in values_in((args, dict(kwargs))):
        graph.spec(value)
    node = Node(layer.name, layer.name, tuple(args), MappingProxyType(dict(kwargs)))
    symbolic_args, symbolic_kwargs = symbolic_operands(graph, node)
    what = f"new layer {layer.name!r} ({layer.kind})"
    with brief_variables():
        try:
            made = built_layer(layer, symbolic_args, symbolic_kwargs, initialise=True)
            outputs = made(*symbolic_args, **symbolic_kwargs)
        except EmitError as error:
            raise VerificationError(
                error.what, where=what, expected=error.expected, got=error.got, hint=error.hint
            ) from error
        except Exception as error:
            operands = ", ".join(f"{value} {graph.spec(value)}" for value in node.inputs)
            raise VerificationError(
                f"Keras refuses the call of {what}.", got=_condensed(error), where=f"operands: {operands}"
            ) from error
        captured = capture(made)
    specs = output_specs(made, symbolic_args, symbolic_kwargs, outputs)
    return replace(captured, parent_path=layer.parent_path), specs
