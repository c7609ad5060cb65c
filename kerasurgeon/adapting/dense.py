"""Kernels with a row for each position, made to fit other positions.

The new kernel computes what the old one did of the new map, resized to the old size by linear interpolation (averaging,
where it gets smaller): with ``R`` for the resizing, ``k . (R x) = (R^T k) . x``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.asking import linear_form

Array = np.ndarray[Any, Any]


def resampled(graph: Graph, name: str, before: Mapping[str, tuple[TensorSpec, ...]]) -> dict[str, Array] | None:
    """The kernel of a layer behind a Flatten for the map that is flattened now; ``None`` where it is no such layer.

    Args:
        graph: The graph, whose specs up to the node are those of the new sizes.
        name: The node.
        before: The specs of the old sizes, by node.
    """
    node = graph[name]
    layer = graph.layer_of(node)
    form = linear_form(layer)
    if form is None or form.single is None or form.window is not None or len(node.inputs) != 1:
        return None
    key = form.single.key
    kernel = layer.weights[key].array
    flat = node.inputs[0].node
    while not issubclass(graph.layer_of(flat).cls, keras.layers.Flatten):
        inputs = graph[flat].inputs
        if len(inputs) != 1 or before[flat][0].shape[1:] != (len(kernel),):
            return None
        flat = inputs[0].node
    source = graph[flat].inputs[0]
    old, new = before[source.node][source.index].shape[1:], graph.spec(source).shape[1:]
    if graph.layer_of(flat).config.get("data_format") == "channels_first":  # Flatten moves channels behind
        old, new = (*old[1:], old[0]), (*new[1:], new[0])
    sizes = [size for size in (*old, *new) if size is not None]
    if (
        len(sizes) != len(old) + len(new)
        or old[-1] != new[-1]
        or kernel.ndim != 2
        or prod(sizes[: len(old)]) != len(kernel)
    ):
        return None
    result = kernel.reshape(*sizes[: len(old)], -1).astype(np.float64)
    for axis, (was, now) in enumerate(zip(sizes[: len(old) - 1], sizes[len(old) : -1], strict=True)):
        result = np.moveaxis(np.tensordot(_resizing(now, was).T, result, (1, axis)), 0, axis)
    return {key: result.reshape(-1, kernel.shape[1]).astype(kernel.dtype)}


def _resizing(size: int, to: int) -> Array:
    """The matrix that resizes a line: each result is a mean, with weights that fall off linearly over one step."""
    step = size / to
    width = max(step, 1.0)
    centres = (np.arange(to) + 0.5) * step - 0.5
    weights = np.maximum(1.0 - np.abs(np.arange(size) - centres[:, None]) / width, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


__all__ = ["resampled"]
