"""Weights that no pass has changed are shared as tensors until somebody writes to them; nobody sees others' writes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.ir.layer import Weight, sealed
from kerasurgeon.keras_io import emit, lift, tensors
from kerasurgeon.keras_io.emit import brief_model
from tests.keras_io.facts import bitwise_equal


def model() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(50, 8)(inputs)
    x = layers.BatchNormalization()(layers.Conv1D(8, 3)(x))
    made = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    for weight in made.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.0, weight.shape))
    return made


def _fit(**options: Any) -> Callable[[Any], None]:
    def fit(trained: Any) -> None:
        trained.compile(loss="mse", **options)
        random = np.random.default_rng(0)
        trained.fit(random.integers(0, 50, (16, 6)), random.normal(size=(16, 2)), epochs=2, verbose=0)

    return fit


def _in_place(trained: Any) -> None:
    for weight in trained.weights:
        weight.value.assign_add(weight.value * 0 + 1)


def _sparse(trained: Any) -> None:
    table = trained.layers[1].embeddings.value
    table.scatter_nd_update([[0], [1]], [[9.0] * 8] * 2)
    table.scatter_nd_add([[2]], [[9.0] * 8])


WRITES = {
    "sgd": _fit(optimizer="sgd", jit_compile=False),
    "adam": _fit(optimizer="adam", jit_compile=False),
    "adam, not traced": _fit(optimizer="adam", run_eagerly=True),
    "adam, compiled": _fit(optimizer="adam", jit_compile=True),
    "in place": _in_place,
    "sparse": _sparse,
}


@pytest.mark.spread(12)
@pytest.mark.parametrize("writes", WRITES)
@pytest.mark.parametrize("trained", ["source", "emitted"])
def test_training_one_leaves_the_others(writes: str, trained: str) -> None:
    source = model()
    graph = lift(source)
    emitted, again = emit(graph), emit(graph)
    before = [weight.numpy().copy() for weight in source.weights]
    arrays = [weight.array for layer in graph.layers.values() for weight in layer.weights.values()]
    assert any(
        np.shares_memory(array, weight.value.read_value()._numpy()) for array in arrays for weight in again.weights
    )
    copies = [array.copy() for array in arrays]
    victim = source if trained == "source" else emitted
    WRITES[writes](victim)
    for other in (source, emitted, again):
        now = [weight.numpy() for weight in other.weights]
        same = [np.array_equal(one, two) for one, two in zip(before, now, strict=True)]
        assert not all(same) if other is victim else all(same)
    assert bitwise_equal(arrays, copies), "the graph's own"


def test_the_emitted_model_outlives_the_graph_and_the_source() -> None:
    source = model()
    before = [weight.numpy().copy() for weight in source.weights]
    graph = lift(source)
    emitted = emit(graph)
    WRITES["adam"](source)
    del graph, source
    gc.collect()
    assert all(np.array_equal(one, weight.numpy()) for one, weight in zip(before, emitted.weights, strict=True))


def test_tensors_are_forgotten_with_their_arrays() -> None:
    gc.collect()
    before = len(tensors._TENSORS)
    graph = lift(model())
    assert len(tensors._TENSORS) > before
    del graph
    gc.collect()
    assert len(tensors._TENSORS) == before


def test_a_dtype_that_differs_is_cast() -> None:
    array = tensors.array_of(keras.Variable(np.arange(3.0), dtype="float32"))
    assert not array.flags.writeable
    for weight in (Weight(array), Weight(array.copy())):
        cast = tensors.tensor_of(weight, "float16")
        assert keras.backend.standardize_dtype(cast.dtype) == "float16"
        np.testing.assert_array_equal(np.asarray(cast), [0, 1, 2])
        np.testing.assert_array_equal(np.asarray(tensors.tensor_of(weight, "float32")), [0, 1, 2])
        assert weight.array.dtype == np.float32


def _filled(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = tensors.new_array(values.shape, values.dtype)
    array[...] = values
    return sealed(array)


# How a pass may make a weight.
MADE: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "an array": lambda values: values,
    "an array of its own": sealed,
    "a new array": _filled,
    "a part of a new array": lambda values: _filled(np.stack([values, values]))[1],
}


@pytest.mark.spread(4)
@pytest.mark.parametrize("writes", ["in place", "adam"])
@pytest.mark.parametrize("made", MADE)
def test_nobody_sees_writes_to_weights_that_were_made(made: str, writes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_LARGE", 0)
    graph = lift(model())
    given = {}
    for key, layer in graph.layers.items():
        for path, weight in layer.weights.items():
            given[key, path] = MADE[made](weight.array * 2)
            graph.set_weight(key, path, given[key, path])
    expected = {place: array.copy() for place, array in given.items()}
    emitted, again = emit(graph), emit(graph)
    before = [weight.numpy().copy() for weight in again.weights]
    WRITES[writes](emitted)
    assert not all(np.array_equal(weight.numpy(), old) for weight, old in zip(emitted.weights, before, strict=True))
    assert all(np.array_equal(weight.numpy(), old) for weight, old in zip(again.weights, before, strict=True))
    for (key, path), array in expected.items():
        np.testing.assert_array_equal(graph.layers[key].weights[path].array, array)
        np.testing.assert_array_equal(given[key, path], array)


@pytest.mark.parametrize("made", MADE)
def test_values_are_held_once_by_a_graph_and_its_models(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_LARGE", 0)
    graph = lift(model())
    for key, layer in graph.layers.items():
        for path, weight in layer.weights.items():
            graph.set_weight(key, path, MADE[made](weight.array * 2))
    models = emit(graph), emit(graph)
    for weights in zip(*(made.weights for made in models), strict=True):
        where = {weight.value.read_value()._numpy().__array_interface__["data"][0] for weight in weights}
        assert len(where) == 1
        arrays = [weight.array for layer in graph.layers.values() for weight in layer.weights.values()]
        assert where <= {array.__array_interface__["data"][0] for array in arrays}
        assert not any(array.flags.writeable for array in arrays)


def test_a_new_array_is_emitted_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_LARGE", 0)
    weight = Weight(_filled(np.ones((3, 4), "float32")))
    array = weight.array
    assert np.shares_memory(tensors.tensor_of(weight, "float32")._numpy(), array)
    assert weight.array is array


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_new_arrays_of_every_kind(shape: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_LARGE", 0)
    array = tensors.new_array(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    array[...] = 1
    assert array.flags.c_contiguous
    assert bool(np.all(array == 1))


def test_a_brief_model_gives_its_weights_back_at_once() -> None:
    graph = lift(model())
    gc.disable()
    try:
        with brief_model(graph) as brief:
            inputs = np.zeros((2, 6), "int32")
            np.testing.assert_array_equal(brief(inputs), emit(graph)(inputs))
            held = [weakref.ref(weight.value) for weight in brief.weights]
            assert held
            assert all(one() is not None for one in held)
        assert all(one() is None for one in held)
    finally:
        gc.enable()
