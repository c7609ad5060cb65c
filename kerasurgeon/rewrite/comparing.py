"""What passes do to the outputs of a model: measured, and held against what they promise."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.errors import NoInputsError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import brief_model, emit
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.injection import Made, release, variables_made
from kerasurgeon.keras_io.remaking import has_foreign, not_as_it_was
from kerasurgeon.rewrite.outputs import (
    CONSTANT_OUTPUTS,
    Arrays,
    differ_between_samples,
    first_run,
    relative_difference,
    rounding_sensitivity,
    run_model,
    tolerance,
)
from kerasurgeon.rewrite.passes import Pass, Preserves

# New weights are a product and a sum of old ones, each rounded: a few times what one rounding does.
_ROUNDINGS = 4
_FAITHFUL = 1e-5


class Comparison:
    """Outputs before and after each pass of a run, on the same inputs; what was run once is not run again.

    Args:
        source: The model that the run began with; ``None`` where there is only a graph.
        seed: The inputs follow from it.
        data: Data of the run: two samples of it are the inputs, where it can be read more than once.

    Attributes:
        notes: What the user should know of the comparisons.
        used: What was run by equal calls.
        begun: Whether outputs were compared already.
    """

    def __init__(self, source: keras.Model | None, seed: int, data: Any = None) -> None:
        self.source, self.seed, self.data = source, seed, data
        self.notes: list[str] = []
        self.used: set[str] = set()
        self._inputs: Any = None
        self._outputs: tuple[int, Arrays] | None = None  # the revision they belong to, and the arrays
        self._emitted: tuple[int, keras.Model] | None = None
        self._variables: Made = []  # of that model

    @property
    def begun(self) -> bool:
        """Whether outputs were compared already."""
        return self._outputs is not None

    def forget(self) -> None:
        """Take other inputs from now on: the network takes others."""
        self._inputs = self._outputs = None

    def model_of(self, graph: Graph) -> keras.Model:
        """The Keras model of a graph; that of the last comparison if the graph is the same."""
        if self._emitted is not None and self._emitted[0] == graph.revision:
            return self._emitted[1]
        release(self._variables)
        return emit(graph)

    def with_before(self, item: Pass, before: Graph, after: Graph) -> float:
        """The relative difference of outputs that a pass has made.

        Raises:
            CannotRunError: The model cannot be run, on this machine or on any inputs that were tried.
            VerificationError: It is exact by its own word, and the difference is more than rounding makes.
        """
        if self._outputs is None or self._outputs[0] != before.revision:
            fresh = self.source is not None and before.revision == 0
            self._outputs = (
                before.revision,
                self._begun(self.source, before) if fresh else self._outputs_of(before, before),
            )
        if not self.notes and not differ_between_samples(self._outputs[1]):
            self.notes.append(CONSTANT_OUTPUTS)
        return self._measured(item, after, before, self._outputs[1], exact=item.preserves is Preserves.EXACT)

    def with_twin(self, item: Pass, before: Graph, after: Graph, twin: Graph) -> float:
        """The relative difference between a pass's result and the masked twin that it names.

        Raises:
            CannotRunError: The model cannot be run, on this machine or on any inputs that were tried.
            VerificationError: It is more than rounding makes.
        """
        try:
            expected = self._outputs_of(twin, before)
        except NoInputsError:
            self._outputs_of(before, before)  # if that runs, it is the twin that does not
            expected = self._outputs_of(twin, before)
        return self._measured(item, after, twin, expected, exact=True)

    def _begun(self, model: keras.Model, graph: Graph) -> Arrays:
        """What a model gives; the first one that is run decides on what inputs."""
        if self._inputs is None:
            self._inputs, arrays = first_run(graph, model, self._run, seed=self.seed, data=self.data)
            return arrays
        return self._run(model, self._inputs)

    def _outputs_of(self, graph: Graph, before: Graph) -> Arrays:
        with brief_model(graph) as model:
            return self._begun(model, before)

    def _run(self, model: keras.Model, inputs: Any) -> Arrays:
        with equal_calls() as used:
            arrays = run_model(model, inputs)
        self.used |= used
        return arrays

    def require_faithful(self, graph: Graph) -> None:
        """Refuse a model whose layers from outside Keras come back other than they were: that is no pass' doing.

        Raises:
            CannotRunError: The model cannot be run, on this machine or on any inputs that were tried.
            EmitError: They do.
        """
        if self.source is None or graph.revision != 0 or self._outputs is not None or not has_foreign(graph):
            return
        arrays = self._begun(self.source, graph)
        self._outputs = graph.revision, arrays
        difference = relative_difference(arrays, self._outputs_of(graph, graph))
        if difference <= tolerance(graph, _FAITHFUL):
            return
        if relative_difference(arrays, self._run(self.source, self._inputs)) == 0:  # else chance is at work
            raise not_as_it_was(self.source, graph, self._inputs, difference)

    def _measured(self, item: Pass, after: Graph, reference: Graph, expected: Arrays, *, exact: bool) -> float:
        release(self._variables)
        with variables_made() as self._variables:
            model = emit(after)
        arrays = self._run(model, self._inputs)
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
