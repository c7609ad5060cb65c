"""Weights that are one variable hold one array, and models emitted for a while give it back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.keras_io import tensors
from kerasurgeon.keras_io.emit import brief_model
from tests.keras_io.test_ties import MODELS, assert_same_and_tied, inputs_of, three_deep
from tests.zoo.sampling import randomise


def _doubled(graph: ks.Graph) -> dict[tuple[str, str], np.ndarray[Any, Any]]:
    """Each weight of a graph set to an array of its own."""
    given = {(key, path): 2 * weight.array for key, one in graph.layers.items() for path, weight in one.weights.items()}
    for (key, path), array in given.items():
        graph.set_weight(key, path, array)
    return given


HELD: dict[str, Callable[[], keras.Model]] = {
    "called by two": lambda: MODELS["TimeDistributed twice"](),
    "three deep": three_deep,
    "recurrent": lambda: MODELS["a recurrent layer as the backward one, and by itself"](),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_one_variable_is_held_once(make: Callable[[], keras.Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """By every weight of the graph that is tied to it, and by all models emitted from it."""
    monkeypatch.setattr(tensors, "_LARGE", 0)
    model = make()
    randomise(model, 0)
    graph = ks.lift(model, open="none")  # opened, there is one layer, and no tie
    given = _doubled(graph)
    one, other = ks.emit(graph), ks.emit(graph)
    assert_same_and_tied(one, ks.emit(ks.lift(one)))  # writes into one
    assert graph.ties()
    for refs in graph.ties().values():
        arrays = {id(graph.layers[ref.layer].weights[ref.key].array) for ref in refs}
        assert len(arrays) == 1
    where = {weight.value.read_value()._numpy().__array_interface__["data"][0] for weight in other.weights}
    for (key, path), array in given.items():
        weight = graph.layers[key].weights[path]
        np.testing.assert_array_equal(weight.array, array)
        assert weight.array.__array_interface__["data"][0] in where


@pytest.mark.spread(3)
@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_a_brief_model_of_tied_layers_gives_its_weights_back(make: Callable[[], keras.Model]) -> None:
    model = make()
    randomise(model, 0)
    data, graph = inputs_of(model), ks.lift(model)
    gc.disable()
    try:
        with brief_model(graph) as brief:
            np.testing.assert_array_equal(brief(data), model(data))
            assert len(brief.weights) == len(model.weights)
            held = [weakref.ref(weight.value) for weight in brief.weights]
        assert all(one() is None for one in held)
    finally:
        gc.enable()
    assert_same_and_tied(model, ks.emit(graph))
