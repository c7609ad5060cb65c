"""Small backbones for the tests of the search, with weights that are no initialisation's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.zoo.sampling import randomise

CLASSES = 3
SIZE = 12


UNITS = ((8, 1), (12, 2), (12, 1), (16, 2), (16, 1))
"""Width and stride of each."""


def separable(size: int = SIZE, units: Sequence[tuple[int, int]] = UNITS) -> keras.Model:
    """A MobileNet: depthwise and 1x1 convolutions in a chain."""
    x = image = keras.Input((size, size, 3), name="image")
    x = _finish(layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(x), "stem")
    for index, (width, stride) in enumerate(units, start=1):
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"dw_{index}")(x)
        x = _finish(x, f"dw_{index}")
        x = _finish(layers.Conv2D(width, 1, use_bias=False, name=f"pw_{index}")(x), f"pw_{index}")
    return _filled(keras.Model(image, x, name="separable"), 1)


def inverted(size: int = SIZE) -> keras.Model:
    """A MobileNetV2 of five blocks: expansion, depthwise convolution, linear projection, sum where the shape stays."""
    x = image = keras.Input((size, size, 3), name="image")
    x = _finish(layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(x), "stem")
    for index, (width, stride) in enumerate([(4, 1), (6, 2), (6, 1), (8, 2), (8, 1)], start=1):
        y = _finish(layers.Conv2D(3 * x.shape[-1], 1, use_bias=False, name=f"expand_{index}")(x), f"expand_{index}")
        y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"dw_{index}")(y)
        y = _finish(y, f"dw_{index}")
        y = layers.Conv2D(width, 1, use_bias=False, name=f"project_{index}")(y)
        y = layers.BatchNormalization(name=f"project_{index}_bn")(y)
        x = layers.Add(name=f"add_{index}")([x, y]) if x.shape == y.shape else y
    x = _finish(layers.Conv2D(24, 1, use_bias=False, name="last")(x), "last")
    return _filled(keras.Model(image, x, name="inverted"), 2)


def images(samples: int = 48, size: int = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose mean colour tells the class, and the class ids."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples).astype("int32")
    pictures = rng.normal(size=(samples, size, size, 3)).astype("float32")
    pictures += 1.5 * np.eye(3, dtype="float32")[labels][:, None, None, :]
    return pictures, labels


def _finish(x: Any, name: str) -> Any:
    return layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def _filled(model: keras.Model, seed: int) -> keras.Model:
    randomise(model, seed)
    return model
