"""Turn a stream: an orthogonal matrix goes into all kernels that write it, its transpose into those that read it.

With ``Q`` orthogonal and ``n`` the stream divided by the root of its mean square, what reads ``s n + b`` by a kernel
``W`` gives

    (s n + b) W = (n Q) (Q' diag(s) W) + b W,

and the mean square of ``x Q`` is that of ``x``. A layer norm takes the mean of its channels away: with
``C = I - 11'/d`` in the kernels that write, it is left with nothing to take, and is a root mean square too.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.rewrite.calls import call, splice
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.streams.known import Known
from kerasurgeon.streams.norms import Norm
from kerasurgeon.streams.streams import Reads, Stream

Array = np.ndarray[Any, Any]
_CLOSE = 1e-4


def turn(graph: Graph, stream: Stream, basis: Array) -> dict[str, tuple[str, ...]]:
    """Turn a stream, in place: outputs stay as they are, and norms become plain root mean squares.

    Args:
        graph: The graph in which the stream was found, other streams turned perhaps.
        stream: The stream.
        basis: ``(width, width)``: orthogonal. Where the norms take the mean away, its last column is that direction.

    Returns:
        The names of the norms that were put in; of the layers between a norm and a weight that also makes the stream;
        of what takes the mean away from what such a weight makes: ``"norms"``, ``"between"``, ``"masks"``. The last do
        nothing where the last axis is left out.

    Raises:
        Skip: What a product reads does not turn with the stream; the graph is not to be used.
    """
    before = graph.copy()
    made = basis.copy()
    if stream.centred:
        made[:, -1] = 0.0
    for (key, path), axis in stream.makes.items():
        matrix = basis if (key, path) in stream.both else made
        graph.set_weight(key, path, _along(graph.layers[key].weights[path].array, axis, matrix))
    written = [value for several in stream.both.values() for value in several if stream.centred]
    masks = {value: _put_mask(graph, value) for value in written}
    for (key, path), reads in stream.reads.items():
        _turn_reader(graph, key, path, reads, basis)
    for name, position, axis in stream.constants:
        turn_constant(graph, name, position, axis, made)
    between = [_put_between(graph, name, *tied, basis) for name, tied in stream.tied.items()]
    dead = set(graph.unused())
    norms = tuple(_put_norm(graph, norm, masks.get(norm.value, norm.value)) for norm in stream.norms)
    for name in graph.unused():
        if name not in dead:
            graph.remove(name)
    for name, (value, _) in stream.tied.items():
        _require_turned(before, graph, name, value, basis)
    return {
        "norms": norms,
        "between": tuple(name for name in between if name),
        "masks": tuple(put.node for put in masks.values()),
    }


def _along(array: Array, axis: int, matrix: Array) -> Array:
    """An array with a matrix applied along one axis."""
    turned = np.tensordot(array.astype(np.float64), matrix, axes=(axis, 0))
    return np.ascontiguousarray(np.moveaxis(turned, -1, axis), dtype=array.dtype)


def _turn_reader(graph: Graph, key: str, path: str, reads: Reads, basis: Array) -> None:
    layer = graph.layers[key]
    kernel = layer.weights[path].array
    norm = reads.norm
    if norm is None:
        graph.set_weight(key, path, _along(kernel, reads.axis, basis))
        return
    shift = np.tensordot(kernel.astype(np.float64), norm.shift, axes=(reads.axis, 0))
    layer = layer.with_weights(**{path: _along(kernel, reads.axis, norm.scale[:, None] * basis)})
    if norm.shift.any():
        bias = layer.array(reads.mixing.reads[path])
        rank = 1 if bias is None else bias.ndim
        shift = shift.sum(axis=tuple(range(shift.ndim - rank)))  # over the positions of a window
        if bias is None:
            assert reads.mixing.new_bias is not None
            layer = layer.with_config(**reads.mixing.new_bias)
        added = shift.astype(kernel.dtype) if bias is None else bias.astype(np.float64) + shift
        layer = layer.with_weights(**{reads.mixing.reads[path]: added})
    graph.update_layer(key, layer)


def turn_constant(graph: Graph, name: str, position: int, axis: int, matrix: Array) -> None:
    """Apply a matrix to an array among the operands of a call, along one axis, in place.

    Args:
        graph: The graph.
        name: The call.
        position: Which of its operands, tensors and arrays counted.
        axis: The axis.
        matrix: ``(size of the axis, size)``.
    """
    node, place, flat = graph[name], -1, []
    for leaf in leaves(node.operands):
        array = not isinstance(leaf, (Value, WeightRef)) and hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        place += array or isinstance(leaf, (Value, WeightRef))
        flat.append(_along(np.asarray(leaf), axis, matrix) if array and place == position else leaf)
    args, kwargs = unflatten(node.operands, flat)
    graph.set_operands(name, args, kwargs)


def _put_mask(graph: Graph, value: Value) -> Value:
    """Take away the last axis, the mean, of what a weight makes that something else needs whole."""
    spec = graph.spec(value)
    mask = np.ones(spec.shape[-1] or 1, spec.dtype)
    mask[-1] = 0
    put: Value = splice(graph, lambda tensor: keras.ops.multiply(tensor, mask), value, like=value.node)
    graph.replace_uses(value, put, keep=[put.node])
    return put


def _put_between(graph: Graph, name: str, value: Value, norm: Norm | None, basis: Array) -> str:
    """Scale and shift, turned, in front of a call whose kernel cannot take them. Returns the new layer, if any."""
    if norm is None or norm.plain:
        return ""
    dense = keras.layers.Dense(len(basis), use_bias=bool(norm.shift.any()), name=f"{_short(name)}_scale")
    weights = {"kernel": basis.T @ (norm.scale[:, None] * basis)}
    if norm.shift.any():
        weights["bias"] = norm.shift @ basis
    node = graph[name]
    put = call(graph, _like(dense, graph, norm.root), value, weights=weights, like=node)
    flat = [put if isinstance(leaf, Value) and leaf == value else leaf for leaf in leaves(node.operands)]
    args, kwargs = unflatten(node.operands, flat)
    graph.set_operands(name, args, kwargs)
    return put.node


def _put_norm(graph: Graph, norm: Norm, value: Value) -> str:
    """A root mean square of a tensor, without a scale, in the place of a norm. Returns its name."""
    root = graph[norm.root.name]
    layer = keras.layers.RMSNormalization(epsilon=norm.epsilon, name=f"{_short(root.name)}_new")
    put = call(graph, _like(layer, graph, root), value, weights={"scale": np.ones(len(norm.scale))}, like=root)
    graph.replace_uses(root.value, put)
    for node in reversed(norm.nodes):
        graph.remove(node.name)
    name = graph.layers[root.layer].name if root.layer in graph.layers else _short(root.name)
    free = f"{root.scope}/{name}" if root.scope else name
    if free in graph or free in graph.layers:
        return put.node
    return graph.rename(put.node, name).name


def _like(layer: keras.Layer, graph: Graph, node: Node) -> keras.Layer:
    """A layer that computes in the precision of a node's."""
    dtype = graph.layer_of(node).config.get("dtype")
    if dtype is None:
        return layer
    return type(layer).from_config({**layer.get_config(), "dtype": dtype})


def _short(name: str) -> str:
    return name.rpartition("/")[2].replace(":", "_")


def _require_turned(before: Graph, after: Graph, name: str, value: Value, basis: Array) -> None:
    """See that a product gives of a turned tensor what it gave of the tensor.

    Raises:
        Skip: It does not.
    """
    node, turned = before[name], after[name]
    shape = [2 if size is None else size for size in before.spec(value).shape]
    rows = np.random.default_rng(0).standard_normal(shape)
    results = []
    for graph, called, data in ((before, node, rows), (after, turned, rows @ basis)):
        known = Known(graph)
        operands = {own: known.array(own) for own in called.inputs if known.is_known(own)}
        operands |= {own: data for own in called.inputs if own not in operands}
        tensors = {
            own: keras.ops.convert_to_tensor(array, dtype=graph.spec(own).dtype) for own, array in operands.items()
        }
        results.append(np.asarray(keras.ops.convert_to_numpy(Runner(graph).call(called, tensors)[0]), np.float64))
    if np.abs(results[0] - results[1]).max() > _CLOSE * np.abs(results[0]).max():
        raise Skip(f"{name!r} multiplies it by what does not turn with it")
