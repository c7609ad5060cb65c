"""Fit linear bridges to data: what enters and what leaves regions, in batches, of which only sums are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from kerasurgeon.blocks.linear import Resizing
from kerasurgeon.blocks.moments import Moments
from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner, last_uses
from kerasurgeon.rewrite.regions import Region

Array = np.ndarray[Any, Any]

SAMPLES = 512
_MOST_ROWS = 16384
_MEMORY = 2**29
_SUMS = 2**30
_BATCH = 32


class Reader:
    """Runs a graph as far as some tensors need it, and gives those.

    Args:
        graph: The graph; it is only read.
        values: The tensors.
    """

    def __init__(self, graph: Graph, values: Iterable[Value]) -> None:
        self.graph, self.values = graph, tuple(dict.fromkeys(values))
        needed: set[str] = {value.node for value in self.values}
        for value in self.values:
            needed |= nx.ancestors(graph.digraph, value.node)
        self.order = [node for node in graph.nodes() if node.name in needed and graph.kind(node) != "InputLayer"]
        kept = set(self.values)
        ends = last_uses(self.order).items()
        self.ends = {place: [value for value in values if value not in kept] for place, values in ends}
        self.runner = Runner(graph)

    def __call__(self, batch: Sequence[Array]) -> dict[Value, Any]:
        """The tensors for one batch, one array per model input."""
        tensors = self.runner.feed(batch)
        for place, node in enumerate(self.order):
            for index, output in enumerate(self.runner.call(node, tensors)):
                tensors[Value(node.name, index)] = output
            for value in self.ends.get(place, ()):
                tensors.pop(value, None)
        return {value: tensors[value] for value in self.values}


def batch_size(graph: Graph, values: Iterable[Value], most: int = _BATCH, memory: int = _MEMORY) -> int:
    """How many samples can be looked at together, if these tensors are kept of each."""
    sample = sum(graph.spec(value).bytes(1) for value in set(values))
    widest = max((spec.bytes(1) for node in graph.nodes() for spec in node.outputs), default=1)
    return max(1, min(most, memory // max(sample + 4 * widest, 1)))


def measure(
    graph: Graph,
    wanted: Mapping[str, tuple[Region, Resizing]],
    data: Any,
    *,
    full: Callable[[str], bool] = lambda _: True,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    refused: dict[str, str] | None = None,
) -> dict[str, Moments]:
    """What enters and what leaves several regions, from one run of the data, or few where the sums would not fit.

    Args:
        graph: The graph; it is only read.
        wanted: The regions by any name, with what brings entry to exit.
        data: Calibration data, see ``input_batches``.
        full: For which of them products of different channels are summed.
        samples: How many samples are looked at, at most.
        seed: Draws the positions that are looked at where a batch has very many.
        progress: Called with the fraction done.
        refused: Gets the names of regions whose sizes are not as expected with this data, with the reason.

    Raises:
        OptionError: The data cannot be used.
        GraphError: With this data sizes are not as expected, and there is no ``refused``.
    """
    found: dict[str, Moments] = {}
    for names in _rounds(wanted, full):
        values = [value for name in names for value in (wanted[name][0].entry, wanted[name][0].exit)]
        reader = Reader(graph, values)
        sums = {name: Moments(full=full(name)) for name in names}
        rng, seen = np.random.default_rng(seed), 0
        for batch in input_batches(graph, data, batch_size(graph, values), most=samples):
            tensors = reader(batch)
            for name in tuple(sums):
                region, resize = wanted[name]
                try:
                    add_rows(sums[name], resize, tensors[region.entry], tensors[region.exit], rng, region.name)
                except GraphError as error:
                    if refused is None:
                        raise
                    refused[name] = f"with this data its exit has the size {error.got}, expected was {error.expected}"
                    del sums[name]
            seen += len(batch[0])
            if progress is not None:
                progress((len(found) + len(names) * min(seen / samples, 1.0)) / len(wanted))
        found |= sums
    return found


def measure_after(
    original: Graph,
    changed: Graph,
    region: Region,
    resize: Resizing,
    data: Any,
    *,
    entry: Value | None = None,
    full: bool = True,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Moments:
    """What enters a region in a network that was changed before it, and what left the region in the original.

    Args:
        original: The graph as it was.
        changed: The graph as it is.
        region: A region of both.
        resize: What brings its entry to its exit.
        data: Calibration data, see ``input_batches``.
        entry: The tensor that enters, where the changed graph calls it otherwise.
        full: Whether products of different channels are summed.
        samples: How many samples are looked at, at most.
        seed: Draws positions.
    """
    begin = region.entry if entry is None else entry
    before, after = Reader(original, [region.exit]), Reader(changed, [begin])
    moments, rng = Moments(full=full), np.random.default_rng(seed)
    size = batch_size(original, [region.entry, region.exit])
    for batch in input_batches(original, data, size, most=samples):
        add_rows(moments, resize, after(batch)[begin], before(batch)[region.exit], rng, region.name)
    return moments


def add_rows(moments: Moments, resize: Resizing, entry: Any, exit: Any, rng: np.random.Generator, name: str) -> None:
    """Add the positions of a pair of tensors, or a random part of them where there are very many.

    Raises:
        OptionError: They hold NaN or infinities.
    """
    x, y = resize.rows(entry, exit)
    if len(x) > _MOST_ROWS:
        chosen = np.sort(rng.choice(len(x), _MOST_ROWS, replace=False))
        x, y = x[chosen], y[chosen]
    require_finite((x, y), name)
    moments.add(x, y)


def require_finite(tensors: Iterable[Array], name: str) -> None:
    """Refuse calibration data with which what enters or leaves a region holds NaN or infinities.

    Raises:
        OptionError: It does.
    """
    if not all(np.isfinite(tensor).all() for tensor in tensors):
        raise OptionError(
            "With the calibration data, tensors hold NaN or infinity.",
            where=f"region {name!r}",
            hint="pass data prepared as for predict",
        )


def _rounds(wanted: Mapping[str, tuple[Region, Resizing]], full: Callable[[str], bool]) -> Iterator[tuple[str, ...]]:
    """Regions whose sums may be held together."""
    several, held = list[str](), 0
    for name, (_, resize) in wanted.items():
        inputs, outputs = resize.channels
        size = 8 * inputs * (inputs + outputs) if full(name) else 0
        if several and held + size > _SUMS:
            yield tuple(several)
            several, held = [], 0
        several.append(name)
        held += size
    if several:
        yield tuple(several)


__all__ = ["SAMPLES", "Reader", "add_rows", "batch_size", "measure", "measure_after", "require_finite"]
