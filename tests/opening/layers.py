"""Layers as users write them: Python around other layers."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

PACKAGE = "kerasurgeon_opening"


@keras.saving.register_keras_serializable(PACKAGE)
class Block(layers.Layer):
    """A transformer block with heads that are split by hand."""

    def __init__(self, width: int, heads: int, hidden: int, rate: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.width, self.heads, self.hidden, self.rate = width, heads, hidden, rate
        self.before, self.between = layers.LayerNormalization(name="before"), layers.LayerNormalization(name="between")
        self.query, self.key, self.value = (layers.Dense(width, name=name) for name in ("query", "key", "value"))
        self.project = layers.Dense(width, name="project")
        self.inner, self.outer = (
            layers.Dense(hidden, activation="gelu", name="inner"),
            layers.Dense(width, name="outer"),
        )
        self.drop = layers.Dropout(rate, name="drop")

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(self.width,), initializer="ones", name="scale")
        for layer in (self.before, self.between, self.query, self.key, self.value, self.project, self.inner):
            layer.build(shape)
        self.outer.build((*shape[:-1], self.hidden))

    def split(self, x: Any) -> Any:
        batch, steps, width = ops.shape(x)
        return ops.transpose(ops.reshape(x, (batch, steps, self.heads, width // self.heads)), (0, 2, 1, 3))

    def call(self, x: Any, training: Any = None) -> Any:
        h = self.before(x)
        query, key, value = (self.split(layer(h)) for layer in (self.query, self.key, self.value))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / (self.width // self.heads) ** 0.5
        y = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
        batch, steps = ops.shape(y)[:2]
        y = self.project(ops.reshape(y, (batch, steps, self.width)))
        x = x + self.drop(y, training=training) * self.scale
        return x + self.outer(self.inner(self.between(x)))

    def get_config(self) -> dict[str, Any]:
        own = {"width": self.width, "heads": self.heads, "hidden": self.hidden, "rate": self.rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Tokens(layers.Layer):
    """Embeds tokens and their places, of which there may be fewer than the table has."""

    def __init__(self, longest: int, words: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.longest, self.words, self.width = longest, words, width
        self.word, self.place = (
            layers.Embedding(words, width, name="word"),
            layers.Embedding(longest, width, name="place"),
        )

    def build(self, shape: Any) -> None:
        self.word.build(shape)
        self.place.build(shape)

    def call(self, tokens: Any) -> Any:
        return self.word(tokens) + self.place(ops.arange(ops.shape(tokens)[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "longest": self.longest, "words": self.words, "width": self.width}


@keras.saving.register_keras_serializable(PACKAGE)
class ClassToken(layers.Layer):
    """Puts a learned token first and adds learned places."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = layers.Dropout(0.0, name="drop")

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal", name="token")
        self.places = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), initializer="normal", name="places")

    def call(self, x: Any, training: Any = None) -> Any:
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return self.drop(ops.concatenate([token, x], axis=1) + self.places, training=training)


def text_classifier(length: int | None = None, rate: float = 0.0) -> keras.Model:
    """Tokens, two blocks, a mean and a Dense layer."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = Tokens(16, 30, 12, name="embed")(tokens)
    for index in range(2):
        x = Block(12, 3, 20, rate, name=f"block_{index}")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(tokens, layers.Dense(5, name="head")(x))


def image_classifier() -> keras.Model:
    """A vision transformer."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(12, 4, strides=4, name="patches")(image)
    x = ClassToken(name="tokens")(layers.Reshape((4, 12), name="flat")(x))
    x = layers.LayerNormalization(name="last")(Block(12, 3, 20, name="block")(x))
    return keras.Model(image, layers.Dense(5, name="head")(x[:, 0]))


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with other weights than its initialisers gave it."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(weight + rng.normal(size=weight.shape, scale=0.3))
    return model


def array(tensor: Any) -> Any:
    """A tensor's values."""
    return ops.convert_to_numpy(tensor)
