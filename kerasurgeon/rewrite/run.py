"""One run of a pipeline: each pass on a copy of the graph, checked before the next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasurgeon.costs import Cost, cost
from kerasurgeon.errors import CannotRunError, OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.verify import verify_structure
from kerasurgeon.keras_io.derive import check_types
from kerasurgeon.keras_io.machine import by_equal_calls
from kerasurgeon.keras_io.seeding import python_seeded
from kerasurgeon.report.drawing import Drawing, draw, mark, reweighed
from kerasurgeon.rewrite.comparing import Comparison
from kerasurgeon.rewrite.context import Context, Progress
from kerasurgeon.rewrite.failures import guarded
from kerasurgeon.rewrite.outputs import require_finite
from kerasurgeon.rewrite.passes import Pass, Preserves
from kerasurgeon.rewrite.report import PassReport, Size
from kerasurgeon.rules import Sizes

_LOG = logging.getLogger(__name__)


class Run:
    """The graph as it goes through the passes.

    Args:
        model: The model that ``graph`` was lifted from, if there is one.
        graph: What the first pass gets a copy of.
        verify: How much is checked: see ``Pipeline.run``.
        data: For passes that use data.
        loss: For passes that use gradients.
        evaluate: For passes that search.
        sizes: The sizes of the inputs that costs are counted for.
        seed: All random choices follow from it.
        progress: Told how far the run is.
    """

    def __init__(
        self,
        model: keras.Model | None,
        graph: Graph,
        verify: str,
        data: Any,
        loss: Any,
        evaluate: Callable[[keras.Model], float] | None,
        sizes: Sizes | None,
        seed: int,
        progress: Progress,
    ) -> None:
        self.graph, self.verify = graph, verify
        self.data, self.loss, self.evaluate = data, loss, evaluate
        self.sizes, self.seed, self.progress, self.fraction = sizes, seed, progress, 0.0
        self.costs: list[Cost] = []  # before the first pass, and after each
        self.comparison = Comparison(model, seed, data)
        self.memory: dict[str, Any] = {}
        self._not_run: dict[str, list[str]] = {}  # why this machine cannot run the model, and after which passes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each; one for each reason for which outputs were not compared."""
        not_run = (f"{', '.join(names)}: outputs were not compared: {why}" for why, names in self._not_run.items())
        return (*self.comparison.notes, *by_equal_calls(self.comparison.used), *not_run)

    def advance(self, fraction: float, message: str) -> None:
        """Tell the user how far the run has come; a pass that starts over does not take the bar back."""
        self.fraction = max(self.fraction, fraction)
        self.progress(self.fraction, message)

    def drawings(self, start: Graph) -> tuple[Drawing | None, Drawing | None]:
        """The graph that the run began with and the one that it has now, to be drawn; nothing where no pass has run."""
        if not self.costs:
            return None, None
        before = draw(start, self.costs[0].to_dict())
        after = draw(self.graph, self.costs[-1].to_dict(), folds=before)
        mark(before, after, reweighed(start, self.graph))
        return before, after

    def one(self, item: Pass, index: int, passes: tuple[Pass, ...]) -> PassReport:
        """Run the pass at one place of the pipeline, check what it made, and go on with that.

        Raises:
            PassError: It raised, or left a graph that does not hold together.
            VerificationError: Outputs are not what it promises, or weights are not finite.
        """

        def progress(fraction: float, message: str) -> None:
            self.advance((index + min(max(fraction, 0.0), 1.0)) / len(passes), message)

        progress(0.0, item.name)
        compare = self.verify == "outputs" or (self.verify == "exact" and item.preserves is Preserves.EXACT)
        masked = self.verify in ("exact", "outputs") and item.preserves is Preserves.MASKED_EXACT
        if (compare or masked) and not self.comparison.begun:
            require_finite(self.graph.layers)
        if not self.costs:
            self.costs.append(cost(self.graph, sizes=self.sizes))
        before = _size(self.graph, self.costs[-1])
        work = self.graph.copy()
        seeds = np.random.SeedSequence([self.seed, index])
        context = Context(
            data=self.data,
            loss=self.loss,
            evaluate=self.evaluate,
            sizes=self.sizes,
            seed=int(seeds.generate_state(1)[0]),
            rng=np.random.default_rng(seeds),
            progress=progress,
            memory=self.memory,
        )
        started = time.perf_counter()
        with guarded(item, passes[:index], work), python_seeded(context.seed):
            _run(item, work, context)
        seconds = time.perf_counter() - started
        with guarded(item, passes[:index], work):
            verify_structure(work)
            removed = work.remove_unused(keep=self.graph.unused())  # what led nowhere before is the user's
            if self.verify != "structure":
                check_types(work)
                require_finite(
                    {key: layer for key, layer in work.layers.items() if self.graph.layers.get(key) is not layer}
                )
        difference = None
        try:
            if compare or masked:
                self.comparison.require_faithful(self.graph)
            if work.revision == self.graph.revision:
                difference = 0.0 if compare else None
            elif masked and context.expected is not None:
                difference = self.comparison.with_twin(item, self.graph, work, context.expected())
            elif compare and _takes(work) != _takes(self.graph):
                raise CannotRunError("The result takes other inputs than the network before it.")
            elif compare:
                difference = self.comparison.with_before(item, self.graph, work)
        except CannotRunError as error:
            if work.revision != self.graph.revision:  # else there is nothing that should have been compared
                self._not_run.setdefault(error.in_one_line(), []).append(item.name)
        context.expected = None  # it holds the twin, and mostly the context too: a cycle
        if _takes(work) != _takes(self.graph):
            self.comparison.forget()
        self.graph = work
        self.costs.append(cost(work, sizes=self.sizes))
        after = _size(work, self.costs[-1])
        verify_seconds = time.perf_counter() - started - seconds
        _LOG.info("%s: %s changed %d sites", work.name, item.name, sum(site.changed for site in context.sites))
        return PassReport(
            item.name,
            item.options,
            item.preserves.value,
            before,
            after,
            seconds,
            verify_seconds,
            difference,
            tuple(context.sites),
            removed,
            tuple(context.plans),
            tuple(context.notes),
            tuple(context.groups),
        )


def _run(item: Pass, graph: Graph, context: Context) -> None:
    """Run a pass; it changes the graph in place, says what it did through the context, and returns nothing."""
    returned: Any = item.run(graph, context)
    if returned is not None and returned is not graph:
        raise OptionError(
            "run() returned something, which is lost.",
            expected="a change of the graph in place, through its methods, and no result",
            got=type(returned).__name__,
            hint="put a model or layers into the graph with splice(), call() or substitute()",
        )
    context.check()


def _takes(graph: Graph) -> list[Any]:
    """What a network takes."""
    return [graph.spec(value) for value in values_in(graph.inputs)]


def _size(graph: Graph, total: Cost) -> Size:
    peak = total.peak_activation_bytes
    return Size(len(graph), total.parameters, total.macs, total.weight_bytes, peak, total.left_out)


__all__ = ["Run"]
