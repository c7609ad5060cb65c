"""Blocks with caches, biases and outputs that may be None, and paths that are dropped in training."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.channels import analyse, groups
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.outputs import relative_difference, run_model
from tests.channels.oracle import cut_and_masked, random_cut
from tests.opening.layers import PACKAGE, array, randomised

WIDTH, HEADS, HIDDEN, WORDS = 12, 3, 20, 30
IDS = np.random.default_rng(1).integers(0, WORDS, (3, 7)).astype("int32")


@keras.saving.register_keras_serializable(PACKAGE)
class Cached(layers.MultiHeadAttention):
    """Keras' attention with a call of its own, of which Keras' compute_output_spec knows nothing."""

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        attention_mask: Any = None,
        cache: Any = None,
        place: Any = None,
        training: Any = None,
    ) -> Any:
        key = value if key is None else key
        keys, values = (self._key_dense(key), self._value_dense(value)) if cache is None else (cache, cache)
        y, _ = self._compute_attention(
            self._query_dense(query), keys, values, attention_mask=attention_mask, training=training
        )
        y = self._output_dense(y)
        return y if cache is None else (y, cache)


@keras.saving.register_keras_serializable(PACKAGE)
class Biased(layers.Layer):
    """Attention by hand with a table of distances; gives its bias for others to use, and the cache that it is given."""

    def __init__(self, odd: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.odd, self.seeds = odd, keras.random.SeedGenerator(1)
        self.query, self.key, self.value, self.out = (
            layers.Dense(WIDTH, use_bias=False, name=name) for name in ("query", "key", "value", "out")
        )

    def build(self, shape: Any) -> None:
        for layer in (self.query, self.key, self.value, self.out):
            layer.build(shape)
        self.table = self.add_weight(shape=(9, HEADS), initializer="normal", name="table")

    def call(self, x: Any, mask: Any = None, bias: Any = None, cache: Any = None, training: Any = False) -> Any:
        if self.odd:
            keras.random.uniform((1,), seed=self.seeds)
        batch, steps = ops.shape(x)[:2]
        query, key, value = (
            ops.reshape(layer(x), (batch, -1, HEADS, WIDTH // HEADS)) for layer in (self.query, self.key, self.value)
        )
        if bias is None:
            place = ops.arange(steps)
            far = ops.clip(place[None, :] - place[:, None], -4, 4) + 4
            bias = ops.expand_dims(ops.transpose(ops.take(self.table, far, axis=0), (2, 0, 1)), 0)
            if mask is not None:
                bias = bias + (1.0 - ops.cast(mask[:, None, :, :], bias.dtype)) * -1e9
        weights = ops.softmax(ops.einsum("bqnd,bknd->bnqk", query, key) + bias, axis=-1)
        y = ops.reshape(ops.einsum("bnqk,bknd->bqnd", weights, value), (batch, -1, WIDTH))
        return self.out(y), bias, cache


@keras.saving.register_keras_serializable(PACKAGE)
class DropPath(layers.Layer):
    """Leaves a branch out at random, for whole samples."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seeds = rate, keras.random.SeedGenerator(1)

    def call(self, x: Any, training: Any = None) -> Any:
        if self.rate == 0.0 or not training:
            return x
        drawn = keras.random.uniform((ops.shape(x)[0],) + (1,) * (len(x.shape) - 1), seed=self.seeds)
        return x / (1 - self.rate) * ops.floor(1 - self.rate + drawn)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(PACKAGE)
def bent(x: Any) -> Any:
    """An activation from outside Keras."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(PACKAGE)
class Scaled(layers.Layer):
    """Multiplies by a weight; holds no other layer."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale


@keras.saving.register_keras_serializable(PACKAGE)
class Decoder(layers.Layer):
    """A block that says the shape of what it gives, so that Keras does not run its code."""

    def __init__(self, rate: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        self.first, self.second, self.third = (
            layers.LayerNormalization(name=name) for name in ("first", "second", "third")
        )
        self.cached, self.biased = Cached(HEADS, WIDTH // HEADS, name="cached"), Biased(name="biased")
        self.inner = layers.Dense(HIDDEN, activation=bent, name="inner")
        self.outer = layers.Dense(WIDTH, name="outer")
        self.same = layers.Identity(dtype=self.dtype_policy, name="same")
        self.drop = DropPath(rate, name="drop")

    def build(self, shape: Any, *_: Any) -> None:
        for layer in (self.first, self.second, self.third, self.biased, self.inner):
            layer.build(shape)
        self.cached.build(shape, shape)
        self.outer.build((*shape[:-1], HIDDEN))

    def call(
        self, x: Any, bias: Any = None, mask: Any = None, cache: Any = None, place: Any = None, training: Any = None
    ) -> Any:
        h = self.first(x)
        steps = ops.arange(ops.shape(x)[1])
        causal = ops.expand_dims(steps[:, None] >= steps[None, :], 0)
        mask = causal if mask is None else ops.logical_and(causal, mask)
        y = self.cached(query=h, value=h, attention_mask=mask, cache=cache, place=place, training=training)
        x = x + self.drop(y, training=training)
        y, bias, cache = self.biased(self.second(x), bias=bias, cache=cache, training=training)
        x = x + self.same(y)
        x = x + self.drop(self.outer(self.inner(self.third(x))), training=training)
        return (x, bias) if cache is None else (x, bias, cache)

    def compute_output_spec(self, x: Any, *_: Any, **__: Any) -> Any:
        bias = (1, HEADS, x.shape[1], x.shape[1])
        return keras.KerasTensor(x.shape, dtype=x.dtype), keras.KerasTensor(bias, dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class Network(keras.Model):
    """Tokens of a free number, two blocks, a mean and a Dense layer."""

    def __init__(self, rate: float, **options: Any) -> None:
        ids, bias = keras.Input((None,), dtype="int32", name="ids"), None
        x = Scaled(name="scaled")(layers.Embedding(WORDS, WIDTH, name="words")(ids)) * 2.0  # sparse, as Keras has it
        for index in range(2):
            x, bias = Decoder(rate, name=f"block_{index}")(x, bias=bias)
        x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(name="last")(x))
        super().__init__(ids, layers.Dense(5, name="head")(x), **options)
        self.rate = rate

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "name": self.name}


def decoder(rate: float = 0.0) -> keras.Model:
    """The network with random weights."""
    return randomised(Network(rate))


@pytest.fixture(scope="module", params=[0.0, 0.4])
def opened(request: pytest.FixtureRequest) -> tuple[keras.Model, ks.Graph]:
    """A model and its graph, without paths that are dropped and with such."""
    model = decoder(request.param)
    return model, ks.lift(model)


@pytest.mark.spread(2)
def test_it_is_opened_and_the_same(opened: tuple[keras.Model, ks.Graph]) -> None:
    model, graph = opened
    left = {node.layer for node in graph if graph.kind(node).startswith("custom:")}
    assert left == (set() if model.get_layer("block_0").rate == 0.0 else {"block_0/drop", "block_1/drop"})
    assert set(graph.model.closed) == left
    plain = ks.emit(graph, fold=False)
    np.testing.assert_array_equal(array(plain(IDS)), array(model(IDS)))
    np.testing.assert_array_equal(array(plain(IDS[:2, :4])), array(model(IDS[:2, :4])))
    assert plain.count_params() == model.count_params() - 9 * HEADS  # the second block's table is not used
    assert type(ks.emit(graph).get_layer("block_1")) is Decoder
    assert not ks.cost(graph, sizes={"ids": (7,)}).unknown


@pytest.mark.spread(2)
def test_a_cut_equals_the_masked_twin(opened: tuple[keras.Model, ks.Graph]) -> None:
    model, graph = opened
    channels = analyse(graph)
    free = [group.name for group in groups(channels) if not group.frozen]
    assert all(any(part in name for name in free) for part in ("words", "cached", "biased", "inner"))
    gone = random_cut(channels, 0, 0.3)
    small, masked = cut_and_masked(model, gone, channels)
    assert relative_difference(run_model(ks.emit(masked), IDS), run_model(ks.emit(small), IDS)) < 1e-5


@pytest.mark.spread(2)
def test_only_what_has_changed_comes_out_as_plain_layers(opened: tuple[keras.Model, ks.Graph]) -> None:
    model, _ = opened
    small = ks.cut(model, ks.ChannelPlan({"block_0/inner": range(0, HIDDEN, 2)}))
    assert type(small.get_layer("block_1")) is Decoder
    inside = {type(layer) for layer in small.get_layer("block_0")._flatten_layers()}
    assert Cached in inside
    assert Biased not in inside  # Keras cannot call it: one of its outputs is None
    twin = Network.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    kernel = array(twin.get_layer("block_0").outer.kernel).copy()
    kernel[1::2] = 0
    twin.get_layer("block_0").outer.kernel.assign(kernel)
    np.testing.assert_allclose(array(small(IDS)), array(twin(IDS)), rtol=1e-5, atol=1e-5)


def test_a_pruned_one_loads_alone_and_is_exported(tmp_path: Path) -> None:
    model = decoder()
    small = ks.apply_passes(model, [PruneChannels(ratio=0.3, compensate="none")])
    plain = ks.emit(ks.lift(small), fold=False)
    plain.save(tmp_path / "small.keras")
    registered = keras.saving.get_custom_objects()
    hidden = {key: registered.pop(key) for key in list(registered) if key.startswith(PACKAGE)}
    try:
        loaded = keras.saving.load_model(tmp_path / "small.keras")
    finally:
        registered.update(hidden)
    np.testing.assert_array_equal(array(loaded(IDS)), array(small(IDS)))
    sizes = {"ids": (7,)}
    assert ks.cost(small, sizes=sizes).macs <= 0.75 * ks.cost(model, sizes=sizes).macs
    for format in ("onnx", "tflite"):
        report = ks.export(small, tmp_path / f"small.{format}", writer="graph")
        assert max(item.relative_error for item in report.outputs) < 1e-5


def test_paths_are_still_dropped_in_training() -> None:
    model = decoder(0.4)
    small = ks.cut(model, ks.ChannelPlan({"block_0/inner": range(0, HIDDEN, 2)}))
    plain = ks.emit(ks.lift(small), fold=False)
    assert sum(isinstance(layer, DropPath) for layer in plain._flatten_layers()) == 2
    np.testing.assert_array_equal(array(plain(IDS)), array(small(IDS)))
    assert not np.allclose(array(plain(IDS, training=True)), array(plain(IDS)))


def test_what_is_not_idle_has_no_rule() -> None:
    @keras.saving.register_keras_serializable(PACKAGE)
    class Doubles(DropPath):
        def call(self, x: Any, training: Any = None) -> Any:
            return super().call(x, training) if training else x * 2

    for cls, frozen in ((DropPath, False), (Doubles, True)):
        x = keras.Input((4,))
        y = cls(0.5, name="drop")(layers.Dense(6, name="wide")(x))
        graph = ks.lift(keras.Model(x, layers.Dense(2, name="head")(y)))
        (group,) = (group for group in groups(analyse(graph)) if group.name == "wide")
        assert bool(group.frozen) is frozen
        assert bool(ks.cost(graph).unknown) is frozen


def test_what_cannot_be_opened_inside_closes_what_is_around_it() -> None:
    layer = Decoder(name="block")
    layer.biased = Biased(odd=True, name="biased")
    x = keras.Input((5, WIDTH))
    model = keras.Model(x, layer(x)[0])
    graph = ks.lift(model)
    assert [node.name for node in graph][-1] == "block"
    assert "its layer 'biased'" in graph.model.closed["block"]
    assert "draws random numbers" in graph.model.closed["block"]
