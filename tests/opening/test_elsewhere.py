"""Code with ways of its own for backends, and sizes that are computed: Keras running the layer is the oracle."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import importlib
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from tests.opening.layers import array

PACKAGE = "kerasurgeon_elsewhere"
DATA = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
OWN = keras.backend.backend()


def turned(x: Any) -> Any:
    """The order of steps turned round by the backend itself."""
    if OWN == "tensorflow":
        import tensorflow as tf

        return tf.reverse(x, axis=[1])
    return importlib.import_module("jax.numpy").flip(x, axis=1)


@keras.saving.register_keras_serializable(PACKAGE)
class Turning(layers.Layer):
    """A Dense layer, and its steps turned round; where ``right`` is false, by something else for other backends."""

    def __init__(self, right: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.right, self.dense = right, layers.Dense(4, name="dense", dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        x = self.dense(x) * self.scale
        if keras.config.backend() == OWN:
            return turned(x)
        return ops.flip(x, axis=1) if self.right else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "right": self.right}


@pytest.mark.parametrize("right", [True, False])
def test_code_for_another_backend_is_taken_where_it_gives_the_same(right: bool) -> None:
    x = keras.Input((None, 4))
    model = keras.Model(x, Turning(right, name="turning")(x))
    model.get_layer("turning").scale.assign([1.0, -2.0, 0.5, 3.0])
    graph = ks.lift(model)
    assert ("turning/dense" in graph) is right
    if not right:
        assert "return tf.reverse(x" in graph.model.closed["turning"] or "jnp.flip" in graph.model.closed["turning"]
    plain = ks.emit(graph, fold=False)
    np.testing.assert_array_equal(array(plain(DATA)), array(model(DATA)))
    assert keras.config.backend() == keras.backend.backend() == OWN


@keras.saving.register_keras_serializable(PACKAGE)
class Counting(layers.Layer):
    """Counts from and to sizes that it computes, as biases by distance do."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(1, name="dense")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        steps = ops.shape(x)[1]
        counted = [
            ops.arange(1 - steps, 1),
            ops.arange(steps - 1, -1, -1),
            ops.arange(2 * steps - 1),
            ops.arange(steps + 2, dtype="int32"),
            ops.arange(3, 3 + (steps - steps) + 4),
            ops.zeros((steps * 2,)),
        ]
        y = ops.concatenate([ops.cast(one, "float32") for one in counted])
        return ops.add(self.dense(x)[:, :1, 0], y)

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def test_sizes_that_are_computed_from_one_that_is_free() -> None:
    x = keras.Input((None, 4))
    model = keras.Model(x, Counting(name="counting")(x))
    graph = ks.lift(model)
    assert graph.model.closed == {}
    plain = ks.emit(graph, fold=False)
    for steps in (1, 2, 5):
        np.testing.assert_array_equal(array(plain(DATA[:, :steps])), array(model(DATA[:, :steps])))


def test_an_opened_one_is_trained_as_the_closed_one_is() -> None:
    x = keras.Input((None, 4))
    model = keras.Model(x, layers.Dense(1, name="head")(Turning(name="turning")(x)))
    small = ks.emit(ks.lift(model), fold=False)
    labels = np.random.default_rng(1).normal(size=(3, 5, 1)).astype("float32")
    for one in (model, small):
        one.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    for _ in range(2):
        losses = [one.train_on_batch(DATA, labels) for one in (model, small)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(array(small(DATA)), array(model(DATA)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_precision_is_that_of_the_closed_one(policy: str) -> None:
    x = keras.Input((None, 4))
    model = keras.Model(x, Turning(name="turning", dtype=policy)(x))
    graph = ks.lift(model)
    assert "turning/dense" in graph
    plain = ks.emit(graph, fold=False)
    (dense,) = (layer for layer in plain._flatten_layers() if isinstance(layer, layers.Dense))
    assert (dense.compute_dtype, dense.variable_dtype) == (policy.removeprefix("mixed_"), "float32")
    assert plain.output.dtype == model.output.dtype == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(array(plain(DATA)), array(model(DATA)))
