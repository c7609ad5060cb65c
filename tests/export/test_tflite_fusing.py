"""What operators of a TFLite file take up of their neighbours: fewer of them, and the same results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.export.test_tflite_writer import error, operators, written
from tests.zoo import randomise

Make = Callable[[Any], Any]
CHANNELS = np.array([0.5, 2.0, -3.0, 1.5], "float32")

IN_FRONT: Mapping[str, tuple[Make, Mapping[str, int]]] = {
    "numbers": (lambda x: layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(x)), {"CONV_2D": 1}),
    "channels": (lambda x: layers.Conv2D(4, 3, strides=2)(x * CHANNELS), {"CONV_2D": 1}),
    "both": (lambda x: layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(x) * CHANNELS), {"CONV_2D": 1}),
    "groups": (lambda x: layers.Conv2D(6, 3, groups=2)(x * 0.1), {"CONV_2D": 1}),
    "channels of groups": (lambda x: layers.Conv2D(6, 3, groups=2)(x * CHANNELS), {"CONV_2D": 1, "MUL": 1}),
    "depthwise": (lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x * CHANNELS), {"DEPTHWISE_CONV_2D": 1}),
    "dense": (lambda x: layers.Dense(4)(x * CHANNELS), {"FULLY_CONNECTED": 1}),
    "flattened": (lambda x: layers.Dense(4)(layers.Flatten()(x * 0.1)), {"FULLY_CONNECTED": 1}),
    "channels that are flattened": (
        lambda x: layers.Dense(4)(layers.Flatten()(x * CHANNELS)),
        {"FULLY_CONNECTED": 1, "MUL": 1},
    ),
    "columns": (lambda x: layers.Conv2D(4, 3)(x[:, :, :4] * CHANNELS[:, None]), {"CONV_2D": 1, "MUL": 1}),
    "read twice": (lambda x: (y := x * 2.0) + layers.Conv2D(4, 1)(y), {"CONV_2D": 1, "MUL": 1, "ADD": 1}),
    "a sum between": (
        lambda x: layers.Conv2D(4, 3, padding="same")(layers.Rescaling(2.0, 1.0)(x)),
        {"CONV_2D": 1, "MUL": 1, "ADD": 1},
    ),
    "an activation between": (lambda x: layers.Conv2D(4, 3)(ops.relu(x * 2.0)), {"CONV_2D": 1, "MUL": 1}),
    "one position": (
        lambda x: layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(4, 5)(x)),
        {"CONV_2D": 1},
    ),
    "the largest of one": (lambda x: ops.max(layers.Conv2D(4, 5)(x), axis=(1, 2)), {"CONV_2D": 1, "RESHAPE": 1}),
}


@pytest.mark.parametrize("name", IN_FRONT)
def test_what_stands_in_front(name: str) -> None:
    make, kinds = IN_FRONT[name]
    image = keras.Input((5, 5, 4))
    model = keras.Model(image, make(image))
    data = written(model)
    found = operators(data)
    assert {kind: found[kind] for kind in (*kinds, "MUL", "RESHAPE", "MEAN")} == {
        "MUL": 0,
        "RESHAPE": 0,
        "MEAN": 0,
    } | dict(kinds)
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype("float32")
    for plain in (False, True):
        assert error(model, data, x, plain=plain) < 1e-5


BEHIND: Mapping[str, tuple[Make, Mapping[str, int]]] = {
    "numbers": (lambda x: layers.Conv2D(4, 3)(x) * 0.2, {"CONV_2D": 1}),
    "channels, no bias": (lambda x: layers.Conv2D(4, 3, use_bias=False)(x) * CHANNELS, {"CONV_2D": 1}),
    "groups": (lambda x: layers.Conv2D(4, 3, groups=2)(x) * CHANNELS, {"CONV_2D": 1}),
    "depthwise": (lambda x: layers.DepthwiseConv2D(3)(x) * CHANNELS, {"DEPTHWISE_CONV_2D": 1}),
    "dense, then a sum": (lambda x: layers.Dense(4)(x) * CHANNELS + CHANNELS, {"FULLY_CONNECTED": 1}),
    "scaled and added": (
        lambda x: x + layers.Rescaling(0.17)(layers.Conv2D(4, 1, padding="same")(x)),
        {"CONV_2D": 1, "ADD": 1},
    ),
    "an activation between": (lambda x: layers.Conv2D(4, 3, activation="relu")(x) * 0.2, {"CONV_2D": 1, "MUL": 1}),
    "columns": (lambda x: layers.Conv2D(4, 2)(x) * CHANNELS[:, None], {"CONV_2D": 1, "MUL": 1}),
    "read twice": (lambda x: (y := layers.Conv2D(4, 3)(x)) * 0.2 + y, {"CONV_2D": 1, "MUL": 1, "ADD": 1}),
}


@pytest.mark.parametrize("name", BEHIND)
def test_products_that_stand_behind(name: str) -> None:
    make, kinds = BEHIND[name]
    image = keras.Input((5, 5, 4))
    model = keras.Model(image, make(image))
    randomise(model)
    data = written(model)
    found = operators(data)
    assert {kind: found[kind] for kind in {*kinds, "MUL", "ADD"}} == {"MUL": 0, "ADD": 0} | dict(kinds)
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype("float32")
    for plain in (False, True):
        assert error(model, data, x, plain=plain) < 1e-5


def test_kernels_of_several_products_stay() -> None:
    image, other = keras.Input((5, 5, 4)), keras.Input((5, 5, 4))
    conv = layers.Conv2D(4, 3)
    data = written(keras.Model([image, other], [conv(image) * 2.0, conv(other)]))
    assert operators(data)["MUL"] == 1


def test_kernels_that_are_shared_stay() -> None:
    image = keras.Input((5, 5, 4))
    conv = layers.Conv2D(4, 3)
    model = keras.Model(image, [conv(image * 2.0), conv(image)])
    data = written(model)
    assert operators(data)["MUL"] == 1
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype("float32")
    assert error(model, data, x) < 1e-5


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_dense_layers_regroup_by_themselves(batch_size: int | None, weights: str) -> None:
    image = keras.Input((5, 5, 4))
    model = keras.Model(image, layers.Dense(64)(layers.Flatten()(layers.Conv2D(16, 3)(image * 0.5))))
    data = written(model, batch_size=batch_size, weights=weights)
    assert operators(data)["RESHAPE"] == operators(data)["MUL"] == 0
    x = np.random.default_rng(0).normal(size=(3, 5, 5, 4)).astype("float32")
    assert error(model, data, x) < {"float32": 1e-5, "float16": 2e-3, "int8": 5e-2}[weights]
