"""Which channels have any effect on the outputs: followed from the outputs back to where nothing is read any more."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels.constants import Constants, along, blank, spread
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.rules.asking import is_channelwise

Array = np.ndarray[Any, Any]


class Needed:
    """For every tensor the channels that count.

    Args:
        constants: The constants of the graph.

    Attributes:
        reads: For nodes that sum over channels: for every channel that goes in whether it counts.
    """

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.channels = constants.channels
        graph = constants.graph
        self.used = {
            Value(name, index): np.zeros(blank(labels), bool)
            for name, several in self.channels.labels.items()
            for index, labels in enumerate(several)
        }
        self.reads: dict[str, Array] = {}
        for value in values_in(graph.outputs):
            self.used[value][...] = True
        for node in reversed(list(graph.nodes())):
            for value in dict.fromkeys(node.inputs):
                self.used[value] |= self._needs(node, value)

    def any_of(self, node: Node) -> bool:
        """Whether any output of a node counts."""
        return any(self.used[Value(node.name, index)].any() for index in range(len(node.outputs)))

    def _needs(self, node: Node, value: Value) -> Any:
        matrices = self.constants.linear_of(node) if node.name in self.channels.calls else None
        result = self.used[node.value]
        if matrices is not None:
            outputs = along(result, matrices.axis, matrices.rows.shape[0] * matrices.rows.shape[2]).any(axis=0)
            outputs = np.asarray(outputs)
            self.reads[node.name] = matrices.counts(outputs)
            found = spread(self.reads[node.name], matrices.axis, self.used[value].shape)
            return outputs.any() if found is None else found
        found = self._through(node, value)
        return self.any_of(node) if found is None else found

    def _through(self, node: Node, value: Value) -> Array | None:
        """What counts of an operand whose channels are, one by one, those of the result; else ``None``."""
        call = self.channels.calls.get(node.name)
        if call is None or call.inexact or call.masks or len(node.outputs) != 1:
            return None
        if not is_channelwise(self.constants.graph.layer_of(node)):
            return None
        ours, theirs = self.channels.labels[value.node][value.index], self.channels.labels[node.name][0]
        if len(ours.factors) != 1 or len(theirs.factors) != 1:
            return None
        one, other = ours.factors[0], theirs.factors[0]
        unit = self.channels.unit
        if len(one.axes) != 1 or len(other.axes) != 1 or not np.array_equal(unit[one.ids], unit[other.ids]):
            return None
        size = len(one.ids)
        before = self.constants.channel(value, one.axes[0], size)
        after = self.constants.channel(node.value, other.axes[0], size)
        counts = along(self.used[node.value], other.axes[0], size).any(axis=0)
        # A result that is fixed although the operand is not does not depend on it.
        counts &= ~(np.isnan(before) & ~np.isnan(after))
        return spread(counts, one.axes[0], self.used[value].shape)
