"""Put a layer, a model or a function in place of nodes: what ``ReplaceLayers`` does once it knows what goes where."""

from __future__ import annotations

import re
from typing import Any

import keras
import networkx as nx

from kerasurgeon.authoring import (
    Graph,
    GraphError,
    Layer,
    Match,
    Node,
    Value,
    call,
    infer,
    layer_from_keras,
    splice,
    values_in,
)
from kerasurgeon.passes.replace_site import entering

_FLAGS = ("mask", "training")


def put_layer(graph: Graph, calls: tuple[Node, ...], new: keras.Layer, *, carry_weights: bool) -> str:
    """Put a layer in place of another one, for all its calls.

    Args:
        graph: The graph; it is changed as a whole or not at all.
        calls: Every call of the old layer.
        new: The layer, built or not.
        carry_weights: Give the new layer, if it is not built, the old weights of the same path and shape.

    Raises:
        VerificationError: The new layer, or one further on, cannot take its operands.
    """
    trial = graph.copy()
    old = trial.layer_of(calls[0])
    built = bool(layer_from_keras(new).weights)
    made = [_first_call(trial, calls[0], new)]
    key = trial[made[0].node].layer
    carried = _carry(trial, key, old) if carry_weights and not built else ()
    for node in calls[1:]:
        args, kwargs = _operands(trial, key, node)
        name = trial.unique_name(f"{node.scope}/{trial.layers[key].name}".lstrip("/"))
        twin = trial.add_node(
            *(key, args, kwargs),
            outputs=trial[made[0].node].outputs,
            name=name,
            scope=node.scope,
            origin=node.origin,
            near=node.name,
        )
        made.append(twin.value)
        infer(trial)
    for node, value in zip(calls, made, strict=True):
        _exchange(trial, node, [Value(value.node, index) for index in range(len(trial[value.node].outputs))])
        trial.remove(node)
    infer(trial)
    result = made[0].node
    if len(calls) == 1:
        result = _take_name(trial, made[0], calls[0]).node
    kind, weights = trial.kind(result), trial.layer_of(result).weights
    graph.adopt(trial)
    fresh = [path for path in weights if path not in carried]
    said = f"replaced by {kind} {result!r}"
    if carried:
        said += f" with the old {', '.join(carried)}"
    if fresh:
        said += f" with {'its own' if built else 'new'} {', '.join(fresh)}"
    return said


def put_region(graph: Graph, match: Match | None, root: Node, new: Any) -> str:
    """Put a layer, model or function of tensors in place of one or several nodes.

    Args:
        graph: The graph; it is changed as a whole or not at all.
        match: The nodes; ``None`` for the root alone.
        root: The last of the nodes, whose result is replaced.
        new: What takes the tensors that enter.

    Raises:
        GraphError: It returns fewer tensors than are used.
        VerificationError: Keras refuses it, or a layer further on cannot take what it gives.
    """
    trial = graph.copy()
    root = trial[root.name]
    before = {node.name for node in trial.nodes()}
    operands = tuple(dict.fromkeys(root.inputs)) if match is None else entering(match)
    if isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
        results = [call(trial, new, *operands, like=root)]
    else:
        # A Sequential model that is not built yet gets built by being called.
        unbuilt = isinstance(new, keras.Sequential) and not new.built
        source = (lambda *tensors: new(*tensors)) if unbuilt else new
        results = list(values_in(splice(trial, source, *operands, like=root)))
    made = [node.name for node in trial.nodes() if node.name not in before]
    _exchange(trial, root, results)
    nodes = (root,) if match is None else match.nodes
    for node in reversed(nodes):
        used = trial.users(node) or any(trial.is_output(Value(node.name, index)) for index in range(len(node.outputs)))
        if not used:
            trial.remove(node)
    infer(trial)
    name = root.name.rpartition("/")[2]
    result = _take_name(trial, results[0], root)
    made = [result.node if each == results[0].node else each for each in made]
    _name_anew(trial, [each for each in made if each != result.node], name)
    kinds = [trial.kind(node) for node in trial.nodes() if node.name in made or node.name not in before]
    graph.adopt(trial)
    what = f"{len(nodes)} nodes replaced by" if len(nodes) > 1 else "replaced by"
    return f"{what} {', '.join(kinds) or str(result)}"


def _first_call(graph: Graph, node: Node, new: keras.Layer) -> Value:
    definition = layer_from_keras(new)
    kwargs = {
        key: value for key, value in node.kwargs.items() if key not in _FLAGS or key in definition.call_parameters
    }
    return call(graph, new, *node.args, like=node, **kwargs)


def _operands(graph: Graph, key: str, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    known = graph.layers[key].call_parameters
    return node.args, {name: value for name, value in node.kwargs.items() if name not in _FLAGS or name in known}


def _carry(graph: Graph, key: str, old: Layer) -> tuple[str, ...]:
    """Set those weights of a layer that the old layer has too, in the same shape. Returns their paths."""
    new = graph.layers[key]
    shared = [
        path for path, weight in new.weights.items() if path in old.weights and old.weights[path].shape == weight.shape
    ]
    for path in shared:
        graph.set_weight(key, path, old.weights[path].array)
    return tuple(shared)


def _exchange(graph: Graph, node: Node, results: list[Value]) -> None:
    """Let everything that reads a node's outputs read others instead."""
    made = nx.ancestors(graph.digraph, results[0].node) | {results[0].node} if results else set()
    for index in range(len(node.outputs)):
        value = Value(node.name, index)
        if not graph.uses(value) and not graph.is_output(value):
            continue
        if index >= len(results):
            raise GraphError(
                f"What replaces {node.name!r} has {len(results)} outputs.",
                expected=f"output {index} too, which is used",
            )
        graph.replace_uses(value, results[index], keep=made)


def _take_name(graph: Graph, value: Value, old: Node) -> Value:
    """Give what computes a result the name of the node that did, where that is free and it is new."""
    name = old.name.rpartition("/")[2]
    node = graph[value.node]
    free = old.name not in graph and old.name not in graph.layers and ":" not in name
    if free and node.inputs and node.scope == old.scope and len(graph.calls(node.layer)) == 1:
        return Value(graph.rename(node, name).name, value.index)
    return value


def _name_anew(graph: Graph, made: list[str], base: str) -> None:
    """Name new nodes after the one they replace, where Keras chose their names: it numbers over the whole process."""
    for each in made:
        node, layer = graph[each], graph.layer_of(each)
        automatic = re.sub(r"_\d+$", "", layer.name)
        chosen = automatic.replace("_", "") == layer.cls.__name__.lower()
        if not chosen or len(graph.calls(node.layer)) > 1:
            continue
        wanted = f"{base.replace(':', '_')}_{automatic}"
        free = graph.unique_name(f"{node.scope}/{wanted}" if node.scope else wanted)
        graph.rename(node, free.rpartition("/")[2])


__all__ = ["put_layer", "put_region"]
