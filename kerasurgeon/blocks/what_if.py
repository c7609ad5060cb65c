"""Evaluate a network with something else in the place of a region, without making a new one.

The network as it is runs once over each batch; of its tensors those are kept that a changed network reads in front of
what changes. Each candidate then runs only what lies behind its region.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import networkx as nx
import numpy as np

from kerasurgeon.blocks.calibration import Reader, batch_size
from kerasurgeon.blocks.candidates import Candidate
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.running import last_uses
from kerasurgeon.rewrite.evaluation_of import told_of
from kerasurgeon.rewrite.labelled import labelled_batches
from kerasurgeon.rewrite.scores import Score

Array = np.ndarray[Any, Any]


def scores_of(
    graph: Graph,
    several: Sequence[Candidate | None],
    data: Any,
    make: Callable[[], Score],
    progress: Callable[[float], None],
) -> list[float]:
    """Scores on labelled data, from one run of the data.

    Args:
        graph: The graph; it is only read.
        several: The candidates; ``None`` stands for the network as it is.
        data: ``(inputs, labels)``, or batches of these.
        make: Makes a score.
        progress: Called with the fraction done.

    Raises:
        OptionError: The data cannot be used, or the network has several outputs.
        RoundError: A score gives no finite number; the message names the region.
    """
    outputs = values_in(graph.outputs)
    if len(outputs) != 1:
        raise OptionError(
            f"Labelled data scores a network with one output; this one has {len(outputs)}.",
            hint="pass evaluate=function: model to number, higher is better",
        )
    tails = [None if item is None else _Tail(graph, item, outputs[0]) for item in several]
    kept = {outputs[0]}.union(*(tail.reads for tail in tails if tail is not None))
    reader = Reader(graph, kept)
    scores = [make() for _ in several]
    most = batch_size(graph, kept, most=64)
    for fraction, inputs, labels in labelled_batches(graph, data, most):
        tensors = reader(inputs)
        for place, (tail, score) in enumerate(zip(tails, scores, strict=True)):
            result = tensors[outputs[0]] if tail is None else tail.run(reader, tensors)
            with told_of(_name(several[place])):
                score.update(labels, np.asarray(keras.ops.convert_to_numpy(result)))
            progress(fraction[0] + (fraction[1] - fraction[0]) * (place + 1) / len(tails))
    found = []
    for item, score in zip(several, scores, strict=True):
        with told_of(_name(item)):
            found.append(score.result())
    return found


def _name(item: Candidate | None) -> str:
    return "the whole model" if item is None else f"the model without region {item.region.name!r}"


class _Tail:
    """What lies behind a region."""

    def __init__(self, graph: Graph, candidate: Candidate, output: Value) -> None:
        self.candidate, self.output = candidate, output
        entry, exit = candidate.region.entry, candidate.region.exit
        behind = nx.descendants(graph.digraph, exit.node)
        needed = nx.ancestors(graph.digraph, output.node) | {output.node}
        self.order: list[Node] = [node for node in graph.nodes() if node.name in behind & needed]
        names = {node.name for node in self.order}
        read = {value for node in self.order for value in node.inputs if value.node not in names}
        self.reads: set[Value] = (read - {exit}) | {entry}
        self.reads |= set() if output == exit or output.node in names else {output}
        self.ends = last_uses(self.order)

    def run(self, reader: Reader, tensors: Mapping[Value, Any]) -> Any:
        """The network's output with the candidate in place."""
        region, bridge = self.candidate.region, self.candidate.bridge
        entry = tensors[region.entry]
        own = {value: tensors[value] for value in self.reads}
        with on_this_machine(f"what takes the place of {region}"):
            own[region.exit] = entry if bridge is None else bridge(entry, training=False)
        for place, node in enumerate(self.order):
            for index, result in enumerate(reader.runner.call(node, own)):
                own[Value(node.name, index)] = result
            for value in self.ends.get(place, ()):
                if value != self.output:
                    own.pop(value, None)
        return own[self.output]


__all__ = ["scores_of"]
