"""Seeded inputs that a model can take."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import TensorSpec, Value

# Sizes for axes that a model leaves free, by rank: large enough for networks that halve an image five times.
_FREE_SIZE = {4: 96, 5: 16}
_FREE_SIZE_ELSE = 16


def sample_inputs(graph: Graph, *, seed: int = 0, batch_size: int = 2) -> Any:
    """Draw inputs for a graph, nested as its inputs are.

    Reals are uniform in [-1, 1), integers uniform below the vocabulary that reads them (below 2 if none is known),
    booleans fair.

    Args:
        graph: The graph.
        seed: Same seed, same arrays.
        batch_size: Size of the batch axis, where the model leaves it free.
    """
    generator = np.random.default_rng(seed)

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, Value):
            return leaf
        spec = graph.spec(leaf)
        return draw_array(spec, generator, batch_size=batch_size, below=_vocabulary(graph, leaf))

    return map_leaves(draw, graph.inputs)


def draw_array(
    spec: TensorSpec, generator: np.random.Generator, *, batch_size: int = 2, below: int = 2, low: float = -1.0
) -> np.ndarray[Any, Any]:
    """Draw one array for a spec.

    Args:
        spec: Its shape and dtype; unknown sizes are chosen.
        generator: Where the numbers come from.
        batch_size: Size of axis 0 if unknown.
        below: Integers are drawn below this.
        low: Reals are drawn between this and 1.
    """
    free = _FREE_SIZE.get(len(spec.shape), _FREE_SIZE_ELSE)
    shape = tuple((batch_size if axis == 0 else free) if size is None else size for axis, size in enumerate(spec.shape))
    if spec.dtype == "bool":
        return generator.random(shape) < 0.5
    if "int" in spec.dtype:
        return generator.integers(0, below, shape).astype(spec.dtype)
    dtype = np.float64 if spec.dtype == "float64" else np.float32
    return low + (1 - low) * generator.random(shape, dtype=dtype)


def _vocabulary(graph: Graph, value: Value) -> int:
    """The smallest ``input_dim`` of the embeddings that read a tensor, through anything that keeps it an integer."""
    sizes, seen, waiting = [], set(), [value]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for use in graph.uses(current):
            node = graph[use.node]
            if graph.kind(node) == "Embedding":
                sizes.append(int(graph.layer_of(node).config["input_dim"]))
            elif "int" in node.spec.dtype:
                waiting.append(node.value)
    return min(sizes, default=2)
