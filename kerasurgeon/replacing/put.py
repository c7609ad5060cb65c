"""Put a layer, a model or a function in place of nodes: what ``ReplaceLayers`` does once it knows what goes where."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import keras
import networkx as nx

from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.replacing.site import entering
from kerasurgeon.rewrite.calls import call, splice
from kerasurgeon.rewrite.matching import Match
from kerasurgeon.rewrite.passes import Skip

_FLAGS = ("mask", "training")


def put_layer(graph: Graph, calls: tuple[Node, ...], new: keras.Layer, *, carry_weights: bool) -> str:
    """Put a layer in place of another one, for all its calls, under the old layer's name.

    Args:
        graph: The graph; it is changed as a whole or not at all.
        calls: Every call of the old layer.
        new: The layer, built or not.
        carry_weights: Give the new layer, if it is not built, the old weights of the same path and shape.

    Raises:
        Skip: Weights that others use would be gone.
        GraphError: An output that is used would be gone.
        VerificationError: The new layer, or one further on, cannot take its operands.
    """
    trial = graph.copy()
    key, old = calls[0].layer, graph.layer_of(calls[0])
    built = bool(layer_from_keras(new).weights)
    made, count = _built(graph, calls[0], new)
    for node in calls:
        _require_outputs(graph, node, count)
    carried = _shared_paths(made, old) if carry_weights and not built else ()
    made = made.with_weights(**{path: _carried(made.weights[path], old.weights[path]) for path in carried})
    shared = {ref.key for refs in graph.ties().values() for ref in refs if ref.layer == key}
    if shared - set(carried) or (key in graph.tied_layers() and set(old.weights) - set(made.weights)):
        raise Skip(f"the weights of {key!r} are used elsewhere too, and the new layer has others")
    trial.update_layer(key, replace(made.with_name(old.name), parent_path=old.parent_path))
    for node in calls:
        trial.set_operands(node, kwargs=_known_flags(made, node))
    infer(trial)
    graph.adopt(trial)
    fresh = [path for path in made.weights if path not in carried]
    said = f"replaced by {made.kind}"
    if carried:
        said += f" with the old {', '.join(carried)}"
    if fresh:
        said += f"{' and' if carried else ' with'} {'its own' if built else 'new'} {', '.join(fresh)}"
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


def _built(graph: Graph, node: Node, new: keras.Layer) -> tuple[Layer, int]:
    """The definition of a new layer, built for the operands of a node, and how many outputs it has."""
    scratch = graph.copy()
    kwargs = _known_flags(layer_from_keras(new), node)
    made = scratch.producer(call(scratch, new, *node.args, like=node, **kwargs))
    return scratch.layer_of(made), len(made.outputs)


def _known_flags(layer: Layer, node: Node) -> dict[str, Any]:
    """The keyword operands of a node, without those flags that a layer does not take."""
    known = layer.call_parameters
    return {name: value for name, value in node.kwargs.items() if name not in _FLAGS or name in known}


def _carried(new: Weight, old: Weight) -> Weight:
    """The old values in the new weight's dtype, and one variable with what the old one was one with."""
    return replace(new, array=old.array.astype(new.array.dtype, copy=False), tie=old.tie)


def _shared_paths(new: Layer, old: Layer) -> tuple[str, ...]:
    """Paths of the weights that two layers have in the same shape."""
    common = [path for path in new.weights if path in old.weights]
    return tuple(path for path in common if new.weights[path].shape == old.weights[path].shape)


def _require_outputs(graph: Graph, node: Node, count: int) -> None:
    for index in range(count, len(node.outputs)):
        if graph.is_output(Value(node.name, index)) or any(
            value == Value(node.name, index) for user in graph.users(node) for value in user.inputs
        ):
            raise GraphError(
                f"What replaces {node.name!r} has {count} outputs.", expected=f"output {index} too, which is used"
            )


def _exchange(graph: Graph, node: Node, results: list[Value]) -> None:
    """Let everything that reads a node's outputs read others instead."""
    _require_outputs(graph, node, len(results))
    for index, result in enumerate(results[: len(node.outputs)]):
        made = nx.ancestors(graph.digraph, result.node) | {result.node}
        graph.replace_uses(Value(node.name, index), result, keep=made)


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
