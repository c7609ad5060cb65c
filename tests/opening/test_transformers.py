"""Blocks as the well-known transformers have them, by hand: opened, costed, pruned, factorised, saved and exported."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.channels import analyse
from kerasurgeon.passes import Factorise
from kerasurgeon.rewrite.outputs import relative_difference, run_model
from tests.channels.oracle import cut_and_masked, random_cut
from tests.opening.layers import PACKAGE, array, image_classifier, randomised

WIDTH, HEADS, HIDDEN, STEPS, WORDS = 12, 3, 20, 6, 30


@keras.saving.register_keras_serializable(PACKAGE)
class Causal(layers.Layer):
    """A block of GPT2: norms first, heads from one EinsumDense each, a causal mask by hand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.second = layers.LayerNormalization(name="first"), layers.LayerNormalization(name="second")
        self.query, self.key, self.value = (
            layers.EinsumDense("btd,dnh->btnh", (None, HEADS, WIDTH // HEADS), bias_axes="nh", name=name)
            for name in ("query", "key", "value")
        )
        self.out = layers.EinsumDense("btnh,nhd->btd", (None, WIDTH), bias_axes="d", name="out")
        self.inner = layers.Dense(HIDDEN, activation=keras.activations.gelu, name="inner")
        self.outer, self.drop = layers.Dense(WIDTH, name="outer"), layers.Dropout(0.1, name="drop")

    def build(self, shape: Any) -> None:
        for layer in (self.first, self.second, self.query, self.key, self.value, self.inner):
            layer.build(shape)
        self.out.build((*shape[:-1], HEADS, WIDTH // HEADS))
        self.outer.build((*shape[:-1], HIDDEN))

    def call(self, x: Any, training: Any = None) -> Any:
        h = self.first(x)
        scores = ops.einsum("btnh,bsnh->bnts", self.query(h), self.key(h)) / (WIDTH // HEADS) ** 0.5
        steps = ops.arange(ops.shape(x)[1])
        scores = ops.where(steps[:, None] >= steps[None, :], scores, -1e9)
        y = ops.einsum("bnts,bsnh->btnh", ops.softmax(scores, axis=-1), self.value(h))
        x = x + self.drop(self.out(y), training=training)
        return x + self.drop(self.outer(self.inner(self.second(x))), training=training)

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


@keras.saving.register_keras_serializable(PACKAGE)
class Bidirectional(layers.Layer):
    """A block of BERT: Keras' own attention, norms last."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attend = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attend")
        self.first, self.second = layers.LayerNormalization(name="first"), layers.LayerNormalization(name="second")
        self.inner, self.outer = (
            layers.Dense(HIDDEN, activation="gelu", name="inner"),
            layers.Dense(WIDTH, name="outer"),
        )

    def build(self, shape: Any) -> None:
        self.attend.build(shape, shape)
        for layer in (self.first, self.second, self.inner):
            layer.build(shape)
        self.outer.build((*shape[:-1], HIDDEN))

    def call(self, x: Any) -> Any:
        x = self.first(x + self.attend(x, x))
        return self.second(x + self.outer(self.inner(x)))

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


@keras.saving.register_keras_serializable(PACKAGE)
class Gated(layers.Layer):
    """A block of Llama: RMS norms by hand, rotary places, two heads of keys for four queries, a gated layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.query = layers.Dense(16, use_bias=False, name="query")
        self.key, self.value = (layers.Dense(8, use_bias=False, name=name) for name in ("key", "value"))
        self.out = layers.Dense(WIDTH, use_bias=False, name="out")
        self.gate, self.up = (layers.Dense(HIDDEN, use_bias=False, name=name) for name in ("gate", "up"))
        self.down = layers.Dense(WIDTH, use_bias=False, name="down")

    def build(self, shape: Any) -> None:
        self.scales = [self.add_weight(shape=(WIDTH,), initializer="ones", name=f"scale_{index}") for index in (0, 1)]
        for layer in (self.query, self.key, self.value, self.gate, self.up):
            layer.build(shape)
        self.out.build((*shape[:-1], 16))
        self.down.build((*shape[:-1], HIDDEN))

    def norm(self, x: Any, scale: Any) -> Any:
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6) * scale

    def turned(self, x: Any) -> Any:
        angles = ops.cast(ops.arange(ops.shape(x)[1]), "float32")[:, None] * ops.array([1.0, 0.1])
        angles = ops.expand_dims(ops.concatenate([angles, angles], axis=-1), 1)
        first, second = ops.split(x, 2, axis=-1)
        return x * ops.cos(angles) + ops.concatenate([-second, first], axis=-1) * ops.sin(angles)

    def call(self, x: Any) -> Any:
        h = self.norm(x, self.scales[0])
        batch, steps = ops.shape(x)[:2]
        query = self.turned(ops.reshape(self.query(h), (batch, steps, 4, 4)))
        key = self.turned(ops.reshape(self.key(h), (batch, steps, 2, 4)))
        value = ops.reshape(self.value(h), (batch, steps, 2, 4))
        key, value = ops.repeat(key, 2, axis=2), ops.repeat(value, 2, axis=2)
        scores = ops.softmax(ops.einsum("btnh,bsnh->bnts", query, key) / 2.0, axis=-1)
        x = x + self.out(ops.reshape(ops.einsum("bnts,bsnh->btnh", scores, value), (batch, steps, 16)))
        h = self.norm(x, self.scales[1])
        return x + self.down(ops.silu(self.gate(h)) * self.up(h))

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def text(block: Callable[..., Any]) -> keras.Model:
    """Tokens, two blocks, a mean and a Dense layer."""
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    x = layers.Embedding(WORDS, WIDTH, name="words")(ids)
    for index in range(2):
        x = block(name=f"block_{index}")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(name="last")(x))
    return randomised(keras.Model(ids, layers.Dense(5, name="head")(x)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "GPT2": lambda: text(Causal),
    "BERT": lambda: text(Bidirectional),
    "Llama": lambda: text(Gated),
    "ViT": lambda: randomised(image_classifier()),
}
NAMES = {"GPT2": "inner", "BERT": "inner", "Llama": "gate", "ViT": "inner"}


@pytest.fixture(scope="module", params=list(MODELS))
def opened(request: pytest.FixtureRequest) -> tuple[str, keras.Model, ks.Graph]:
    """A model and its graph."""
    model = MODELS[request.param]()
    return request.param, model, ks.lift(model)


def inputs_of(model: keras.Model) -> Any:
    rng = np.random.default_rng(1)
    if "int" in model.input.dtype:
        return rng.integers(0, WORDS, (3, STEPS)).astype("int32")
    return rng.normal(size=(3, *model.input.shape[1:])).astype("float32")


@pytest.mark.spread(3)
def test_it_is_opened_and_the_same(opened: tuple[str, keras.Model, ks.Graph]) -> None:
    _, model, graph = opened
    assert graph.model.closed == {}
    assert not any(graph.kind(node).startswith("custom:") for node in graph)
    x = inputs_of(model)
    np.testing.assert_array_equal(array(ks.emit(graph, fold=False)(x)), array(model(x)))
    cost = ks.cost(graph)
    assert cost.parameters == model.count_params()
    assert not cost.unknown


@pytest.mark.spread(2)
def test_a_cut_equals_the_masked_twin(opened: tuple[str, keras.Model, ks.Graph]) -> None:
    _, model, graph = opened
    x, channels = inputs_of(model), analyse(graph)
    for seed in range(2):
        gone = random_cut(channels, seed, 0.3)
        assert gone.any()
        small, masked = cut_and_masked(model, gone, channels)
        expected, got = (run_model(ks.emit(one), x) for one in (masked, small))
        assert relative_difference(expected, got) < 1e-5


@pytest.mark.spread(3)
def test_hidden_units_are_pruned_without_the_class(opened: tuple[str, keras.Model, ks.Graph], tmp_path: Path) -> None:
    name, model, _ = opened
    path = ("block" if name == "ViT" else "block_1") + "/" + NAMES[name]
    kept = [0, 1, 2, 4, 5, 7, 8, 9, 11, 13, 15, 16, 19]
    plan = ks.ChannelPlan({path: kept})
    small, twin = ks.cut(model, plan), ks.masked(model, plan)
    x = inputs_of(model)
    np.testing.assert_allclose(array(small(x)), array(twin(x)), rtol=1e-5, atol=1e-5)
    assert ks.cost(small).macs < ks.cost(model).macs
    plain = ks.emit(ks.lift(small), fold=False)
    plain.save(tmp_path / "small.keras")
    registered = keras.saving.get_custom_objects()
    hidden = {key: registered.pop(key) for key in list(registered) if key.startswith(PACKAGE)}
    try:
        loaded = keras.saving.load_model(tmp_path / "small.keras")
    finally:
        registered.update(hidden)
    np.testing.assert_array_equal(array(loaded(x)), array(small(x)))


@pytest.mark.spread(3)
def test_kernels_are_factorised(opened: tuple[str, keras.Model, ks.Graph]) -> None:
    _, model, _ = opened
    x = inputs_of(model)
    same = ks.apply_passes(model, [Factorise(energy=1.0)])
    np.testing.assert_allclose(array(same(x)), array(model(x)), rtol=1e-3, atol=1e-3)


@pytest.mark.spread(3)
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_it_is_exported(opened: tuple[str, keras.Model, ks.Graph], format: str, tmp_path: Path) -> None:
    _, model, _ = opened
    report = ks.export(model, tmp_path / f"model.{format}")
    assert max(item.relative_error for item in report.outputs) < 1e-5
