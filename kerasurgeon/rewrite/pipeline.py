"""Run passes over a model: lift, each pass verified, emit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.errors import KerasurgeonError, OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.internals import is_functional
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.keras_io.remaking import fault_of_layers
from kerasurgeon.keras_io.seeding import python_seeded
from kerasurgeon.rewrite.context import Progress, Site, no_progress
from kerasurgeon.rewrite.origins import came_of, in_json, recipes_of
from kerasurgeon.rewrite.passes import VERIFY_LEVELS, Pass
from kerasurgeon.rewrite.recipe import Recipe, read_recipe
from kerasurgeon.rewrite.report import Report
from kerasurgeon.rewrite.run import Run
from kerasurgeon.rules import Sizes, input_shapes, plain_sizes
from kerasurgeon.trust import allow_imports, as_names


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
    def from_recipe(
        cls, source: str | Path | Recipe | Mapping[str, Any], *, allow: str | Sequence[str] = ()
    ) -> Pipeline:
        """The pipeline that a recipe describes.

        Args:
            source: Path of a TOML or JSON file, a recipe, or its contents as a mapping.
            allow: What names in it may be imported from, beside kerasurgeon and installed packages of passes: packages,
                modules, or single objects as ``"module:name"``.

        Raises:
            RecipeError: The recipe cannot be read; the message names the line or key and what is allowed there.
        """
        recipe = source if isinstance(source, Recipe) else read_recipe(source)
        recipe = dataclasses.replace(recipe, allow=(*recipe.allow, *as_names(allow)))
        pipeline = cls(recipe.make_passes())
        pipeline._defaults = {"seed": recipe.seed, "verify": recipe.verify, "sizes": recipe.sizes}
        pipeline._allow = recipe.allow
        return pipeline

    _defaults: Mapping[str, Any] = {"seed": 0, "verify": "exact", "sizes": None}
    _allow: tuple[str, ...] = ()

    def to_recipe(self, *, seed: int | None = None, verify: str | None = None) -> Recipe:
        """The recipe that describes this pipeline."""
        return Recipe.of(
            self.passes,
            seed=self._defaults["seed"] if seed is None else seed,
            verify=verify or self._defaults["verify"],
            sizes=self._defaults["sizes"],
            allow=self._allow,
        )

    def run(
        self,
        model: keras.Model,
        *,
        data: Any = None,
        loss: Any = None,
        evaluate: Callable[[keras.Model], float] | None = None,
        sizes: Sizes | None = None,
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
            sizes: Sizes of the inputs without the batch that costs and budgets are counted for, where the model leaves
                sizes open or other ones are wanted: one shape for a model with one input, or shapes by the names of the
                inputs.
            seed: All random choices follow from it.
            verify: ``"structure"``: invariants of the graph only. ``"types"``: shapes and dtypes derived again too.
                ``"exact"``: outputs compared too where a pass claims exactness. ``"outputs"``: after every pass.
            progress: Called with the fraction done and a message.

        Returns:
            The new model, the report, the recipe and the graph.

        Raises:
            LiftError: The model has no graph to lift.
            EmitError: A layer from outside Keras cannot be made again by its class, or not as it was.
            PassError: A pass raised, or left a graph that does not hold together.
            VerificationError: A pass that claims exactness changed the outputs, or weights are not finite.
        """
        seed = self._defaults["seed"] if seed is None else seed
        sizes = self._defaults["sizes"] if sizes is None else plain_sizes(sizes)
        verify = self._defaults["verify"] if verify is None else verify
        if verify not in VERIFY_LEVELS:
            raise OptionError(f"verify={verify!r} is not a level.", expected=" or ".join(map(repr, VERIFY_LEVELS)))
        started = time.perf_counter()
        with python_seeded(seed), allow_imports(*self._allow):
            graph = lift(model)
            shapes = {} if sizes is None else input_shapes(graph, sizes)
            if not is_functional(model):
                model = emit(graph)  # what passes do is held against what its code was opened to
            run = Run(model, graph, verify, data, loss, evaluate, sizes, seed, progress or no_progress)
            try:
                reports = [run.one(item, index, self.passes) for index, item in enumerate(self.passes)]
                # The model of the last comparison is the emitted graph already, unless a pass has run since.
                result = run.comparison.model_of(run.graph)
            except KerasurgeonError as error:
                fault = fault_of_layers(graph)
                if fault is None:
                    raise
                raise fault from error  # no pass can do anything about that
            run.advance(1.0, "done")
        notes = (*graph.model.notes, *run.notes)
        counted = {name: shape[1:] for name, shape in shapes.items()}
        report = Report(model.name, tuple(reports), time.perf_counter() - started, notes, counted, *run.drawings(graph))
        recipe = Recipe.of(self.passes, seed=seed, verify=verify, sizes=sizes, allow=self._allow)
        if result is not model:
            came_of(result, (*recipes_of(model), in_json(recipe)))
        return Result(result, report, recipe, run.graph)

    def dry_run(self, graph: Graph, *, sizes: Sizes | None = None, seed: int = 0) -> tuple[Site, ...]:
        """Run the passes on a copy of a graph and return only what they say of each site."""
        run = Run(None, graph.copy(), "structure", None, None, None, sizes, seed, no_progress)
        with allow_imports(*self._allow):
            reports = [run.one(item, index, self.passes) for index, item in enumerate(self.passes)]
        return tuple(site for report in reports for site in report.sites)


def apply_passes(
    model: keras.Model,
    passes: Sequence[Pass],
    *,
    data: Any = None,
    loss: Any = None,
    evaluate: Callable[[keras.Model], float] | None = None,
    sizes: Sizes | None = None,
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
        sizes: Sizes of the inputs that costs and budgets are counted for: see ``Pipeline.run``.
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
        model,
        data=data,
        loss=loss,
        evaluate=evaluate,
        sizes=sizes,
        seed=seed,
        verify=verify,
        progress=progress,
    )
    return result.model
