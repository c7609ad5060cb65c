"""Masks that Keras hands on by itself: opened or not, and in part opened, a model gives the same."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from tests.opening.layers import PACKAGE, array, randomised

DATA = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0], [6, 1, 2, 3, 4, 5]])


@keras.saving.register_keras_serializable(PACKAGE)
class Masks(layers.Layer):
    """Reads masks in several ways.

    Args:
        way: ``"implicit"``: only what is inside takes them; ``"explicit"``: its code does; ``"gives"``: it makes one;
            ``"attends first"``: what is inside takes it away.
    """

    def __init__(self, way: str, **options: Any) -> None:
        super().__init__(**options)
        self.way = way
        self.lstm = layers.LSTM(4, return_sequences=True, name="lstm")
        self.attend = layers.MultiHeadAttention(2, 2, name="attend")
        self.dense = layers.Dense(4, name="dense")
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.lstm.build(shape)
        self.attend.build(shape, shape)
        self.dense.build(shape)

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        if self.way == "attends first":
            y = self.attend(x, x, use_causal_mask=True)  # takes the mask of x away
            y = x + y + self.lstm(x, training=training)
        else:
            y = x + self.lstm(x, training=training)
            y = y + self.attend(x, x)
        if self.way == "explicit" and mask is not None:
            y = y * ops.expand_dims(ops.cast(mask, y.dtype), -1)
        return self.dense(y)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if self.way == "gives":
            return ops.not_equal(ops.cumsum(ops.cast(previous_mask, "int32"), axis=1), 2)
        return previous_mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "way": self.way}


def two(way: str, between: Any = None, last: Any = None) -> keras.Model:
    """Two of them on masked tokens, and a mean over the steps that are not masked."""
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="ids")(ids)
    x = Masks(way, name="first")(x)
    x = x if between is None else between(x)
    x = Masks(way, name="second")(x)
    x = (last or layers.LSTM(3, return_sequences=True, name="last"))(x, training=None)
    return randomised(keras.Model(ids, layers.GlobalAveragePooling1D(name="mean")(x)))


def same(model: keras.Model, *others: keras.Model) -> None:
    wanted = array(model(DATA))
    assert not np.allclose(wanted, array(model(np.where(DATA, DATA, 8))))  # masks matter
    for other in others:
        np.testing.assert_array_equal(array(other(DATA)), wanted)


@pytest.mark.parametrize(
    "way", [*(pytest.param(way, marks=pytest.mark.sweep) for way in ("implicit", "explicit")), "gives", "attends first"]
)
def test_masks_are_those_of_the_closed_layers(way: str) -> None:
    model = two(way, layers.Dropout(0.1, name="drop"))
    graph = ks.lift(model)
    assert {"first/lstm", "second/attend"} <= {node.name for node in graph}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where a layer that does not support masks gets one
        plain = ks.emit(graph, fold=False)
        same(model, plain, ks.emit(graph))
    assert not any(isinstance(layer, Masks) for layer in plain._flatten_layers())


@pytest.mark.parametrize("changed", ["first", "second"])
def test_one_that_has_changed_hands_its_mask_on_to_one_that_has_not(changed: str) -> None:
    model = two("implicit")
    graph = ks.lift(model)
    ks.insert_after(graph, f"{changed}/dense", layers.Activation("linear", name="none"))
    same(model, ks.emit(graph))


@keras.saving.register_keras_serializable(PACKAGE)
class Looks(layers.Layer):
    """Cannot be opened, and what is inside takes masks that nobody tells it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lstm, self.supports_masking = layers.LSTM(4, return_sequences=True, name="lstm"), True

    def build(self, shape: Any) -> None:
        self.lstm.build(shape)

    def call(self, x: Any, training: Any = None) -> Any:
        return self.lstm(x) * (2.0 if training else 1.0)

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def test_a_layer_whose_mask_is_needed_where_no_operand_brings_it_stays_closed() -> None:
    model = two("implicit", between=Looks(name="looks"))
    graph = ks.lift(model)
    assert "mask" in graph.model.closed["first"]
    assert "layer 'looks'" in graph.model.closed["first"]
    assert {"first", "looks", "second/lstm"} <= {node.name for node in graph}
    same(model, ks.emit(graph), ks.emit(graph, fold=False))


def test_a_mask_that_the_loss_takes_is_kept() -> None:
    ids = keras.Input((6,), dtype="int32")
    x = Masks("implicit", name="first")(layers.Embedding(9, 4, mask_zero=True, name="ids")(ids))
    model = randomised(keras.Model(ids, layers.Dense(2, name="head")(x)))
    graph = ks.lift(model)
    assert "the loss" in graph.model.closed["first"]
    losses = []
    for one in (model, ks.emit(graph, fold=False)):
        one.compile("sgd", "mse", run_eagerly=True)
        losses.append(one.evaluate(DATA, np.ones((3, 6, 2)), verbose=0))
    assert losses[0] == losses[1]


def test_a_mask_that_comes_into_a_nested_model_is_not_lost() -> None:
    x = keras.Input((6, 4))
    inner = keras.Model(x, Masks("explicit", name="inside")(x), name="inner")
    ids = keras.Input((6,), dtype="int32")
    y = inner(layers.Embedding(9, 4, mask_zero=True, name="ids")(ids))
    model = randomised(keras.Model(ids, layers.GlobalAveragePooling1D()(y)))
    graph = ks.lift(model)
    assert "with a mask" in graph.model.closed["inner/inside"]
    same(model, ks.emit(graph), ks.emit(graph, fold=False))
