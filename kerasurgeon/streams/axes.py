"""The principal axes of a stream, by what its readers see of it on data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasurgeon.channels.measured import samples_at_once
from kerasurgeon.channels.patches import numpy_of
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.streams.streams import Stream

Array = np.ndarray[Any, Any]

MOST_SAMPLES = 512
_MEMORY = 2**28
_TINY = 1e-30


def principal_axes(
    graph: Graph, streams: Sequence[Stream], data: Any, progress: Callable[[float], None]
) -> list[tuple[Array, Array]]:
    """The principal axes of streams, the strongest first.

    At every place where a stream is read, each position counts with length one, as norms make it: places in front count
    as much as those behind many sums. Products are added up in float64, batch by batch; at most 512 samples are used.

    Args:
        graph: The graph.
        streams: Its streams.
        data: Calibration data, see ``input_batches``.
        progress: Told the share that is done.

    Returns:
        For each stream an orthogonal matrix ``(width, width)``, an axis a column, and the share of the energy along
        each. Where norms take the mean away, the last axis is that direction.

    Raises:
        OptionError: There is no data, or it does not fit.
    """
    runner = Runner(graph)
    places: dict[str, list[tuple[int, Value]]] = {}
    for index, stream in enumerate(streams):
        for name, value in reading_places(stream):
            places.setdefault(name, []).append((index, value))
    products = [np.zeros((stream.width, stream.width)) for stream in streams]
    count = min(MOST_SAMPLES, samples_at_once(graph, _MEMORY))
    done = 0
    for batch in input_batches(graph, data, count, most=MOST_SAMPLES):
        for node, tensors in runner.walk(batch, set(places)):
            for index, value in places.get(node.name, ()):
                products[index] += _products(numpy_of(tensors[value]), streams[index].centred)
        done += len(batch[0])
        progress(done / MOST_SAMPLES)
    return [_axes(one, stream.centred) for one, stream in zip(products, streams, strict=True)]


def reading_places(stream: Stream) -> list[tuple[str, Value]]:
    """Where a stream, or what a norm gives of it, is turned: a call that reads it there, and the tensor; each once."""
    places = [(norm.nodes[0].name, norm.value) for norm in stream.norms]
    places += [(name, value) for value, name in stream.raw]
    places += [(name, value) for name, (value, _) in stream.tied.items()]
    return list({value: (name, value) for name, value in reversed(places)}.values())[::-1]


def _products(tensor: Array, centred: bool) -> Array:
    rows = np.asarray(tensor, np.float64).reshape(-1, tensor.shape[-1])
    if centred:
        rows = rows - rows.mean(axis=-1, keepdims=True)
    rows = rows / np.sqrt(np.maximum(np.square(rows).sum(axis=-1, keepdims=True), _TINY))
    return np.asarray(rows.T @ rows)


def _axes(products: Array, centred: bool) -> tuple[Array, Array]:
    total = max(float(np.trace(products)), _TINY)
    width = len(products)
    if centred:
        mean = np.full((width, width), 1 / width)
        rest = np.eye(width) - mean
        products = rest @ products @ rest - total * mean  # below all others
    values, vectors = np.linalg.eigh((products + products.T) / 2)
    return vectors[:, ::-1].copy(), np.maximum(values[::-1], 0.0) / total
