"""emit(lift(m)) is m again: what it computes, how it is named and configured, how it trains and saves."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import LiftError
from kerasurgeon.ir import Graph, verify_structure
from kerasurgeon.keras_io import check_types, emit, lift
from tests.applications import application_inputs, shared_application
from tests.keras_io.facts import CHANGED, REFUSED, SAME, bitwise_equal, difference, facts, predict, state, values
from tests.keras_io.stepping import training_step
from tests.zoo import ZOO, build, sample_inputs


@dataclass(frozen=True)
class Trip:
    name: str
    before: dict[str, Any]
    original: Any
    after: dict[str, Any]
    graph: Graph
    emitted: Any


@pytest.fixture(scope="module", params=[*SAME, *CHANGED])
def trip(request: pytest.FixtureRequest) -> Trip:
    """One zoo model, there and back; built once for all tests of it."""
    name = request.param
    original = build(name)
    before = state(original)
    graph = lift(original)
    emitted = emit(graph)
    return Trip(name, before, original, state(original), graph, emitted)


@pytest.mark.spread(10)
def test_computes_the_same_bit_for_bit(trip: Trip) -> None:
    inputs = sample_inputs(trip.original)
    assert bitwise_equal(predict(trip.original, inputs), predict(trip.emitted, inputs))


@pytest.mark.spread(10)
def test_is_configured_the_same(trip: Trip) -> None:
    one, other = facts(trip.original), facts(trip.emitted)
    if trip.name in CHANGED:
        assert type(trip.emitted) is type(keras.Model(*[keras.Input((1,))] * 2))
        assert any("has a constructor of its own" in note for note in trip.graph.model.notes)
        one, other = (copy.copy(vars(each)) for each in (one, other))  # type: ignore[assignment]
        for key in ("cls", "config"):
            del one[key], other[key]  # type: ignore[index]
    assert difference(one, other) is None


@pytest.mark.spread(10)
def test_has_the_same_values(trip: Trip) -> None:
    # All variables, seed states too; the models were not called since (stateful ones would differ).
    assert difference(trip.before["variables"], values(trip.emitted.variables)) is None or (
        "stateful" in ZOO[trip.name].tags
    )


@pytest.mark.spread(10)
def test_original_is_untouched(trip: Trip) -> None:
    assert difference(trip.before, trip.after) is None


@pytest.mark.spread(10)
def test_shares_nothing_that_training_changes(trip: Trip) -> None:
    theirs = {id(variable) for variable in trip.original.variables}
    assert not [variable.path for variable in trip.emitted.variables if id(variable) in theirs]
    theirs = {id(layer) for layer in trip.original.layers}
    assert not [layer.name for layer in trip.emitted.layers if id(layer) in theirs]


@pytest.mark.spread(10)
def test_graph_holds_together(trip: Trip) -> None:
    verify_structure(trip.graph)
    assert not trip.graph.unchecked
    assert check_types(trip.graph, everything=True) == len(trip.graph)


@pytest.mark.spread(30)
def test_saves_and_loads(trip: Trip, tmp_path: Path) -> None:
    case = ZOO[trip.name]
    if "unsaveable" in case.tags:
        pytest.skip("Keras cannot save the original either")
    inputs = sample_inputs(trip.original)

    def saved(model: Any) -> Any:
        if model.compiled:  # Keras warns when it loads an optimizer that was saved before its first step
            model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
        return keras.saving.load_model(
            tmp_path / "model.keras", custom_objects=dict(case.custom_objects), safe_mode="lambda" not in case.tags
        )

    loaded = predict(saved(trip.emitted), inputs)
    # Where Keras loads something else than it saved, it does so alike.
    wanted = predict(saved(trip.original) if "saves_differently" in case.tags else trip.emitted, inputs)
    assert bitwise_equal(loaded, wanted) or "stateful" in case.tags


@pytest.mark.spread(30)
def test_trains_the_same(trip: Trip) -> None:
    """Dropout, noise, batch statistics, flags, regularisers and masks act alike; on models that no other test has."""
    if "stateful" in ZOO[trip.name].tags:
        pytest.skip("what it holds is that of another call")
    original = build(trip.name)
    emitted = emit(lift(original))
    inputs = sample_inputs(original)
    loss, after = training_step(original, inputs)
    other_loss, other_after = training_step(emitted, inputs)
    assert other_loss == pytest.approx(loss, rel=1e-6)
    for one, other in zip(after, other_after, strict=True):
        np.testing.assert_allclose(other.astype("float64"), one.astype("float64"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(LiftError, match=r"get_config\(\)"):
        lift(build(name))


def test_applications_come_back(application: str) -> None:
    original = shared_application(application)
    before = state(original)
    graph = lift(original)
    emitted = emit(graph)
    inputs = application_inputs(original)
    assert bitwise_equal(predict(original, inputs), predict(emitted, inputs))
    assert difference(facts(original), facts(emitted)) is None
    assert difference(before, state(original)) is None
    verify_structure(graph)
