"""Inputs for a model where nobody gives any: the one place that chooses them, for checks, exports and measurements.

Sizes that a model leaves open are first taken as 16, of images as 96. Where the model does not work with these (a
cropping that takes more, a position table that has less, parts that must match), ``likely_shapes`` looks for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.keras_io.foreign import said
from kerasurgeon.keras_io.internals import input_structure

Shape = tuple[int | None, ...]

# Sizes for axes that a model leaves free, by rank: large enough for networks that halve an image five times.
_FREE_SIZE = {4: 96}
FREE_SIZE = 16
"""What an open size is taken as, elsewhere than in images."""

# Sizes that many others divide: for models that want multiples of 3, 5, 7 or 14, or of several.
_ROUND = (48, 60, 112, 120, 224, 240, 420, 840, 1680, 2520)
_LARGEST = 2**24  # elements of one sample
_MOST = 160
_AXES_APART = 4


def sample_inputs(graph: Graph, *, seed: int = 0, batch_size: int = 2, shapes: Sequence[Shape] | None = None) -> Any:
    """Draw inputs for a graph, nested as its inputs are.

    Reals are uniform in [-1, 1), integers uniform below the vocabulary that reads them (below 2 if none is known),
    booleans fair.

    Args:
        graph: The graph.
        seed: Same seed, same arrays.
        batch_size: Size of the batch axis, where the model leaves it free.
        shapes: Shapes of the inputs in flattened order, where other sizes are wanted than the first choice.
    """
    generator = np.random.default_rng(seed)
    values = list(values_in(graph.inputs))  # not in the order in which map_leaves meets them
    wanted = dict(zip(values, shapes or [graph.spec(value).shape for value in values], strict=True))

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, Value):
            return leaf
        spec = TensorSpec(tuple(wanted[leaf]), graph.spec(leaf).dtype)
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
    free = _FREE_SIZE.get(len(spec.shape), FREE_SIZE)
    shape = tuple((batch_size if axis == 0 else free) if size is None else size for axis, size in enumerate(spec.shape))
    if spec.dtype == "bool":
        return generator.random(shape) < 0.5
    if "int" in spec.dtype:
        return generator.integers(0, below, shape).astype(spec.dtype)
    dtype = np.float64 if spec.dtype == "float64" else np.float32
    return low + (1 - low) * generator.random(shape, dtype=dtype)


def has_open_sizes(shapes: Iterable[Shape]) -> bool:
    """Whether a size is open, batches apart."""
    return any(None in shape[1:] for shape in shapes)


def likely_shapes(
    shapes: Sequence[Shape], problem: Callable[[list[Shape]], str], *, also: Iterable[int] = ()
) -> Iterator[list[Shape]]:
    """Sizes that a model accepts in place of open ones, the likeliest first.

    All open sizes grow together by factors of two, to the least that works; then they shrink; then sizes are tried that
    stand in the model elsewhere, and ones that many numbers divide; then ones that differ by factors of two or four
    between axes.

    Args:
        shapes: Shapes of the inputs; axis 0 stays as it is.
        problem: Why a model does not accept shapes, empty if it does; it runs nothing.
        also: Sizes that stand in the model.

    Yields:
        Shapes of all inputs, each combination once.
    """
    places = [
        (index, axis) for index, shape in enumerate(shapes) for axis in range(1, len(shape)) if shape[axis] is None
    ]
    first = [_FREE_SIZE.get(len(shapes[index]), FREE_SIZE) for index, _ in places]
    seen: set[tuple[int, ...]] = set()

    def full(sizes: Sequence[int]) -> list[Shape]:
        chosen = dict(zip(places, sizes, strict=True))
        return [
            tuple(chosen.get((index, axis), size) for axis, size in enumerate(shape))
            for index, shape in enumerate(shapes)
        ]

    for sizes in _combinations(first, tuple(also)):
        made = full(sizes)
        if sizes in seen or any(prod(size or 1 for size in shape) > _LARGEST for shape in made):
            continue
        seen.add(sizes)
        if not problem(made):
            yield made
        if len(seen) >= _MOST:
            return


def _combinations(first: Sequence[int], also: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for power in range(21):
        yield tuple(size << power for size in first)
    for power in range(1, 8):
        yield tuple(max(1, size >> power) for size in first)
    for size in (*also, *_ROUND):
        yield (size,) * len(first)
    if 1 < len(first) <= _AXES_APART:
        for start in (16, 64, 256):
            for factors in sorted(product((1, 2, 4), repeat=len(first)), key=sum):
                yield tuple(start * factor for factor in factors)
        for sizes in product((FREE_SIZE, *also[:6]), repeat=len(first)):
            yield tuple(sizes)


def problem_of(model: keras.Model) -> Callable[[list[Shape]], str]:
    """What ``likely_shapes`` asks of a model: whether Keras can tell the shapes of its outputs. Nothing is run."""

    def problem(shapes: list[Shape]) -> str:
        flat = iter(shapes)
        try:
            given = keras.tree.map_structure(
                lambda tensor: keras.KerasTensor(next(flat), dtype=tensor.dtype, sparse=tensor.sparse), _inputs(model)
            )
            outputs = keras.tree.flatten(model.compute_output_spec(given))
        except Exception as error:  # noqa: BLE001 - layers of all kinds say in all ways that they do not take it
            return said(error)
        return "an output would be empty" if any(0 in output.shape for output in outputs) else ""

    return problem


def sizes_inside(graph: Graph) -> tuple[int, ...]:
    """Sizes that stand in a graph apart from channels and batches, those of many tensors first."""
    counts: dict[int, int] = {}
    for node in graph.nodes():
        for spec in node.outputs:
            for size in spec.shape[1:-1]:
                if size is not None and size > 1:
                    counts[size] = counts.get(size, 0) + 1
        for weight in graph.layer_of(node).weights.values():
            if len(weight.shape) > 1:  # a table of positions
                counts[weight.shape[0]] = counts.get(weight.shape[0], 0)
    return tuple(sorted(counts, key=lambda size: (-counts[size], size))[:16])


def _inputs(model: keras.Model) -> Any:
    structure = input_structure(model)
    return model.inputs[0] if structure is None else structure


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
