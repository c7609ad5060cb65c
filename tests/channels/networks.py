"""Small networks with biases and statistics that matter."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tests.zoo.sampling import randomise


def conv(filters: int, size: int = 3, **options: Any) -> keras.Layer:
    return layers.Conv2D(filters, size, **{"padding": "same", **options})


def residual(seed: int = 0) -> keras.Model:
    """A stem, a residual block with batch norm, a block without, a classifier."""
    inputs = keras.Input((12, 12, 3), name="image")
    stem = conv(8, name="stem")(inputs)
    x = layers.BatchNormalization(name="bn1")(conv(6, name="a1")(stem))
    x = layers.ReLU(name="relu1")(x)
    x = layers.BatchNormalization(name="bn2")(conv(8, 1, name="a2")(x))
    x = layers.Add(name="sum1")([stem, x])
    y = conv(5, name="b1", activation="relu")(x)
    y = conv(8, name="b2")(y)
    x = layers.Add(name="sum2")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(4, name="head")(x), name="residual")
    randomise(model, seed)
    return model
