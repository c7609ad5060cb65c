"""Batch norms that follow one another, as they do where a block that ends in one takes the place of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.export import test_onnx_writer as onnx
from tests.export import test_tflite_writer as tflite
from tests.zoo.sampling import randomise

ROWS = {
    "two behind a layer": ["conv", "norm", "norm"],
    "three behind a layer": ["conv", "norm", "norm", "norm"],
    "two before one": ["norm", "norm", "conv"],
    "between two": ["conv", "norm", "norm", "conv", "norm", "norm"],
    "the last is the output": ["conv", "norm", "norm", "output"],
    "with an activation between": ["conv", "norm", "relu", "norm", "norm", "depthwise", "norm", "norm"],
    "with what is frozen between": ["conv", "norm", "frozen", "norm", "dropout", "norm"],
}


def row(names: Sequence[str]) -> keras.Model:
    make: dict[str, Any] = {
        "conv": lambda: layers.Conv2D(5, 3),
        "depthwise": lambda: layers.DepthwiseConv2D(3),
        "norm": layers.BatchNormalization,
        "frozen": lambda: layers.BatchNormalization(trainable=False),
        "relu": layers.ReLU,
        "dropout": lambda: layers.Dropout(0.5),
    }
    x = image = keras.Input((9, 9, 3), name="image")
    for name in names:
        x = make[name]()(x) if name != "output" else x
    x = x if names[-1] == "output" else layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    randomise(model, 0)
    return model


@pytest.mark.parametrize("names", ROWS.values(), ids=ROWS)
def test_both_files(names: list[str]) -> None:
    model = row(names)
    images = np.random.default_rng(1).normal(size=(2, 9, 9, 3)).astype("float32")
    assert onnx.error(model, onnx.written(model), images) < 1e-5
    assert tflite.error(model, tflite.written(model, batch_size=2), images) < 1e-5
