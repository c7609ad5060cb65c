"""Lambda layers as nodes, and code that asks whether it trains. The oracle is Keras running the functions."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from tests.channels.oracle import assert_cut_is_exact
from tests.opening.layers import array

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(3, 6, 5)).astype("float32")


def unit(x: Any) -> Any:
    return x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1.0)


def of_lambdas() -> keras.Model:
    """One of a sum with a stated shape, one of two tensors with arguments, one in a nested model."""
    rows = keras.Input((6, 5))
    x = layers.Dense(8, name="made")(rows)
    x = layers.Lambda(lambda pair, factor: pair[0] + factor * ops.relu(pair[1]), arguments={"factor": 0.5})([x, x])
    x = layers.Lambda(lambda t: ops.sum(t, axis=1), output_shape=(8,), name="summed")(x)
    features = keras.Input((8,))
    inner = keras.Model(features, layers.Lambda(unit, name="unit")(layers.Dense(8, name="second")(features)))
    return keras.Model(rows, layers.Dense(2, name="head")(inner(x)))


def test_lambdas_become_ops_and_come_back() -> None:
    model = of_lambdas()
    graph = ks.lift(model)
    assert graph.model.closed == {}
    assert not any(graph.kind(node) == "Lambda" for node in graph)
    again, plain = ks.emit(graph), ks.emit(graph, fold=False)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert not any(isinstance(layer, layers.Lambda) for layer in plain._flatten_layers())
    for other in (again, plain):
        np.testing.assert_array_equal(array(other(ROWS)), array(model(ROWS)))


def test_channels_pass_through_lambdas(tmp_path: Path) -> None:
    model = of_lambdas()
    assert {group.name for group in ks.groups(model) if group.frozen} == {"head"}
    small = ks.apply_passes(model, [PruneChannels(ratio={"made": 0.5})])
    assert small.get_layer("made").units == 4
    small.save(tmp_path / "small.keras")
    # What changed holds no Python code any more; "unit", which has not, does.
    plain = ks.emit(ks.lift(small), fold=False)
    plain.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")  # safe mode
    np.testing.assert_array_equal(array(loaded(ROWS)), array(small(ROWS)))


def test_cuts_through_sums_in_lambdas_are_exact() -> None:
    rows = keras.Input((6, 5))
    x = layers.Lambda(lambda t: ops.max(t, axis=1) - ops.mean(t, axis=1))(layers.Dense(8)(rows))
    assert assert_cut_is_exact(keras.Model(rows, layers.Dense(2)(x))) > 0


SHARED = layers.Dense(5, name="shared")
SHARED.build((None, 5))


@pytest.mark.plain  # elsewhere Keras' random numbers are drawn by code of the tests
@pytest.mark.parametrize(
    ("function", "options", "why"),
    [
        (lambda x: x * keras.random.uniform(()), {}, "draws random numbers"),
        (lambda x: x if ops.sum(x) > 0 else -x, {"output_shape": (6, 5)}, "boolean"),
        (lambda x: ops.matmul(x, SHARED.kernel), {}, "of another layer"),
        (lambda x, training=None: x * 2 if training else x, {}, "does something else in training"),
    ],
)
def test_functions_that_stay_closed(function: Callable[..., Any], options: Any, why: str) -> None:
    rows = keras.Input((6, 5))
    model = keras.Model(rows, layers.Lambda(function, name="mine", **options)(rows))
    graph = ks.lift(model)
    assert why in graph.model.closed["mine"]
    assert f"{__file__}, line" in graph.model.closed["mine"]
    assert isinstance(ks.emit(graph).layers[-1], layers.Lambda)


def test_a_lambda_that_makes_a_mask_is_left_as_it_is() -> None:
    rows = keras.Input((6, 5))
    masked = layers.Lambda(lambda x: x, mask=lambda x, mask: ops.any(x > 0, axis=-1), name="mine")(rows)
    model = keras.Model(rows, layers.LSTM(3)(masked))
    graph = ks.lift(model)
    assert graph.kind("mine") == "Lambda"
    np.testing.assert_array_equal(array(ks.emit(graph)(ROWS)), array(model(ROWS)))


class Asking(keras.Model):
    """As in Keras' own guides: dropout is called in training only."""

    def __init__(self, code: Callable[..., Any]) -> None:
        super().__init__()
        self.code = code
        self.first, self.second = layers.Dense(8, name="first"), layers.Dense(2, name="second")
        self.drop, self.norm = layers.Dropout(0.5, seed=1, name="drop"), layers.BatchNormalization(name="norm")

    def call(self, x: Any, training: Any = False) -> Any:
        return self.second(self.code(self, self.norm(self.first(x), training=training), training))


def dropped(self: Asking, x: Any, training: Any) -> Any:
    if training:
        x = self.drop(x, training=training)
    return x


def dropped_by_saying_so(self: Asking, x: Any, training: Any) -> Any:
    return ops.relu(self.drop(x, training=True) if training == True else x)  # noqa: E712


def scaled(self: Asking, x: Any, training: Any) -> Any:
    return self.drop(x) * 2 if training else x


def other_order(self: Asking, x: Any, training: Any) -> Any:
    return ops.relu(x) + 1 if training else ops.relu(x + 1)


def asking(code: Callable[..., Any]) -> keras.Model:
    model = Asking(code)
    model(np.zeros((1, 4), "float32"))
    return model


@pytest.mark.parametrize("code", [dropped, dropped_by_saying_so])
def test_what_is_called_in_training_only_is_opened_if_it_is_idle_otherwise(code: Callable[..., Any]) -> None:
    model, x = asking(code), RNG.normal(size=(64, 4)).astype("float32")
    graph = ks.lift(model)
    assert "drop" in graph
    plain = ks.emit(graph)
    np.testing.assert_array_equal(array(plain(x)), array(model(x)))
    trained, expected = array(plain(x, training=True)), array(model(x, training=True))
    assert not np.array_equal(trained, array(plain(x)))
    np.testing.assert_array_equal(trained, expected)  # the same seed, the same channels dropped
    assert assert_cut_is_exact(model) > 0


@pytest.mark.parametrize("code", [scaled, other_order])
def test_what_computes_otherwise_in_training_is_refused(code: Callable[..., Any]) -> None:
    with pytest.raises(ks.LiftError, match="does something else in training"):
        ks.lift(asking(code))


class Counting(layers.Layer):
    """Counts its calls."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(4, name="dense")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="calls")

    def call(self, x: Any) -> Any:
        self.calls.assign_add(1)
        return self.dense(x)


def test_a_counter_is_not_moved_by_lifting() -> None:
    x = keras.Input((4,))
    layer = Counting(name="counting")
    model = keras.Model(x, layer(x))
    before = int(layer.calls.value)
    assert "assigns to the variable" in ks.lift(model).model.closed["counting"]
    assert int(layer.calls.value) == before
