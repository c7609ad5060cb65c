"""Check a pass in one call."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.hidden import scratch
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.internals import flatten_layers
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.outputs import first_run, relative_difference, run_model, tolerance
from kerasurgeon.rewrite.passes import Pass, Preserves
from kerasurgeon.rewrite.pipeline import Pipeline, Result


def assert_pass(
    pass_: Pass,
    model: keras.Model,
    *,
    changes: int | None = None,
    left: Collection[str] | None = None,
    rtol: float | None = None,
    again: bool = True,
    saves: bool = True,
    seed: int = 0,
) -> Result:
    """Run a pass over a model and check what every pass must hold to.

    The model passed in is untouched; the result computes what the pass promises; a second run over the result changes
    nothing; the result saves, loads and computes the same afterwards.

    Args:
        pass_: The pass.
        model: The model, with weights that make its outputs meaningful.
        changes: How many sites must be changed.
        left: Parts of the reasons that must be given for sites left alone.
        rtol: Largest relative difference of outputs; by default what an exact pass promises, and any for others.
        again: Whether a second run must change nothing.
        saves: Whether the result must survive saving and loading.
        seed: Seed of the run and of the inputs.

    Returns:
        The result of the run.

    Raises:
        AssertionError: Something does not hold; the message says what.
    """
    before = _state(model)
    graph = lift(model)
    inputs, expected = first_run(graph, model, run_model, seed=seed)
    result = Pipeline([pass_]).run(model, seed=seed)
    report = result.report.passes[0]
    assert _state(model) == before, f"{pass_.name} changed the model that it was given"
    if changes is not None:
        sites = [f"{site.node}: {site.what}" for site in report.sites]
        assert len(report.changed) == changes, f"{len(report.changed)} sites changed, not {changes}: {sites}"
    for reason in left or ():
        reasons = [site.what for site in report.left]
        assert any(reason in given for given in reasons), f"no site was left alone because {reason!r}: {reasons}"
    if rtol is None and pass_.preserves is Preserves.EXACT:
        rtol = tolerance(graph, pass_.rtol)
    actual = run_model(result.model, inputs)
    if rtol is not None:
        difference = relative_difference(expected, actual)
        assert difference <= rtol, f"outputs differ by {difference:.3e}, more than {rtol:.1e}"
    if again:
        second = Pipeline([pass_]).run(result.model, seed=seed).report.passes[0]
        assert not second.changed, f"a second run changed {[site.node for site in second.changed]}"
    if saves:
        _assert_saves(result.model, inputs, actual)
    return result


def assert_same_outputs(
    one: keras.Model | Graph, other: keras.Model | Graph, *, rtol: float = 0.0, seed: int = 0
) -> None:
    """Check that two models or graphs compute the same on seeded inputs.

    Args:
        one: The first.
        other: The second.
        rtol: Largest relative difference; 0 asks for equal bits.
        seed: Seed of the inputs.

    Raises:
        AssertionError: They differ.
    """
    graph = one if isinstance(one, Graph) else lift(one)
    first, second = (emit(item) if isinstance(item, Graph) else item for item in (one, other))
    inputs, expected = first_run(graph, first, run_model, seed=seed)
    difference = relative_difference(expected, run_model(second, inputs))
    assert difference <= rtol, f"outputs differ by {difference:.3e}, more than {rtol:.1e}"


def _assert_saves(model: keras.Model, inputs: Any, expected: list[np.ndarray[Any, Any]]) -> None:
    with scratch() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    difference = relative_difference(expected, run_model(loaded, inputs))
    assert difference <= 1e-6, f"the saved and loaded result differs by {difference:.3e}"


def _state(model: keras.Model) -> Any:
    """What a pass must leave as it is: weights, config, flags, compile state."""
    return (
        [(weight.path, bool(weight.trainable), np.asarray(weight).tobytes()) for weight in model.weights],
        repr(model.get_config()),
        [(layer.name, layer.trainable) for layer in flatten_layers(model)],
        model.compiled and repr(model.get_compile_config()),
    )
