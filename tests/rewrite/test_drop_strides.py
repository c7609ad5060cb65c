"""Strides taken out, nothing dilated: the network that has the same weights and was written without them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon import emit, lift
from kerasurgeon.authoring import drop_strides
from kerasurgeon.errors import GraphError, OptionError

layers = keras.layers
SAME: dict[str, Any] = {"padding": "same", "use_bias": False}


def bottlenecks(strides: tuple[int, int, int], pad: int = 0) -> keras.Model:
    """The ways to bring a size down: by "same", behind padding as MobileNets have it, and by sums of two branches."""
    image = keras.Input((16, 16, 2))
    x = layers.Conv2D(4, 3, strides=strides[0], name="stem", **SAME)(image)
    x = layers.ZeroPadding2D(((pad, 1), (pad, 1)), name="pad")(x)
    x = layers.DepthwiseConv2D(3, strides=strides[1], name="depthwise")(x)
    y = layers.Conv2D(6, 5, strides=strides[2], name="branch", **SAME)(x)
    shortcut = layers.Conv2D(6, 1, strides=strides[2], name="shortcut", **SAME)(x)
    x = layers.MaxPooling2D(3, strides=1, padding="same")(layers.Add()([y, shortcut]))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU(name="map")(x))))


@pytest.mark.parametrize(
    ("count", "strides", "pad", "size"), [(1, (1, 2, 2), 0, 4), (2, (1, 1, 2), 1, 8), (3, (1, 1, 1), 1, 16)]
)
def test_the_first_strides_go(count: int, strides: tuple[int, int, int], pad: int, size: int) -> None:
    model, expected = bottlenecks((2, 2, 2)), bottlenecks(strides, pad)
    expected.set_weights(model.get_weights())
    graph = lift(model)
    done = drop_strides(graph, count)
    found = emit(graph)
    assert found.get_layer("map").output.shape[1:3] == (size, size)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 2)).astype("float32")
    np.testing.assert_array_equal(np.asarray(found(images)), np.asarray(expected(images)))
    names = ["stem", "pad", "depthwise", "branch", "shortcut"]
    assert set(done) == set(names[: [1, 3, 5][count - 1]])


def test_poolings_lose_theirs_and_unpadded_maps_keep_their_border() -> None:
    def network(first: int, second: int) -> keras.Model:
        image = keras.Input((15, 15, 1))
        x = layers.Conv2D(3, 3, strides=first)(image)
        return keras.Model(image, layers.AveragePooling2D(2, strides=second, padding="same")(x))

    model, expected = network(2, 2), network(1, 1)
    expected.set_weights(model.get_weights())
    graph = lift(model)
    drop_strides(graph, 2)
    images = np.random.default_rng(0).normal(size=(2, 15, 15, 1)).astype("float32")
    np.testing.assert_allclose(emit(graph)(images), expected(images), rtol=1e-6)
    assert expected.output_shape == (None, 13, 13, 3)


def test_what_cannot_be_done_is_said_and_nothing_changed() -> None:
    graph = lift(bottlenecks((2, 2, 2)))
    with pytest.raises(GraphError, match="up to 3 strides"):
        drop_strides(graph, 4)
    for count in (0, -1, True, 1.5):
        with pytest.raises(OptionError, match="whole number from 1"):
            drop_strides(graph, count)  # type: ignore[arg-type]
    image = keras.Input((8, 8, 2))
    flat = layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3, strides=2, name="down")(image)))
    graph = lift(keras.Model(image, flat))
    with pytest.raises(GraphError, match="needs the sizes"):
        drop_strides(graph, 1)
    assert tuple(graph.layer_of("down").config["strides"]) == (2, 2)
    shared = layers.Conv2D(2, 3, strides=2, padding="same", name="both")
    graph = lift(keras.Model(image, shared(shared(image))))
    with pytest.raises(GraphError, match="another layer or call"):
        drop_strides(graph, 1)
