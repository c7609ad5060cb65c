"""Expected values of tensors from data: one run, of which only sums are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from kerasurgeon.costs.liveness import live_bytes
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner

Array = np.ndarray[Any, Any]

_MEMORY = 512 * 2**20


def measured_means(graph: Graph, values: Iterable[Value], data: Any, batch_size: int = 32) -> dict[Value, Array]:
    """The means of tensors over data, position by position.

    Args:
        graph: The graph. It is run call by call, so that a tensor lives no longer than it is read; batches are made
            smaller where the tensors that are alive together would take more than 512 MiB.
        values: The tensors. Their first axis is the batch.
        data: Calibration data, see ``input_batches``.
        batch_size: Samples per batch at most.

    Returns:
        Arrays of shape ``(1, ...)``, in float64. Axes whose size the model leaves open are averaged over.
    """
    wanted = set(values)
    totals: dict[Value, Array] = {}
    count = 0
    runner = Runner(graph)
    until = _until(graph, wanted)
    for batch in input_batches(graph, data, min(batch_size, samples_at_once(graph, _MEMORY))):
        seen: set[Value] = set()
        for node, tensors in runner.walk(batch, until=until):
            for value in set(node.inputs) & wanted - seen:
                seen.add(value)
                totals[value] = totals.get(value, 0.0) + _summed(graph, value, tensors[value])
        count += len(batch[0])
    return {value: total / count for value, total in totals.items()}


def samples_at_once(graph: Graph, memory: int) -> int:
    """How many samples can be run together within some bytes of tensors."""
    order = list(graph.nodes())
    sizes = {node.name: [spec.bytes(1) for spec in node.outputs] for node in order}
    live = live_bytes(order, sizes, inputs=values_in(graph.inputs), outputs=values_in(graph.outputs))
    return max(1, memory // max(*live, 1))


def _until(graph: Graph, wanted: set[Value]) -> set[str]:
    """The first reader of each of these tensors."""
    readers: dict[Value, str] = {}
    for node in graph.nodes():
        for value in node.inputs:
            if value in wanted:
                readers.setdefault(value, node.name)
    return set(readers.values())


def _summed(graph: Graph, value: Value, tensor: Any) -> Array:
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    total = array.sum(axis=0, keepdims=True, dtype=np.float64)
    for axis, size in enumerate(graph.spec(value).shape):
        if axis and size is None:
            total = total.mean(axis=axis, keepdims=True)
    return np.asarray(total)
