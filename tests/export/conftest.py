from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.zoo import randomise


@pytest.fixture
def small_cnn() -> keras.Model:
    """A convolution, batch norm, an addition and a classifier: enough for every route, and quick."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Add(name="add")([x, keras.layers.DepthwiseConv2D(3, padding="same", name="depth")(x)])
    logits = keras.layers.Dense(5, name="logits")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(image, logits, name="small_cnn")
    randomise(model)
    return model


@pytest.fixture
def two_in_two_out() -> keras.Model:
    """Inputs and outputs as dicts whose keys sort against the order that they are built in."""
    picture = keras.Input((6, 6, 2), name="z_picture")
    meta = keras.Input((4,), name="a_meta")
    x = keras.layers.Flatten()(keras.layers.Conv2D(3, 3, name="conv")(picture))
    first = keras.layers.Dense(4, name="first_head")(x)
    second = keras.layers.Dense(4, name="second_head")(keras.layers.Concatenate()([x, meta]))
    model = keras.Model({"z_picture": picture, "a_meta": meta}, {"zeta": first, "alpha": second}, name="two")
    randomise(model)
    return model


@pytest.fixture
def two_inputs() -> dict[str, np.ndarray]:
    """Inputs for `two_in_two_out`, in its flat order."""
    rng = np.random.default_rng(3)
    return {
        "a_meta": rng.random((3, 4), np.float32),
        "z_picture": rng.random((3, 6, 6, 2), np.float32),
    }


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).random((12, 8, 8, 3), np.float32)
