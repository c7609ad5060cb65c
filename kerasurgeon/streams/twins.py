"""What a sliced graph must agree with: the graph as it was, with the stream projected wherever it is read."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.channels import Channels, mask_units
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.calls import call
from kerasurgeon.streams.streams import Stream
from kerasurgeon.streams.turning import turn_constant

Array = np.ndarray[Any, Any]


def project(graph: Graph, stream: Stream, axes: Array) -> None:
    """Put a projection wherever a stream is read, in place.

    Args:
        graph: The graph in which the stream was found.
        stream: The stream.
        axes: ``(width, kept)``: the axes that stay, orthonormal.
    """
    places: dict[Value, set[str]] = {}
    for norm in stream.norms:
        places.setdefault(norm.value, set()).update(node.name for node in norm.nodes)
    for value, name in stream.raw:
        places.setdefault(value, set()).add(name)
    for name, (value, _) in stream.tied.items():
        places.setdefault(value, set()).add(name)
    for value, names in places.items():
        dense = keras.layers.Dense(stream.width, use_bias=False, dtype=graph.spec(value).dtype, name="projection")
        near = next(node.name for node in graph.nodes() if node.name in names)
        put = call(graph, dense, value, weights={"kernel": axes @ axes.T}, like=near)
        graph.replace_uses(value, put, keep={user.name for user in graph.users(value.node)} - names | {put.node})


def silenced(graph: Graph, channels: Channels, gone: Array) -> Graph:
    """A copy of a graph in which some units are neither written nor read: norms see what is kept of them.

    Args:
        graph: The analysed graph.
        channels: Its analysis.
        gone: For every unit whether it goes.
    """
    twin = graph.copy()
    alive = ~gone[channels.unit]
    for (key, path), several in channels.weights.items():
        array = twin.layers[key].weights[path].array
        for held in several:
            if not alive[held.ids].all() and len(held.axes) == 1:
                shape = [1] * array.ndim
                shape[held.axes[0]] = -1
                array = array * alive[held.ids].astype(array.dtype).reshape(shape)
        if array is not twin.layers[key].weights[path].array:
            twin.set_weight(key, path, array)
    for name, call_ in channels.calls.items():
        for held in call_.held:
            if isinstance(held.owner, int) and not alive[held.ids].all() and len(held.axes) == 1:
                turn_constant(twin, name, held.owner, held.axes[0], np.diag(alive[held.ids].astype(np.float64)))
    mask_units(twin, channels, gone)
    return twin
