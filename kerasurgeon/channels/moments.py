"""What is known of a network's tensors without data: from batch-norm statistics, followed through what comes behind.

A batch norm's output has mean ``beta`` and standard deviation ``|gamma|``, channel by channel, if its statistics are
those of the data; it is taken for a Gaussian. From there:

* elementwise layers are run on the points of a quadrature (``spread``); what is computed from the same numbers
  (``x * sigmoid(x)``) stays a function of them, so that no independence is assumed there;
* sums and products of different tensors take them as independent: means add or multiply, variances follow;
* layers that are linear give the mean exactly; the variance as if their inputs were independent;
* local average poolings see neighbours as alike, global ones as so many that only their mean remains;
* of a maximum pooling over n positions the largest of sqrt(n) independent values is taken: neighbours are alike, but
  not the same.

Everything else is not known, and neither is what is computed from it, up to the next batch norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels import moment_rules
from kerasurgeon.channels.spread import Spread
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.foreign import said

Array = np.ndarray[Any, Any]


class Moments:
    """Spreads of tensors, computed when they are asked for.

    Args:
        graph: The graph, as it was before anything was cut.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._known: dict[Value, Spread | None] = {}
        self._why: dict[Value, str] = {}

    def spread(self, value: Value) -> Spread | None:
        """How a tensor's elements are spread, ``None`` where nothing is known."""
        waiting = [value]
        while waiting:
            current = waiting[-1]
            if current in self._known:
                waiting.pop()
                continue
            node = self.graph.producer(current)
            needed = () if moment_rules.begins(self.graph, node) else node.inputs
            missing = [operand for operand in needed if operand not in self._known]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._known[current] = self._computed(current, node)
        return self._known[value]

    def why(self, value: Value) -> str:
        """Why nothing is known of a tensor."""
        return self._why.get(value, "nothing is known of it")

    def _computed(self, value: Value, node: Node) -> Spread | None:
        operands = {operand: self._known.get(operand) for operand in node.inputs}
        try:
            if value.index:
                raise moment_rules.Unknown(f"it is an output of {node.name!r}, which has several")
            return moment_rules.follow(self.graph, node, operands)
        except moment_rules.Unknown as unknown:
            self._why[value] = str(unknown)
            if not str(unknown):
                self._why[value] = next(self._why[one] for one in node.inputs if operands[one] is None)
        except Exception as error:  # noqa: BLE001 - an estimate that fails, whatever a layer raises, is none
            self._why[value] = f"{node.name!r} cannot be followed: {said(error)}"
        return None
