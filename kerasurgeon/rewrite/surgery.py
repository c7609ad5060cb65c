"""Surgery by hand: insert, replace, delete, rename, cut out. Each works on a copy first, and takes effect or raises.

What Keras users have asked for since 2017, on a graph::

    graph = kerasurgeon.lift(model)
    insert_after(graph, "conv1", keras.layers.SpatialDropout2D(0.1))
    delete(graph, "dropout")
    model = kerasurgeon.emit(graph)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras
import networkx as nx

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, map_leaves, unflatten, values_in
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.rewrite.calls import call, splice

Source: TypeAlias = keras.Layer | keras.Model | Graph | Callable[..., Any]


def as_value(graph: Graph, tensor: Value | str) -> Value:
    """A tensor by name: ``"conv1"`` is the first output of node ``conv1``, ``"lstm#2"`` its third."""
    if isinstance(tensor, Value):
        graph.spec(tensor)
        return tensor
    name, mark, index = tensor.rpartition("#")
    value = Value(name, int(index)) if mark and index.isdigit() and tensor not in graph else Value(tensor)
    graph.spec(value)
    return value


@python_kept()
def insert_after(graph: Graph, tensor: Value | str, new: Source, *, name: str | None = None) -> Value:
    """Let everything that reads a tensor read what ``new`` makes of it.

    Args:
        graph: The graph.
        tensor: The tensor, or the name of the node whose first output it is.
        new: A Keras layer, model or function of one tensor.
        name: Name of the new layer, made unique.

    Returns:
        The new tensor.

    Raises:
        GraphError: There is no such tensor.
        VerificationError: A layer further on cannot take the new tensor; the graph is as it was.
    """
    trial = graph.copy()
    value = as_value(trial, tensor)
    result = _put(trial, new, value, like=value.node, name=name)
    made = nx.ancestors(trial.digraph, result.node) | {result.node}
    trial.replace_uses(value, result, keep=made - set(_names(graph)))
    infer(trial)
    graph.adopt(trial)
    return result


@python_kept()
def insert_before(graph: Graph, node: str, new: Source, *, operand: int = 0, name: str | None = None) -> Value:
    """Let one node read what ``new`` makes of one of its operands; other users of that tensor keep it.

    Args:
        graph: The graph.
        node: Name of the node.
        new: A Keras layer, model or function of one tensor.
        operand: Which of the node's tensors, counted in flattened order.
        name: Name of the new layer, made unique.

    Returns:
        The new tensor.

    Raises:
        GraphError: There is no such node or operand.
        VerificationError: The node cannot take the new tensor; the graph is as it was.
    """
    trial = graph.copy()
    user = trial[node]
    if not 0 <= operand < len(user.inputs):
        raise GraphError(f"Node {node!r} has no operand {operand}.", expected=f"an index below {len(user.inputs)}")
    result = _put(trial, new, user.inputs[operand], like=node, name=name)
    flat, seen = [], -1
    for leaf in leaves(user.operands):
        seen += isinstance(leaf, Value)
        flat.append(result if isinstance(leaf, Value) and seen == operand else leaf)
    args, kwargs = unflatten(user.operands, flat)
    trial.set_operands(node, args, kwargs)
    infer(trial)
    graph.adopt(trial)
    return result


@python_kept()
def replace_layer(graph: Graph, node: str, new: Source, *, carry_weights: bool = True) -> Value:
    """Put another layer, model or function in place of a node, reading what the node read.

    The other calls of a shared layer keep it.

    Args:
        graph: The graph.
        node: Name of the node.
        new: What takes its place.
        carry_weights: Give a new, unbuilt layer those weights of the old one that have the same path, if all fit.

    Returns:
        The first output of what took its place.

    Raises:
        GraphError: The number of operands or outputs differs.
        VerificationError: The new layer, or one further on, cannot take its operands; the graph is as it was.
    """
    trial = graph.copy()
    old = trial[node]
    if isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
        result = _call_instead(trial, new, old, carry_weights=carry_weights)
        results = [Value(result.node, index) for index in range(len(trial[result.node].outputs))]
    else:
        results = list(values_in(splice(trial, new, *old.inputs, like=node)))
    used = [index for index in range(len(old.outputs)) if trial.is_used(Value(node, index))]
    if used and max(used) >= len(results):
        raise GraphError(
            f"What replaces {node!r} has {len(results)} outputs.", expected=f"output {max(used)}, which is used"
        )
    for index in used:
        trial.replace_uses(Value(node, index), results[index])
    name = trial.layer_of(old).name
    trial.remove(node)
    infer(trial)
    result = _take_name(trial, results[0], name, new_since=graph)
    graph.adopt(trial)
    return result


def _call_instead(graph: Graph, new: keras.Layer, old: Node, *, carry_weights: bool) -> Value:
    weights = {key: weight.array for key, weight in graph.layer_of(old).weights.items()}
    if carry_weights and weights and not new.weights:
        try:
            return call(graph, new, *old.args, weights=weights, like=old, **dict(old.kwargs))
        except VerificationError:
            pass  # it wants other weights: as initialised
    return call(graph, new, *old.args, like=old, **dict(old.kwargs))


def _take_name(graph: Graph, value: Value, name: str, *, new_since: Graph) -> Value:
    """Give the node that computes a tensor a name that has become free, if the node is new. Returns the tensor."""
    node = graph[value.node]
    free = f"{node.scope}/{name}" if node.scope else name
    if node.name in new_since or free in graph or free in graph.layers:
        return value
    return Value(graph.rename(node, name).name, value.index)


def delete(graph: Graph, node: str) -> Value:
    """Remove a node and let its users read what it read.

    Args:
        graph: The graph.
        node: Name of a node with one tensor in and one out.

    Returns:
        The tensor that the users read now.

    Raises:
        GraphError: The node has several inputs or outputs in use, or is a model input.
        VerificationError: A user cannot take the node's input; the graph is as it was.
    """
    trial = graph.copy()
    old = trial[node]
    inputs = dict.fromkeys(old.inputs)
    used = [index for index in range(len(old.outputs)) if trial.is_used(Value(node, index))]
    if len(inputs) != 1 or used not in ([], [0]):
        raise GraphError(
            f"Node {node!r} ({trial.kind(node)}) cannot be deleted: what should its users read instead?",
            expected="one tensor in and one out",
            got=f"{len(inputs)} in ({', '.join(map(str, inputs)) or 'none'}), outputs in use: {used}",
            hint="replace_layer() or replace_region() says what takes its place",
        )
    (value,) = inputs
    trial.replace_uses(old.value, value)
    trial.remove(node)
    infer(trial)
    graph.adopt(trial)
    return value


def rename(graph: Graph, old: str, new: str) -> None:
    """Rename a node and, if it is its layer's only call, the layer.

    Args:
        graph: The graph.
        old: Name of the node.
        new: Its new name, without the scope.

    Raises:
        GraphError: There is no such node, or the new name is taken or not legal.
    """
    graph.rename(old, new)


def extract(
    graph: Graph, inputs: Sequence[Value | str] | Value | str, outputs: Sequence[Value | str] | Value | str
) -> Graph:
    """Cut out the sub-model between tensors, as a graph of its own.

    Args:
        graph: The graph; it is only read.
        inputs: The tensors that become inputs.
        outputs: The tensors that become outputs.

    Raises:
        GraphError: An output depends on a model input other than through ``inputs``; the message names the tensors.
    """
    graph = graph.copy()
    graph.flatten()
    starts, ends = _values(graph, inputs), _values(graph, outputs)
    needed = _needed(graph, set(starts), ends)
    crossing = sorted(name for name in needed if graph.kind(name) == "InputLayer" and Value(name) not in starts)
    if crossing:
        raise GraphError(
            f"The tensors {', '.join(map(str, starts))} do not cut the graph: "
            f"{', '.join(map(str, ends))} also depend on model input {', '.join(crossing)}.",
            hint="add the tensors that go around to inputs",
        )
    part = Graph(replace(graph.model, name=f"{graph.name}_part", cls=keras.Model, compile_config=None))
    kept = [node for node in graph.nodes() if node.name in needed and graph.kind(node) != "InputLayer"]
    taken = {node.name for node in kept} | {node.layer for node in kept}
    bound = {value: _add_input(part, value, graph.spec(value), taken) for value in starts}

    def translate(leaf: Any) -> Any:
        if isinstance(leaf, WeightRef) and leaf.layer not in taken:
            return graph.layers[leaf.layer].weights[leaf.key].array  # its layer stays outside: a constant here
        return bound.get(leaf, leaf) if isinstance(leaf, Value) else leaf

    for key in dict.fromkeys(node.layer for node in kept):
        part.add_layer(graph.layers[key], key)
    for node in kept:
        args, kwargs = map_leaves(translate, node.args), map_leaves(translate, dict(node.kwargs))
        part.add_node(node.layer, args, kwargs, outputs=node.outputs, name=node.name, origin=node.origin)
    structure_in = [bound[value] for value in starts]
    structure_out = [bound.get(value, value) for value in ends]
    part.set_signature(
        inputs=structure_in[0] if len(structure_in) == 1 else structure_in,
        outputs=structure_out[0] if len(structure_out) == 1 else structure_out,
    )
    part.mark_checked(*part.unchecked)
    return part


@python_kept()
def replace_region(
    graph: Graph,
    inputs: Sequence[Value | str] | Value | str,
    outputs: Sequence[Value | str] | Value | str,
    new: Source,
) -> tuple[Value, ...]:
    """Put something else in place of all that is computed between tensors.

    Args:
        graph: The graph.
        inputs: The tensors that enter the region; ``new`` takes them in this order.
        outputs: The tensors that leave it; ``new`` returns as many, of the same shapes and dtypes.
        new: A Keras layer, model or function, or a graph.

    Returns:
        The tensors that took the place of ``outputs``.

    Raises:
        GraphError: Other tensors cross the region's border, or shapes or dtypes at it differ.
        VerificationError: Keras refuses the new calls. In each case the graph is as it was.
    """
    starts, ends = _values(graph, inputs), _values(graph, outputs)
    inside = _needed(graph, set(starts), ends)
    check_border(graph, inside, starts, ends)
    trial = graph.copy()
    like = ends[-1].node
    if isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
        results: tuple[Value, ...] = (call(trial, new, *starts, like=like),)
    else:
        results = values_in(splice(trial, new, *starts, like=like))
    if len(results) != len(ends):
        raise GraphError(f"The replacement has {len(results)} outputs.", expected=f"{len(ends)}, as the region has")
    for end, result in zip(ends, results, strict=True):
        if trial.spec(end) != trial.spec(result):
            raise GraphError(
                f"The replacement does not fit at {end}.", expected=str(trial.spec(end)), got=str(trial.spec(result))
            )
        trial.replace_uses(end, result)
    names = [trial.layer_of(end.node).name for end in ends]
    for node in reversed([node for node in trial.nodes() if node.name in inside]):
        trial.remove(node)
    pairs = zip(results, names, strict=True)
    results = tuple(_take_name(trial, result, name, new_since=graph) for result, name in pairs)
    graph.adopt(trial)
    return results


def check_border(graph: Graph, inside: Iterable[str], starts: Sequence[Value], ends: Sequence[Value]) -> None:
    """Check that nothing but ``starts`` enters a set of nodes and nothing but ``ends`` leaves it.

    Raises:
        GraphError: Other tensors cross; the message names them.
    """
    names = set(inside)
    if not names:
        raise GraphError(f"There is nothing between {', '.join(map(str, starts))} and {', '.join(map(str, ends))}.")
    entering = {v for name in names for v in graph[name].inputs if v.node not in names} - set(starts)
    inputs = {Value(name) for name in names if graph.kind(name) == "InputLayer"}
    leaving = {
        Value(name, index)
        for name in names
        for index in range(len(graph[name].outputs))
        if graph.is_output(Value(name, index)) or any(use.node not in names for use in graph.uses(Value(name, index)))
    } - set(ends)
    for what, values in (("enter", entering | inputs), ("leave", leaving)):
        if values:
            raise GraphError(
                f"The region between {', '.join(map(str, starts))} and {', '.join(map(str, ends))} is not closed.",
                got=f"also {what}: {', '.join(sorted(map(str, values)))}",
                hint="name these tensors too, or choose a region from regions(graph)",
            )


def _put(graph: Graph, new: Source, value: Value, *, like: str, name: str | None) -> Value:
    if isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
        return call(graph, new, value, like=like, name=name)
    results = values_in(splice(graph, new, value, like=like))
    if len(results) != 1:
        raise GraphError(f"What is inserted returns {len(results)} tensors.", expected="one")
    return results[0]


def _needed(graph: Graph, starts: set[Value], ends: Sequence[Value]) -> set[str]:
    """The nodes that ``ends`` are computed by, going back no further than ``starts``."""
    needed: set[str] = set()
    waiting = [value for value in ends if value not in starts]
    while waiting:
        value = waiting.pop()
        if value.node in needed:
            continue
        needed.add(value.node)
        waiting.extend(operand for operand in graph[value.node].inputs if operand not in starts)
    return needed


def _values(graph: Graph, tensors: Sequence[Value | str] | Value | str) -> list[Value]:
    given = [tensors] if isinstance(tensors, (str, Value)) else list(tensors)
    if not given:
        raise GraphError("No tensor was named.")
    return [as_value(graph, tensor) for tensor in given]


def _names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes()]


def _add_input(graph: Graph, value: Value, spec: TensorSpec, taken: set[str]) -> Value:
    """A model input that stands for a tensor of another graph, named after it."""
    wanted = str(value).rpartition("/")[2].replace("#", "_").replace(":", "_")
    wanted = f"{wanted}_input" if wanted in taken else wanted
    while wanted in taken or wanted in graph:
        wanted += "_"
    layer = keras.layers.InputLayer(batch_shape=spec.shape, dtype=spec.dtype, sparse=spec.sparse, name=wanted)
    return graph.add_node(graph.add_layer(layer_from_keras(layer)), outputs=[spec]).value
