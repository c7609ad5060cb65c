"""Notice that nothing is left between the inputs and an output of a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value


def disconnected(channels: Channels, alive: np.ndarray[Any, Any]) -> tuple[str, ...]:
    """Outputs that no longer depend on any input, by the names of the nodes that compute them.

    Args:
        channels: The analysis of the network.
        alive: For every unit whether it is alive.
    """
    graph = channels.graph
    reached: set[Value] = set()
    for node in graph.nodes():
        source = graph.kind(node) == "InputLayer"
        if not source and not any(value in reached for value in node.inputs):
            continue
        for index, labels in enumerate(channels.labels[node.name]):
            if all(alive[channels.unit[factor.ids]].any() for factor in labels.factors if factor.ids.size):
                reached.add(Value(node.name, index))
    return tuple(value.node for value in values_in(graph.outputs) if value not in reached)
