"""Rules of ``Simplify`` for what is known before the model runs: constants, rescaling twice, the same thing twice."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.derive import infer, keras_layer
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules import rule_for
from kerasurgeon.simplify.rules import Rule, require_merged, require_unshared, rule, source

LARGEST_CONSTANT = 65_536
"""Elements of the largest array that is written into a model as a constant: Keras saves these as text."""


def _is_constant(graph: Graph, node: Node) -> bool:
    of_shape = rule_for(graph.kind(node)).reads_shape_only(graph.layer_of(node))
    return _is_function(graph, node) and not (node.inputs[1:] if of_shape else node.inputs)


def _is_function(graph: Graph, node: Node) -> bool:
    """Whether a node is an op that can be computed here once its operands are known."""
    known = graph.kind(node).startswith("ops.") and graph.layer_of(node).prototype is None
    return known and not any(isinstance(leaf, WeightRef) for leaf in leaves(node.operands))


@rule("constants", sites=_is_constant)
def constant_op(graph: Graph, node: Node) -> str:
    """An op whose operands are all constants: the result is one too. Weights are none, since they may train."""
    _require_foldable(graph, node)
    waiting, done = [node.name], []
    while waiting:
        name = waiting.pop()
        users = [user.name for user in graph.users(name)]
        _write_into(graph, graph[name], users)
        done.append(name)
        waiting += [user for user in users if user not in waiting and _is_constant(graph, graph[user])]
    infer(graph)  # Keras takes arrays for sparse where it multiplies by them
    return f"computed, with what follows from it: {', '.join(map(repr, done))}"


def _write_into(graph: Graph, node: Node, users: list[str]) -> None:
    """Let the users of a constant node read its value, and remove it."""
    results = _evaluate(graph, node)

    def swap(leaf: Any) -> Any:
        return results.get(leaf, leaf) if isinstance(leaf, Value) else leaf

    for user in users:
        graph.set_operands(user, *map_leaves(swap, graph[user].operands))
    graph.remove(node)


def _require_foldable(graph: Graph, node: Node) -> None:
    """Refuse a constant that cannot be written into what reads it, or makes something constant that cannot be."""
    values = [Value(node.name, index) for index in range(len(node.outputs))]
    for value in values:
        spec = graph.spec(value)
        if None in spec.shape:
            raise Skip(f"its shape {spec} is not known before the model runs")
        if spec.elements() > LARGEST_CONSTANT:
            raise Skip(f"it has {spec.elements()} elements, more than {LARGEST_CONSTANT}")
        if spec.dtype in ("bfloat16", "string"):
            raise Skip(f"Keras cannot save a constant of {spec.dtype}")
        if graph.is_output(value):
            raise Skip(f"{node.name!r} is an output of the model")
        for path, scope in graph.scopes.items():
            if value in values_in((scope.args, dict(scope.kwargs), scope.outputs)):
                raise Skip(f"{node.name!r} crosses the border of nested model {path!r}")
    for user in graph.users(node):
        if set(user.inputs) <= set(values):
            if not _is_function(graph, user):
                raise Skip(f"{user.name!r} would read nothing but constants")
            _require_foldable(graph, user)


def _evaluate(graph: Graph, node: Node) -> dict[Value, np.ndarray[Any, Any]]:
    """What a constant op computes, by output."""
    # Of what a *_like op reads, only the shape matters.
    args, kwargs = map_leaves(
        lambda leaf: np.zeros(graph.spec(leaf).shape, graph.spec(leaf).dtype) if isinstance(leaf, Value) else leaf,
        node.operands,
    )
    results = keras.tree.flatten(keras_layer(graph, node)(*args, **kwargs))
    arrays = [np.asarray(keras.ops.convert_to_numpy(result)) for result in results]
    return {Value(node.name, index): array for index, array in enumerate(arrays)}


@rule("rescaling", "Rescaling")
def rescaling_of_rescaling(graph: Graph, node: Node) -> str:
    """``(x a + b) c + d = x (a c) + (b c + d)``."""
    first = graph.producer(source(node))
    if graph.kind(first) != "Rescaling":
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another Rescaling")
    require_merged(graph, first, node)
    one, layer = graph.layer_of(first), require_unshared(graph, node)
    if first.spec.dtype != node.spec.dtype:
        raise Skip(f"{first.name!r} computes in {first.spec.dtype}, it computes in {node.spec.dtype}")
    scales, offsets = (
        [np.asarray(each.config[entry], "float64") for each in (one, layer)] for entry in ("scale", "offset")
    )
    changed = layer.with_config(
        scale=(scales[0] * scales[1]).tolist(), offset=(offsets[0] * scales[1] + offsets[1]).tolist()
    )
    graph.set_operands(node, (source(first),), {})
    graph.update_layer(node.layer, changed)
    return f"merged with {first.name!r}: it does both"


def _has_twin(graph: Graph, node: Node) -> bool:
    return bool(node.inputs) and _twin(graph, node) is not None


@rule("duplicates", sites=_has_twin)
def same_again(graph: Graph, node: Node) -> str:
    """A call that computes what an earlier one does: same kind, same options, same operands, no weights."""
    twin = _twin(graph, node)
    assert twin is not None
    if twin.scope != node.scope:
        raise Skip(f"it does what {twin.name!r} does, but in another nested model")
    pairs = [(Value(node.name, index), Value(twin.name, index)) for index in range(len(node.outputs))]
    if any(graph.is_output(value) for value, _ in pairs):
        raise Skip(f"it does what {twin.name!r} does, but gives an output of the model its name")
    for value, _ in pairs:
        if any(value in values_in(scope.outputs) for scope in graph.scopes.values()):
            raise Skip(f"it does what {twin.name!r} does, but is an output of a nested model")
    for value, same in pairs:
        graph.replace_uses(value, same)
    graph.remove(node)
    return f"removed: {twin.name!r} computes the same"


def _twin(graph: Graph, node: Node) -> Node | None:
    """An earlier node that computes the same, if the node computes nothing but a function of its operands."""
    layer = graph.layer_of(node)
    if layer.weights or layer.state or layer.prototype is not None or layer.kind.startswith(("custom:", "Lambda")):
        return None
    for other in graph.users(graph.producer(node.inputs[0])):  # in the order in which they were made
        if other.name == node.name:
            return None
        if other.outputs == node.outputs and _same_call(graph.layer_of(other), other, layer, node):
            return other
    return None


def _same_call(one: Layer, first: Node, other: Layer, second: Node) -> bool:
    if one.cls is not other.cls or not _equal(_options(one), _options(other)):
        return False
    return _equal(first.operands, second.operands)


def _options(layer: Layer) -> dict[str, Any]:
    return {key: value for key, value in layer.config.items() if key not in ("name", "trainable")}


def _equal(one: Any, other: Any) -> bool:
    """Whether two nested structures are the same, arrays by their elements."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one is other or (not hasattr(one, "shape") and one == other))


RULES: tuple[Rule, ...] = (constant_op, rescaling_of_rescaling, same_again)

__all__ = ["LARGEST_CONSTANT", "RULES"]
