"""What a network remembers of the data that it was trained on: the statistics that its layers hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.asking import affine_of

Array = np.ndarray[Any, Any]

_LEAST = 1e-5


@dataclass(frozen=True, eq=False)
class Anchor:
    """A tensor of which the mean and the deviation over data are known. Arrays broadcast against it.

    Attributes:
        value: The tensor: what a layer with statistics gives.
        mean: Its mean.
        deviation: Its standard deviation.
        scale: What differences are measured in: the deviation that the layer divides by, or 0 for channels that say
            nothing.
    """

    value: Value
    mean: Array
    deviation: Array
    scale: Array

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that the statistics are over."""
        return tuple(axis for axis, size in enumerate(self.mean.shape) if size == 1)


def find_anchors(graph: Graph) -> list[Anchor]:
    """The tensors of a graph whose statistics its layers hold, in the order of the graph: behind batch norms.

    Statistics that were never moved from where they start are those of no data, and left out.
    """
    found = []
    for node in graph.nodes():
        if not node.inputs or len(node.outputs) != 1 or node.kwargs.get("training"):
            continue
        layer = graph.layer_of(node)
        try:
            statistics = rule_for(layer.kind).statistics(layer, len(node.spec.shape))
        except CannotTell:
            continue
        if statistics is None:
            continue
        mean, variance = np.asarray(statistics.mean, np.float64), np.asarray(statistics.variance, np.float64)
        scale = np.sqrt(variance)
        affine = affine_of(layer)
        if affine is not None:
            if _untouched(layer.array("moving_mean"), layer.array("moving_variance")):
                continue
            # What it divides by is the root of the variance and of the epsilon: of a channel that hardly varies, the
            # epsilon is most of it.
            squares = np.square(np.asarray(affine.scale).reshape(mean.shape))
            variance = np.maximum(variance - float(layer.config.get("epsilon", 0.0)) * squares, 0.0)
        scale = np.where(scale > _LEAST * max(float(scale.max()), 1e-30), scale, 0.0)
        found.append(Anchor(node.value, mean, np.sqrt(variance), scale))
    return found


def no_statistics() -> OptionError:
    """What is raised where a graph has none, and inputs cannot be generated for that reason."""
    return OptionError(
        "No inputs can be generated: no layer of the model holds statistics of data.",
        expected="a trained model with batch norms",
        hint="give data",
    )


def _untouched(mean: Array | None, variance: Array | None) -> bool:
    return mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())
