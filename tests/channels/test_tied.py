"""Weights that are used in several places: cuts equal the masked twin, and one variable stays one."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.channels.analysis import analyse
from kerasurgeon.passes import Expand, PruneChannels
from kerasurgeon.rules.reasons import Reason
from tests.channels.building import Case, dense, free, reasons
from tests.channels.oracle import assert_cut_is_exact
from tests.keras_io.test_ties import assert_same_and_tied


@keras.saving.register_keras_serializable("kerasurgeon_tied_channels")
class Turned(layers.Layer):
    """The transpose of another layer's kernel, as of tied autoencoders."""

    def __init__(self, other: Any, **options: Any) -> None:
        super().__init__(**options)
        self.other = other

    def build(self, shape: Any) -> None:
        shape = (self.other.weights[0].shape[0],)
        self.bias = self.add_weight(shape=shape, initializer="random_normal", name="bias")

    def call(self, x: Any) -> Any:
        kernel = self.other.kernel if isinstance(self.other, layers.Dense) else self.other.embeddings
        return ops.tanh(ops.matmul(x, ops.transpose(kernel)) + self.bias)


@keras.saving.register_keras_serializable("kerasurgeon_tied_channels")
class Closed(layers.Layer):
    """Holds a layer, and cannot be opened."""

    def __init__(self, other: Any, **options: Any) -> None:
        super().__init__(**options)
        self.other = other

    def call(self, x: Any, training: Any = None) -> Any:
        return self.other(2 * x if training else x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "other": keras.saving.serialize_keras_object(self.other)}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**{**config, "other": keras.saving.deserialize_keras_object(config["other"])})


def autoencoder() -> keras.Model:
    x, one, two = keras.Input((6,)), dense(8, "one", activation="tanh"), dense(5, "two", activation="tanh")
    return keras.Model(x, Turned(one, name="last")(Turned(two, name="first")(two(one(x)))))


def table() -> keras.Model:
    """The head is the table of the embedding, an operand."""
    tokens, one = keras.Input((4,), dtype="int32"), layers.Embedding(20, 8, name="one")
    x = dense(8, "three")(dense(6, "two", activation="tanh")(one(tokens)))
    return keras.Model(tokens, ops.einsum("btc,vc->btv", x, one.embeddings))


def table_turned() -> keras.Model:
    """The head reads the table in its call."""
    tokens, one = keras.Input((4,), dtype="int32"), layers.Embedding(20, 8, name="one")
    x = dense(8, "three")(dense(6, "two", activation="tanh")(one(tokens)))
    return keras.Model(tokens, Turned(one, name="head")(x))


def bias_again() -> keras.Model:
    x, one = keras.Input((6,)), dense(8, "one")
    return keras.Model(x, dense(2)(ops.tanh(one(x) + one.bias)))


def around(wrap: Callable[[Any], Any]) -> keras.Model:
    x, layer = keras.Input((4, 3)), dense(8, "shared")
    return keras.Model(x, dense(2)(wrap(layer)(ops.tanh(layer(dense(8, "one")(x))))))


def cells() -> keras.Model:
    x, cell = keras.Input((4, 3)), layers.LSTMCell(8, bias_initializer="random_normal", name="cell")
    first, second = (layers.RNN(cell, return_sequences=True, name=name) for name in ("first", "second"))
    return keras.Model(x, dense(2)(second(first(dense(8, "one")(x)))))


def one_side_stays() -> keras.Model:
    """What an input is multiplied by keeps its rows."""
    x, z, one = keras.Input((6,)), keras.Input((8,)), dense(5, "one")
    y = one(dense(8, "before", activation="tanh")(x))
    return keras.Model([x, z], dense(2)(y + ops.matmul(z, one.kernel)))


CASES: dict[str, Case] = {
    "a kernel turned round": (autoencoder, {"one": 8, "two": 5}),
    "a table that is an operand": (table, {"one": 8, "two": 6, "three": 8}),
    "a bias that is added once more": (bias_again, {"one": 8}),
    "a table turned round, emitted": (lambda: ks.emit(ks.lift(table_turned()), fold=False), {"one": 8, "two": 6}),
    "one cell in two networks": (cells, {"one": 8, "first": 8}),
    "rows that stay in one use": (one_side_stays, {"before": 0, "one": 5}),
    "in a closed layer": (lambda: around(Closed), {"one": 0}),
    "in a wrapper, and by itself": (lambda: around(layers.TimeDistributed), {"one": 0}),
}


@pytest.mark.parametrize("name", CASES)
def test_all_uses_are_cut_alike(name: str) -> None:
    build, expected = CASES[name]
    model = build()
    channels = analyse(model)
    assert {source: free(channels, source) for source in expected} == dict(expected)
    gone = assert_cut_is_exact(model)
    assert bool(gone) == any(expected.values())


@pytest.mark.parametrize("name", ["rows that stay in one use", "in a closed layer"])
def test_what_stays_says_why(name: str) -> None:
    build, expected = CASES[name]
    source = next(source for source, count in expected.items() if not count)
    assert reasons(analyse(build()), source) & {Reason.TIED, Reason.NO_RULE}


@pytest.mark.parametrize("name", ["a kernel turned round", "a table that is an operand"])
def test_a_pruned_network_holds_one_variable(name: str) -> None:
    """A network without the tie, of the same shapes, has more parameters by what is tied."""
    model = CASES[name][0]()
    small = ks.apply_passes(model, [PruneChannels(ratio=0.4)])
    assert ks.cost(small).macs < 0.75 * ks.cost(model).macs
    assert small.count_params() == ks.cost(small).parameters
    assert len(small.weights) == len(model.weights)
    if name == "a table that is an operand":
        assert_same_and_tied(small, ks.emit(ks.lift(small)))


@pytest.mark.parametrize(("build", "name"), [(cells, "cell"), (bias_again, "one")])
def test_a_grown_network_computes_the_same_with_one_variable(build: Callable[[], keras.Model], name: str) -> None:
    """Shares of a kernel that are uneven are those of both uses."""
    model = build()
    wide = ks.apply_passes(model, [Expand(width=1.5, uneven=0.5)])
    layer = wide.get_layer("first").cell if name == "cell" else wide.get_layer(name)
    assert layer.units == 12
    assert len(wide.weights) == len(model.weights)
    data = np.random.default_rng(0).normal(size=(2, *model.input.shape[1:])).astype("float32")
    np.testing.assert_allclose(np.asarray(wide(data)), np.asarray(model(data)), atol=1e-5)
