"""How far the outputs of a changed network are from those that it gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves, unflatten, values_in
from kerasurgeon.keras_io.emit import brief_model, emit
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import evaluation_by
from kerasurgeon.rewrite.outputs import run_model

Array = np.ndarray[Any, Any]

_BATCH = 32
_WORTH = 0.85
"""Chains of layers are slower than their MACs say: they must leave less of the error than this share of pruning's."""


class Judge:
    """Compares with a network: by the user's evaluation, or by what is given for some inputs.

    Args:
        graph: The network as it was.
        context: May have an evaluation.
        inputs: Inputs, nested as the model's; ``None`` for random ones.
    """

    def __init__(self, graph: Graph, context: Context, inputs: Any) -> None:
        self.evaluate = context.evaluate
        if self.evaluate is not None:
            self.why = "by the evaluation"
            return
        self.why = "by the error of its outputs on inputs that were held out"
        if inputs is None:
            inputs = sample_inputs(graph, seed=context.seed, batch_size=64)
            self.why = "by the error of its outputs on random inputs"
        arrays = list(leaves(inputs))
        size = next((shape[0] for value in values_in(graph.inputs) if (shape := graph.spec(value).shape)[0]), _BATCH)
        count = max(len(arrays[0]), 1)
        self.batches = [
            unflatten(graph.inputs, [np.take(array, np.arange(start, stop), axis=0, mode="wrap") for array in arrays])
            for start in range(0, count, size)
            for stop in (min(start + size, count) if size == _BATCH else start + size,)
        ]
        self.wanted = self._outputs(graph)

    def loss(self, graph: Graph) -> float:
        """How much worse a network is: less the evaluation, or the relative error, root mean square."""
        if self.evaluate is not None:
            return -evaluation_by(self.evaluate, emit(graph), "a trial")
        errors = [
            np.mean(np.square(now - was)) / max(float(np.var(was)), 1e-30)
            for was, now in zip(self.wanted, self._outputs(graph), strict=True)
        ]
        loss = float(np.sqrt(np.mean(errors)))
        return loss if np.isfinite(loss) else float("inf")

    def best(self, losses: Mapping[float, float]) -> float:
        """The least of some losses by how far pruning goes, 1 being pruning alone; that one where little is gained."""
        best = min(losses, key=lambda exponent: losses[exponent])
        alone = self.evaluate is None and np.isfinite(losses[1.0]) and losses[best] > _WORTH * losses[1.0]
        return 1.0 if alone else best

    def shown(self, loss: float) -> str:
        """A loss in a report."""
        return f"{-loss:.4g}" if self.evaluate is not None else f"{loss:.3g}"

    def _outputs(self, graph: Graph) -> list[Array]:
        with brief_model(graph) as model:
            several = [run_model(model, batch) for batch in self.batches]
        return [np.concatenate(outputs).astype(np.float64) for outputs in zip(*several, strict=True)]


__all__ = ["Judge"]
