"""Run passes over a model: lift, each pass verified, emit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.costs import cost
from kerasurgeon.errors import CannotRunError, KerasurgeonError, OptionError, PassError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.ir.verify import verify_structure
from kerasurgeon.keras_io.derive import check_types
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.keras_io.machine import by_equal_calls, on_this_machine
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.keras_io.seeding import python_seeded
from kerasurgeon.rewrite.context import Context, Progress, Site, no_progress
from kerasurgeon.rewrite.outputs import (
    CONSTANT_OUTPUTS,
    Arrays,
    differ_between_samples,
    relative_difference,
    require_finite,
    rounding_sensitivity,
    run_model,
    tolerance,
)
from kerasurgeon.rewrite.passes import VERIFY_LEVELS, Pass, Preserves
from kerasurgeon.rewrite.recipe import Recipe, changed_options, read_recipe
from kerasurgeon.rewrite.report import PassReport, Report, Size

_LOG = logging.getLogger(__name__)

# New weights are a product and a sum of old ones, each rounded: a few times what one rounding does.
_ROUNDINGS = 4


@dataclass(frozen=True)
class Result:
    """What a pipeline gives back.

    Attributes:
        model: The new Keras model.
        report: What was done.
        recipe: Passes, options, seed and versions: run again, it gives the same weights.
        graph: The graph that ``model`` was emitted from.
    """

    model: keras.Model
    report: Report
    recipe: Recipe
    graph: Graph


class Pipeline:
    """Passes in order.

    Args:
        passes: The passes, each an instance with its options.
    """

    def __init__(self, passes: Sequence[Pass]) -> None:
        self.passes = tuple(passes)
        for item in self.passes:
            if not isinstance(item, Pass):
                hint = f"write {item.__name__}() to make an instance" if isinstance(item, type) else None
                raise OptionError(
                    "A pipeline is made of passes.", expected="instances of Pass", got=repr(item), hint=hint
                )

    @classmethod
    def from_recipe(cls, source: str | Path | Recipe | Mapping[str, Any]) -> Pipeline:
        """The pipeline that a recipe describes.

        Args:
            source: Path of a TOML or JSON file, a recipe, or its contents as a mapping.

        Raises:
            RecipeError: The recipe cannot be read; the message names the line or key and what is allowed there.
        """
        recipe = source if isinstance(source, Recipe) else read_recipe(source)
        pipeline = cls(recipe.make_passes())
        pipeline._defaults = {"seed": recipe.seed, "verify": recipe.verify}
        return pipeline

    _defaults: Mapping[str, Any] = {"seed": 0, "verify": "exact"}

    def to_recipe(self, *, seed: int | None = None, verify: str | None = None) -> Recipe:
        """The recipe that describes this pipeline."""
        return Recipe.of(
            self.passes,
            seed=self._defaults["seed"] if seed is None else seed,
            verify=verify or self._defaults["verify"],
        )

    def run(
        self,
        model: keras.Model,
        *,
        data: Any = None,
        loss: Any = None,
        evaluate: Callable[[keras.Model], float] | None = None,
        seed: int | None = None,
        verify: str | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Run the passes over a model, which is only read.

        Args:
            model: A built functional or sequential model.
            data: Inputs, or ``(inputs, labels)``, for passes that use data.
            loss: A loss, for passes that use gradients.
            evaluate: Model to number, higher is better, for passes that search.
            seed: All random choices follow from it.
            verify: ``"structure"``: invariants of the graph only. ``"types"``: shapes and dtypes derived again too.
                ``"exact"``: outputs compared too where a pass claims exactness. ``"outputs"``: after every pass.
            progress: Called with the fraction done and a message.

        Returns:
            The new model, the report, the recipe and the graph.

        Raises:
            LiftError: The model has no graph to lift.
            PassError: A pass raised, or left a graph that does not hold together.
            VerificationError: A pass that claims exactness changed the outputs, or weights are not finite.
        """
        seed = self._defaults["seed"] if seed is None else seed
        verify = self._defaults["verify"] if verify is None else verify
        if verify not in VERIFY_LEVELS:
            raise OptionError(f"verify={verify!r} is not a level.", expected=" or ".join(map(repr, VERIFY_LEVELS)))
        started = time.perf_counter()
        with python_seeded(seed):
            graph = lift(model)
            run = _Run(model, graph, verify, data, loss, evaluate, seed, progress or no_progress)
            reports = [run.one(item, index, self.passes) for index, item in enumerate(self.passes)]
            # The model of the last comparison is the emitted graph already, unless a pass has run since.
            result = run.take_model()
            run.advance(1.0, "done")
        notes = (*graph.model.notes, *run.notes, *by_equal_calls(run.used), *run.not_compared())
        report = Report(model.name, tuple(reports), time.perf_counter() - started, notes)
        recipe = Recipe.of(self.passes, seed=seed, verify=verify)
        return Result(result, report, recipe, run.graph)

    def dry_run(self, graph: Graph, *, seed: int = 0) -> tuple[Site, ...]:
        """Run the passes on a copy of a graph and return only what they say of each site."""
        run = _Run(None, graph.copy(), "structure", None, None, None, seed, no_progress)
        reports = [run.one(item, index, self.passes) for index, item in enumerate(self.passes)]
        return tuple(site for report in reports for site in report.sites)


def apply_passes(
    model: keras.Model,
    passes: Sequence[Pass],
    *,
    data: Any = None,
    loss: Any = None,
    evaluate: Callable[[keras.Model], float] | None = None,
    seed: int = 0,
    verify: str = "exact",
    progress: Progress | None = None,
) -> keras.Model:
    """Run passes over a model and return the new one; ``model`` is only read.

    ``Pipeline(passes).run(model)`` does the same and gives the report and the recipe too.

    Args:
        model: A built functional or sequential model.
        passes: The passes, in order.
        data: Inputs, or ``(inputs, labels)``, for passes that use data.
        loss: A loss, for passes that use gradients.
        evaluate: Model to number, higher is better, for passes that search.
        seed: All random choices follow from it.
        verify: How much of each pass's result is checked: ``"structure"``, ``"types"``, ``"exact"`` or ``"outputs"``.
        progress: Called with the fraction done and a message.

    Returns:
        A new Keras model.

    Raises:
        LiftError: The model has no graph to lift.
        PassError: A pass raised, or left a graph that does not hold together.
        VerificationError: A pass that claims exactness changed the outputs, or weights are not finite.
    """
    result = Pipeline(passes).run(
        model, data=data, loss=loss, evaluate=evaluate, seed=seed, verify=verify, progress=progress
    )
    return result.model


class _Run:
    """One run: the graph as it goes through the passes, and the outputs that exactness is judged by."""

    def __init__(
        self,
        model: keras.Model | None,
        graph: Graph,
        verify: str,
        data: Any,
        loss: Any,
        evaluate: Callable[[keras.Model], float] | None,
        seed: int,
        progress: Progress,
    ) -> None:
        self.source, self.graph, self.verify = model, graph, verify
        self.data, self.loss, self.evaluate = data, loss, evaluate
        self.seed, self.progress, self.fraction = seed, progress, 0.0
        self.size: Size | None = None
        self.inputs: Any = None
        self.outputs: tuple[int, Arrays] | None = None  # the revision they belong to, and the arrays
        self.emitted: tuple[int, keras.Model] | None = None
        self.notes: list[str] = []
        self.used: set[str] = set()  # what was run by equal calls
        self._not_run: dict[str, list[str]] = {}  # why this machine cannot run the model, and after which passes

    def not_compared(self) -> list[str]:
        """One line for each reason for which outputs were not compared."""
        return [f"{', '.join(names)}: outputs were not compared: {why}" for why, names in self._not_run.items()]

    def advance(self, fraction: float, message: str) -> None:
        """Tell the user how far the run has come; a pass that starts over does not take the bar back."""
        self.fraction = max(self.fraction, fraction)
        self.progress(self.fraction, message)

    def one(self, item: Pass, index: int, passes: tuple[Pass, ...]) -> PassReport:
        def progress(fraction: float, message: str) -> None:
            self.advance((index + min(max(fraction, 0.0), 1.0)) / len(passes), message)

        progress(0.0, item.name)
        compare = self.verify == "outputs" or (self.verify == "exact" and item.preserves is Preserves.EXACT)
        masked = self.verify in ("exact", "outputs") and item.preserves is Preserves.MASKED_EXACT
        if (compare or masked) and self.outputs is None:
            require_finite(self.graph.layers)
        before = self.size or _size(self.graph)
        work = self.graph.copy()
        seeds = np.random.SeedSequence([self.seed, index])
        context = Context(
            data=self.data,
            loss=self.loss,
            evaluate=self.evaluate,
            seed=int(seeds.generate_state(1)[0]),
            rng=np.random.default_rng(seeds),
            progress=progress,
        )
        started = time.perf_counter()
        with python_seeded(context.seed):
            self._guarded(item, index, passes, work, lambda: _run(item, work, context))
        removed: tuple[str, ...] = ()

        def tidy_and_check() -> None:
            nonlocal removed
            verify_structure(work)
            removed = work.remove_unused(keep=self.graph.unused())  # what led nowhere before is the user's
            if self.verify != "structure":
                check_types(work)
                require_finite(_changed_layers(self.graph, work))

        seconds = time.perf_counter() - started
        self._guarded(item, index, passes, work, tidy_and_check)
        difference = None
        if work.revision == self.graph.revision:
            difference = 0.0 if compare else None
        else:
            try:
                if masked and context.expected is not None:
                    difference = self._from_twin(item, work, context.expected())
                elif compare:
                    difference = self._difference(item, work)
            except CannotRunError as error:
                self._not_run.setdefault(error.in_one_line(), []).append(item.name)
        self.graph = work
        after = self.size = _size(work)
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
        )

    def take_model(self) -> keras.Model:
        """The Keras model of the graph as it is now."""
        if self.emitted is not None and self.emitted[0] == self.graph.revision:
            return self.emitted[1]
        return emit(self.graph)

    def _difference(self, item: Pass, work: Graph) -> float:
        if self.inputs is None:
            self.inputs = sample_inputs(self.graph, seed=self.seed)
        if self.outputs is None or self.outputs[0] != self.graph.revision:
            fresh = self.source is not None and self.graph.revision == 0
            before = self.source if fresh else emit(self.graph, compile=False)
            self.outputs = self.graph.revision, self._run(before)
            if not self.notes and not differ_between_samples(self.outputs[1]):
                self.notes.append(CONSTANT_OUTPUTS)
        model = emit(work)
        arrays = self._run(model)
        difference = relative_difference(self.outputs[1], arrays)
        if item.preserves is Preserves.EXACT:
            self._require_exact(item, work, difference, self.graph, self.outputs[1])
        self.outputs = work.revision, arrays
        self.emitted = work.revision, model
        return difference

    def _run(self, model: keras.Model) -> Arrays:
        with equal_calls() as used:
            arrays = run_model(model, self.inputs)
        self.used |= used
        return arrays

    def _from_twin(self, item: Pass, work: Graph, twin: Graph) -> float:
        """The difference between a pass's result and the masked twin that it names."""
        if self.inputs is None:
            self.inputs = sample_inputs(self.graph, seed=self.seed)
        expected = self._run(emit(twin, compile=False))
        model = emit(work)
        arrays = self._run(model)
        difference = relative_difference(expected, arrays)
        self._require_exact(item, work, difference, twin, expected)
        self.outputs = work.revision, arrays
        self.emitted = work.revision, model
        return difference

    def _require_exact(self, item: Pass, work: Graph, difference: float, reference: Graph, expected: Arrays) -> None:
        allowed = tolerance(work, item.rtol)
        if difference <= allowed:
            return
        # Rare, and it takes a model and a run more: ask how much of this rounding alone accounts for.
        rounding = rounding_sensitivity(reference, self.inputs, expected, seed=self.seed)
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

    def _guarded(self, item: Pass, index: int, passes: tuple[Pass, ...], work: Graph, step: Callable[[], None]) -> None:
        try:
            with on_this_machine(f"what {item.name} runs"):
                step()
        except PassError:
            raise
        except Exception as error:
            done = ", ".join(done.name for done in passes[:index]) or "none"
            last = next((name for name in _named_nodes(error, work)), None)
            own = isinstance(error, KerasurgeonError)
            what = error.what if isinstance(error, KerasurgeonError) else _describe(error)
            options = ", ".join(f"{key}={value!r}" for key, value in changed_options(item).items())
            raise PassError(
                f"Pass {item.name}({options}) failed: {what}",
                where=error.where if isinstance(error, KerasurgeonError) else last and f"node {last!r}",
                expected=error.expected if isinstance(error, KerasurgeonError) else None,
                got=error.got if isinstance(error, KerasurgeonError) else None,
                hint=(error.hint if isinstance(error, KerasurgeonError) else None)
                or f"the model is untouched; passes that ran before: {done}",
                context=(error.context if isinstance(error, KerasurgeonError) else None)
                or (neighbourhood(work, last) if last and not own else None),
            ) from error


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


def _named_nodes(error: BaseException, graph: Graph) -> Iterator[str]:
    """Nodes of the graph that an error's message mentions in quotes, or that its frames had in hand."""
    text = str(error)
    for name in (node.name for node in graph.nodes()):
        if repr(name) in text:
            yield name
    trace = error.__traceback__
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            held = getattr(getattr(value, "root", value), "name", None)
            if isinstance(held, str) and held in graph:
                yield held


def _changed_layers(before: Graph, after: Graph) -> dict[str, Layer]:
    return {key: layer for key, layer in after.layers.items() if before.layers.get(key) is not layer}


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _size(graph: Graph) -> Size:
    total = cost(graph)
    return Size(len(graph), total.parameters, total.macs, total.weight_bytes, total.peak_activation_bytes)
