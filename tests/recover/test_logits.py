"""Logits found in a graph: their softmax is what the model gives, and the model goes on giving it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.recover.logits import logits_of, outputs_of

layers = keras.layers


def fused(x: Any) -> Any:
    return layers.Dense(4, activation="softmax")(x)


def fused_object(x: Any) -> Any:
    return layers.Conv2D(4, 1, activation=keras.activations.softmax)(x)


def layer_behind(x: Any) -> Any:
    return layers.Softmax()(layers.Dense(4)(x))


def activation_behind(x: Any) -> Any:
    return layers.Activation("softmax", dtype="float32")(layers.Dense(4)(x))


def op_behind(x: Any) -> Any:
    return keras.ops.softmax(layers.Dense(4)(x), axis=-1)


def with_identity(x: Any) -> Any:
    return layers.Activation("linear", dtype="float32")(layers.Identity()(layers.Dense(4, activation="softmax")(x)))


def resized(x: Any) -> Any:
    return layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(4, 1, activation="softmax")(x))


def shared(x: Any) -> Any:
    layer = layers.Dense(4, activation="softmax")
    return layers.Add()([layer(x), layer(2 * x)]), layer(x)


MADE = [fused, fused_object, layer_behind, activation_behind, op_behind, with_identity, resized]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_the_softmax_of_the_logits_is_the_output(make: Callable[[Any], Any]) -> None:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, make(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    wanted = np.asarray(model(x))
    graph = ks.lift(model)
    value = logits_of(graph, outputs_of(graph)[0])
    graph.set_signature(outputs=[*outputs_of(graph), value])
    output, logits = (np.asarray(part, np.float64) for part in ks.emit(graph)(x))
    np.testing.assert_allclose(output, wanted, atol=1e-6)
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(axis=-1, keepdims=True), wanted, atol=1e-5)
    if make is not resized:
        assert (logits < -1e-3).any()
        assert (logits > 1e-3).any()  # not merely the logarithm of probabilities


def test_logits_themselves_and_a_layer_that_is_called_more_than_once() -> None:
    inputs = keras.Input((3,))
    graph = ks.lift(keras.Model(inputs, layers.Dense(4, name="scores")(inputs)))
    assert str(logits_of(graph, outputs_of(graph)[0])) == "scores"
    model = keras.Model(inputs, shared(inputs))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    graph = ks.lift(model)
    logits_of(graph, outputs_of(graph)[1])
    for one, other in zip(model(x), ks.emit(graph)(x), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-6)


@pytest.mark.parametrize("units", [1, 4])
def test_outputs_that_choose_nothing(units: int) -> None:
    inputs = keras.Input((3,))
    graph = ks.lift(keras.Model(inputs, layers.Dense(units, activation="sigmoid")(inputs)))
    with pytest.raises(OptionError, match="chooses among classes"):
        logits_of(graph, outputs_of(graph)[0])
