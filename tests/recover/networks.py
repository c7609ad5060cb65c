"""A small residual network, the same with a bridge in place of its first blocks, and data to train them with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import kerasurgeon as ks
from tests.zoo.sampling import randomise

layers = keras.layers
Array = np.ndarray[Any, Any]
CLASSES = 3


def residual(blocks: int = 3, *, fused: bool = True, drop: float = 0.0) -> keras.Model:
    """Blocks of convolution, batch norm and addition; ends in a softmax, within the last layer or behind it."""
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    for block in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", name=f"b{block}_conv")(x)
        y = layers.ReLU(name=f"b{block}_relu")(layers.BatchNormalization(name=f"b{block}_bn")(y))
        x = layers.Add(name=f"b{block}_add")([x, y])
    x = layers.Dropout(drop, name="drop")(layers.GlobalAveragePooling2D(name="pool")(x))
    if fused:
        x = layers.Dense(CLASSES, activation="softmax", name="scores")(x)
    else:
        x = layers.Softmax(name="scores")(layers.Dense(CLASSES, name="logits")(x))
    model = keras.Model(inputs, x, name="residual")
    randomise(model)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def bridged(
    model: keras.Model, entry: str = "stem_bn", exit: str = "b0_add", *, norm: bool = True
) -> tuple[keras.Model, ks.Bridge]:
    """The network with a convolution, and a batch norm, between two of its tensors."""

    def bridge(tensor: Any) -> Any:
        made = layers.Conv2D(4, 1, name="bridge_conv")(tensor)
        return layers.BatchNormalization(name="bridge_bn")(made) if norm else made

    graph = ks.lift(model)
    old = {node.name for node in graph.nodes()} - {exit}
    ks.replace_region(graph, entry, exit, bridge)
    new = tuple(node.name for node in graph.nodes() if node.name not in old)
    return ks.emit(graph), ks.Bridge("bridge", entry, exit, new)


def images(count: int = 32, seed: int = 0) -> tuple[Array, Array]:
    """Images and class numbers."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, 6, 6, 3)).astype("float32"), generator.integers(0, CLASSES, count)


def weights(model: keras.Model) -> dict[str, Array]:
    """Copies of all weights by path."""
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


def assert_same_weights(one: dict[str, Array], other: dict[str, Array]) -> None:
    """Both hold the same numbers, bit by bit."""
    assert one.keys() == other.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, other[path], err_msg=path)
