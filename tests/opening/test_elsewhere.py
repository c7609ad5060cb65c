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
from kerasurgeon.channels import analyse, groups
from kerasurgeon.rewrite.outputs import relative_difference, run_model
from tests.channels.oracle import assert_cut_is_exact, cut_and_masked
from tests.opening.layers import array, randomised

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


@keras.saving.register_keras_serializable(PACKAGE)
class Windowed(layers.Layer):
    """Averages over a window of steps, however few there are; TensorFlow's own way, as Mistral's and Qwen's masks."""

    def __init__(self, window: int, **options: Any) -> None:
        super().__init__(**options)
        self.window, self.dense = window, layers.Dense(4, name="dense")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        steps = ops.shape(x)[1]
        every = ops.ones((steps, steps), "bool")
        if keras.config.backend() == OWN == "tensorflow":
            import tensorflow as tf

            width = ops.cast(ops.minimum(steps, self.window), "int32")
            near = tf.linalg.band_part(every, width, width)
        else:
            near = ops.triu(every, -self.window) * ops.tril(every, self.window)
        behind = ops.tril(ops.add(ops.zeros((steps, steps)), 1), 0)
        near = ops.cast(near, "float32") * behind
        return ops.matmul(near, self.dense(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}


@pytest.mark.parametrize("window", [0, 2, 100])
def test_windows_that_are_wider_than_the_sequence(window: int) -> None:
    x = keras.Input((None, 4))
    model = randomised(keras.Model(x, Windowed(window, name="windowed")(x)))
    graph = ks.lift(model)
    assert graph.model.closed == {}
    plain = ks.emit(graph, fold=False)
    for steps in (1, 2, 5):
        given = DATA[:, :steps]
        np.testing.assert_array_equal(array(plain(given)), array(model(given)))
        far = np.arange(steps)[:, None] - np.arange(steps)
        dense = given @ array(model.get_layer("windowed").dense.kernel) + array(model.get_layer("windowed").dense.bias)
        expected = ((far >= 0) & (far <= window)).astype("float32") @ dense
        np.testing.assert_allclose(array(plain(given)), expected, rtol=1e-5, atol=1e-5)


HEADS, SPAN = 4, 3


@keras.saving.register_keras_serializable(PACKAGE)
class Relative(layers.Layer):
    """Attention with scores by distance that are picked from those of a table, as DeBERTa's; TensorFlow's own way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.query, self.key, self.value = (
            layers.EinsumDense("abc,cde->abde", (None, HEADS, 3), bias_axes="de", name=name)
            for name in ("query", "key", "value")
        )
        self.out = layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d", name="out")

    def build(self, shape: Any) -> None:
        for layer in (self.query, self.key, self.value):
            layer.build(shape)
        self.out.build((*shape[:-1], HEADS * 3))
        self.table = self.add_weight(shape=(2 * SPAN, 4), initializer="normal", name="table")

    def call(self, x: Any) -> Any:
        batch, steps = ops.shape(x)[0], ops.shape(x)[1]
        query, key, value = self.query(x), self.key(x), self.value(x)
        far = self.key(ops.repeat(ops.expand_dims(self.table, 0), batch, axis=0))
        places = ops.arange(steps)
        at = ops.clip(places[:, None] - places[None, :] + SPAN, 0, 2 * SPAN - 1)
        at = ops.broadcast_to(at[None, None], (batch, HEADS, steps, steps))
        scores = ops.einsum("aecd,abcd->acbe", far, query)
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            scores = tf.gather(scores, indices=at, batch_dims=3)
        else:
            scores = ops.take_along_axis(scores, at, axis=3)
        weights = ops.softmax(scores + ops.einsum("aecd,abcd->acbe", key, query))
        y = ops.einsum("acbe,aecd->abcd", weights, value)
        return x + self.out(ops.reshape(y, (batch, steps, HEADS * 3)))

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


@pytest.mark.parametrize("steps", [None, 5])
def test_heads_of_attention_with_picked_scores_go(steps: int | None) -> None:
    x = keras.Input((steps, 4))
    model = randomised(keras.Model(x, Relative(name="relative")(x)))
    graph = ks.lift(model)
    assert graph.model.closed == {}
    np.testing.assert_array_equal(array(ks.emit(graph, fold=False)(DATA)), array(model(DATA)))
    channels = analyse(graph)
    heads = [each for each in groups(channels) if each.size == HEADS and not each.frozen]
    assert [len(each.layers) for each in heads] == [4], ks.groups(graph)
    gone = np.zeros(channels.units, bool)
    gone[heads[0].units[[0, 2]]] = True
    small, masked = cut_and_masked(model, gone, channels)
    assert relative_difference(run_model(ks.emit(masked), DATA), run_model(ks.emit(small), DATA)) < 1e-5
    assert small.layers["relative/query"].weights["kernel"].array.shape == (4, 2, 3)
    assert assert_cut_is_exact(model) > 0


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
