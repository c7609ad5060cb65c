"""What a rule of ``Simplify`` is, and what rules are made of.

A rule is a function of a graph and a node with the kinds of node that it looks at. It checks first and changes second:
it raises ``Skip`` while the graph is as it was, or changes it and says what it did::

    @rule("identities", "Rescaling")
    def unit_rescaling(graph: Graph, node: Node) -> str:
        config = graph.layer_of(node).config
        if config["scale"] != 1 or config["offset"] != 0:
            raise Skip("it scales or shifts")
        return bypass(graph, node, "it multiplies by 1 and adds 0")

The tuple ``RULES`` at the end of each module of rules lists them; ``Simplify`` asks them in that order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import networkx as nx

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.rewrite.calls import substitute
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules import rule_for

Action = Callable[[Graph, Node], str]
"""What a rule does at a node: change the graph and say what was done, or raise ``Skip``."""


@dataclass(frozen=True)
class Rule:
    """One simplification.

    Attributes:
        option: The option of ``Simplify`` that switches it on.
        kinds: The kinds of node it looks at; empty for every kind.
        action: What it does there.
        sites: Which nodes of those kinds are sites; the others are passed over without a reason.
    """

    option: str
    kinds: frozenset[str]
    action: Action
    sites: Callable[[Graph, Node], bool] = lambda _graph, _node: True

    def looks_at(self, graph: Graph, node: Node) -> bool:
        """Whether a node is a site of this rule."""
        return (not self.kinds or graph.kind(node) in self.kinds) and self.sites(graph, node)


def rule(option: str, *kinds: str, sites: Callable[[Graph, Node], bool] | None = None) -> Callable[[Action], Rule]:
    """Make a rule of a function; see ``Rule`` for the arguments."""

    def make(action: Action) -> Rule:
        return Rule(option, frozenset(kinds), action, *(() if sites is None else (sites,)))

    return make


def bypass(graph: Graph, node: Node, why: str, value: Value | None = None) -> str:
    """Let everything that reads a node read ``value`` instead, and remove the node.

    Args:
        graph: The graph.
        node: A node with one output.
        why: Why that changes nothing, for the report.
        value: A tensor of the same shape and dtype; by default the only one that the node reads.

    Raises:
        Skip: The tensor would differ in shape, dtype or mask, or an output of a model would lose its name.
    """
    value = source(node) if value is None else value
    if len(node.outputs) != 1:
        raise Skip(f"it has {len(node.outputs)} outputs")
    before, after = graph.spec(value), node.spec
    if (before.shape, before.dtype) != (after.shape, after.dtype) or before.sparse > after.sparse:
        raise Skip(f"it turns {before} into {after}")
    require_unmasked(graph, node, value)
    require_free_name(graph, node, value)
    substitute(graph, node, value)
    if before != after:  # Keras records what it multiplies by a number as sparse; what reads it need not be
        infer(graph)
    return f"removed: {why}"


def source(node: Node) -> Value:
    """The only tensor that a node reads.

    Raises:
        Skip: It reads several or none.
    """
    values = set(node.inputs)
    if len(values) != 1:
        raise Skip(f"it reads {len(values)} tensors")
    return values.pop()


def require_unmasked(graph: Graph, node: Node, value: Value) -> None:
    """Refuse to let ``value`` take a node's place where the node keeps a mask from getting further."""
    if rule_for(graph.kind(node)).passes_mask(graph.layer_of(node)):
        return
    for name in nx.ancestors(graph.digraph, value.node) | {value.node}:
        layer = graph.layer_of(name)
        if layer.kind == "Masking" or layer.config.get("mask_zero") or _makes_mask(layer):
            raise Skip(f"it ends the mask that {name!r} makes")


def _makes_mask(layer: Layer) -> bool:
    own = getattr(layer.cls, "compute_mask", keras.Layer.compute_mask) is not keras.Layer.compute_mask
    return own and not layer.cls.__module__.startswith("keras.")


def require_free_name(graph: Graph, node: Node, value: Value) -> None:
    """Refuse where the model, or a nested one, returns the node's result and could not return ``value`` as well.

    Keras names an output after the layer that computes it. ``substitute`` gives that name to what computes ``value``,
    which must be free to take it.
    """
    producer = graph.producer(value)
    if graph.is_output(node.value):
        others = [Value(producer.name, index) for index in range(len(producer.outputs))]
        if not producer.inputs:
            raise Skip("it is all that stands between an input and an output of the model")
        if any(graph.is_output(other) for other in others):
            raise Skip(f"the model returns its result and that of {producer.name!r} under two names")
        if producer.scope != node.scope or len(graph.calls(producer.layer)) > 1:
            raise Skip(f"it gives an output of the model its name, which {producer.name!r} cannot take over")
    for path, scope in graph.scopes.items():
        outputs = values_in(scope.outputs)
        if node.value not in outputs or len(graph.nodes_in(path)) == 1:
            continue
        inside = {inner.name for inner in graph.nodes_in(path)}
        if value in outputs or value.node not in inside:
            raise Skip(f"nested model {path!r} would return {value} twice or unchanged")


def require_only_user(graph: Graph, value: Value) -> Node:
    """The only node that reads a tensor, which the model must not return.

    Raises:
        Skip: There is no such node.
    """
    uses = graph.uses(value)
    if graph.is_output(value):
        raise Skip("it is an output of the model")
    if len(uses) != 1:
        raise Skip(f"its result is used {len(uses)} times")
    return graph[uses[0].node]


def require_merged(graph: Graph, first: Node, second: Node) -> None:
    """Refuse to merge a node into the one behind it where it would stay, or belongs to another nested model."""
    try:
        require_only_user(graph, first.value)
    except Skip as skip:
        raise Skip(f"{first.name!r} before it stays: {skip.reason}") from None
    if first.scope != second.scope:
        raise Skip(f"{first.name!r} before it is in another nested model")


def require_unshared(graph: Graph, node: Node) -> Layer:
    """The layer of a node, if this is its only call.

    Raises:
        Skip: It is called or used elsewhere too.
    """
    calls = len(graph.calls(node.layer))
    if calls > 1:
        raise Skip(f"layer {node.layer!r} is shared: it is called {calls} times")
    if graph.is_tied(node.layer):
        raise Skip(f"layer {node.layer!r} or its weights are used elsewhere too")
    return graph.layer_of(node)


@cache
def _parameters_of(cls: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls.call).parameters


def _parameters(layer: Layer) -> Mapping[str, inspect.Parameter]:
    cls: Any = layer.cls  # mypy does not take type[Any] for hashable, as a cache needs
    return _parameters_of(cls)


def operand(graph: Graph, node: Node, name: str) -> Any:
    """What a node's call gives to one of the parameters of ``call``, or ``None``."""
    if name in node.kwargs:
        return node.kwargs[name]
    names = [key for key in _parameters(graph.layer_of(node)) if key != "self"]
    position = names.index(name) if name in names else len(node.args)
    return node.args[position] if position < len(node.args) else None


def require_inference(graph: Graph, node: Node) -> None:
    """Refuse a node that the graph calls in training mode, by itself or with a nested model that it is in."""
    call = _parameters(graph.layer_of(node))
    # Augmentations are in training mode unless they are told otherwise: nobody asked for it.
    by_default = "training" in call and call["training"].default is True
    if operand(graph, node, "training") and not by_default:
        raise Skip("it is called in training mode")
    path = node.scope
    while path:
        if graph.scopes[path].kwargs.get("training"):
            raise Skip(f"nested model {path!r} is called in training mode")
        path = graph.scopes[path].parent


__all__ = [
    "Action",
    "Rule",
    "bypass",
    "operand",
    "require_free_name",
    "require_inference",
    "require_merged",
    "require_only_user",
    "require_unmasked",
    "require_unshared",
    "rule",
    "source",
]
