"""Weights made anew, as if the network had just been built."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.derive import derive_new

KEPT = frozenset({"Normalization"})
"""Layers whose weights are no result of training: statistics of the data."""


def fresh_weights(graph: Graph) -> tuple[str, ...]:
    """Make the weights of all layers anew by their initialisers, in place. Layers keep sizes, names and flags.

    Initialisers draw their seeds from Python's generator, which a pipeline seeds. Layers made from Python functions and
    statistics of the data stay.

    Returns:
        Keys of the layers that have new weights.
    """
    done = []
    shared: dict[int, Any] = {}
    for key, layer in graph.layers.items():
        calls = graph.calls(key)
        if not layer.weights or layer.prototype is not None or layer.kind in KEPT or not calls:
            continue
        node = calls[0]
        bare = replace(layer, weights=MappingProxyType({}))
        made, _ = derive_new(graph, bare, node.args, node.kwargs)
        arrays = {
            path: drawn.array if weight.tie is None else shared.setdefault(weight.tie, drawn.array)
            for (path, weight), drawn in zip(layer.weights.items(), made.weights.values(), strict=True)
        }
        graph.update_layer(key, layer.with_weights(**arrays))
        done.append(key)
    return tuple(done)
