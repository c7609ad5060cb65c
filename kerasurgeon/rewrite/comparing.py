"""What passes do to the outputs of a model: measured, and held against what they promise."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.errors import VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import brief_model, emit
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.injection import release, variables_made
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.rewrite.outputs import (
    CONSTANT_OUTPUTS,
    Arrays,
    differ_between_samples,
    relative_difference,
    rounding_sensitivity,
    run_model,
    tolerance,
)
from kerasurgeon.rewrite.passes import Pass, Preserves

# New weights are a product and a sum of old ones, each rounded: a few times what one rounding does.
_ROUNDINGS = 4


class Comparison:
    """Outputs before and after each pass of a run, on the same inputs; what was run once is not run again.

    Args:
        source: The model that the run began with; ``None`` where there is only a graph.
        seed: The inputs follow from it.

    Attributes:
        notes: What the user should know of the comparisons.
        used: What was run by equal calls.
        begun: Whether outputs were compared already.
    """

    def __init__(self, source: keras.Model | None, seed: int) -> None:
        self.source, self.seed = source, seed
        self.notes: list[str] = []
        self.used: set[str] = set()
        self._inputs: Any = None
        self._outputs: tuple[int, Arrays] | None = None  # the revision they belong to, and the arrays
        self._emitted: tuple[int, keras.Model] | None = None
        self._variables: list[Any] = []  # of that model

    @property
    def begun(self) -> bool:
        """Whether outputs were compared already."""
        return self._outputs is not None

    def model_of(self, graph: Graph) -> keras.Model:
        """The Keras model of a graph; that of the last comparison if the graph is the same."""
        if self._emitted is not None and self._emitted[0] == graph.revision:
            return self._emitted[1]
        release(self._variables)
        return emit(graph)

    def with_before(self, item: Pass, before: Graph, after: Graph) -> float:
        """The relative difference of outputs that a pass has made.

        Raises:
            VerificationError: It is exact by its own word, and the difference is more than rounding makes.
        """
        self._choose_inputs(before)
        if self._outputs is None or self._outputs[0] != before.revision:
            fresh = self.source is not None and before.revision == 0
            self._outputs = before.revision, self._run(self.source) if fresh else self._outputs_of(before)
            if not self.notes and not differ_between_samples(self._outputs[1]):
                self.notes.append(CONSTANT_OUTPUTS)
        return self._measured(item, after, before, self._outputs[1], exact=item.preserves is Preserves.EXACT)

    def with_twin(self, item: Pass, before: Graph, after: Graph, twin: Graph) -> float:
        """The relative difference between a pass's result and the masked twin that it names.

        Raises:
            VerificationError: It is more than rounding makes.
        """
        self._choose_inputs(before)
        return self._measured(item, after, twin, self._outputs_of(twin), exact=True)

    def _choose_inputs(self, graph: Graph) -> None:
        if self._inputs is None:
            self._inputs = sample_inputs(graph, seed=self.seed)

    def _outputs_of(self, graph: Graph) -> Arrays:
        with brief_model(graph) as model:
            return self._run(model)

    def _run(self, model: keras.Model) -> Arrays:
        with equal_calls() as used:
            arrays = run_model(model, self._inputs)
        self.used |= used
        return arrays

    def _measured(self, item: Pass, after: Graph, reference: Graph, expected: Arrays, *, exact: bool) -> float:
        release(self._variables)
        with variables_made() as self._variables:
            model = emit(after)
        arrays = self._run(model)
        difference = relative_difference(expected, arrays)
        if exact:
            self._require_exact(item, after, difference, reference, expected)
        self._outputs, self._emitted = (after.revision, arrays), (after.revision, model)
        return difference

    def _require_exact(self, item: Pass, after: Graph, difference: float, reference: Graph, expected: Arrays) -> None:
        allowed = tolerance(after, item.rtol)
        if difference <= allowed:
            return
        # Rare, and it takes a model and a run more: ask how much of this rounding alone accounts for.
        rounding = rounding_sensitivity(reference, self._inputs, expected, seed=self.seed)
        if difference <= _ROUNDINGS * rounding:
            self.notes.append(
                f"{item.name}: outputs changed by {difference:.1e}, which is rounding: the last bit of each weight "
                f"alone moves them by {rounding:.1e}"
            )
            return
        raise VerificationError(
            f"{item.name} claims to be {item.preserves.value}, but the outputs "
            + ("changed." if item.preserves is Preserves.EXACT else "are not those of the masked model."),
            expected=f"a relative difference of at most {allowed:.1e}, or {_ROUNDINGS} times the {rounding:.1e} that "
            "the last bit of each weight accounts for",
            got=f"{difference:.3e}",
            hint="run it on parts of the model to find the site, or with verify='types' to look at the result",
        )


__all__ = ["Comparison"]
