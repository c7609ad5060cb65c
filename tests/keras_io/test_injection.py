"""Weights are handed to layers as initial values: no initialiser runs, and nothing is drawn and thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.keras_io import emit, lift
from tests.keras_io.facts import bitwise_equal, values
from tests.zoo import build

pytestmark = pytest.mark.plain


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Random initialisers that say that they ran."""
    ran: list[str] = []

    def refuse(self: Any, shape: Any, dtype: Any = None, **_: Any) -> Any:
        ran.append(type(self).__name__)
        return keras.ops.zeros(shape, dtype)

    for name in ("GlorotUniform", "HeNormal", "RandomUniform", "Orthogonal", "VarianceScaling", "RandomNormal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", refuse)
    return ran


BUILT_IN: dict[str, Callable[[], Any]] = {
    "dense": lambda: layers.Dense(4),
    "conv": lambda: layers.Conv1D(4, 2, kernel_initializer="he_normal"),
    "separable": lambda: layers.SeparableConv1D(4, 2),
    "attention": lambda: Both(layers.MultiHeadAttention(2, 2)),
    "lstm": lambda: layers.LSTM(3, return_sequences=True),
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(3)),
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "einsum": lambda: layers.EinsumDense("btc,cd->btd", (None, 4), bias_axes="d"),
}


class Both:
    """Calls a layer on one tensor twice."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x, x)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_initialiser_runs(name: str, no_drawing: list[str]) -> None:
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, BUILT_IN[name]()(inputs))
    assert no_drawing, "the fixture sees Keras draw"
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    no_drawing.clear()
    emitted = emit(lift(model))
    # Bidirectional itself builds a layer from the config that it then throws away.
    assert no_drawing == (["GlorotUniform", "Orthogonal"] if name == "bidirectional" else [])
    assert bitwise_equal(values(model.weights), values(emitted.weights))


def test_add_weight_is_put_back_also_when_a_build_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keras.Layer.add_weight
    model = build("plain_chain")
    graph = lift(model)
    emit(graph)
    assert keras.Layer.add_weight is before

    def fail(self: Any, *_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(layers.Dense, "build", fail)
    with pytest.raises(RuntimeError):
        emit(graph)
    assert keras.Layer.add_weight is before


def test_emitted_weights_are_not_the_graphs() -> None:
    """Training the emitted model writes into its own memory, not into arrays that the graph shares."""
    model = build("plain_chain")
    graph = lift(model)
    emitted = emit(graph)
    before = {
        key: layer.weights["kernel"].array.copy() for key, layer in graph.layers.items() if "kernel" in layer.weights
    }
    for weight in [*emitted.weights, *model.weights]:
        weight.assign(np.full(weight.shape, 9.0))
    for key, array in before.items():
        np.testing.assert_array_equal(graph.layers[key].weights["kernel"].array, array)
