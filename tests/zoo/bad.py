"""Things that must be refused, each with one clear error."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.zoo.registry import Tensor, vector


class Subclassed(keras.Model):
    """No functional graph: its computation is Python code, of which a part is no layer and no op."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.dense = layers.Dense(3)

    def call(self, inputs: Tensor) -> Tensor:
        self.add_loss(keras.ops.sum(inputs))
        return self.dense(inputs)


def subclassed_model() -> Any:
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


def unbuilt_subclassed_model() -> Any:
    return Subclassed()


def unbuilt_sequential() -> Any:
    return keras.Sequential([layers.Dense(3)], name="unbuilt")


def empty_sequential() -> Any:
    return keras.Sequential(name="empty")


def nan_weights() -> Any:
    inputs = vector()
    model = keras.Model(inputs, layers.Dense(3, name="broken")(inputs), name="nan_weights")
    kernel = model.get_layer("broken").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[0, 0] = np.nan
    kernel.assign(values)
    return model


def infinite_weights() -> Any:
    model = nan_weights()
    model.get_layer("broken").kernel.assign(np.full((6, 3), np.inf, "float32"))
    return model


def layer_only() -> Any:
    return layers.Dense(3)


def symbolic_tensor() -> Any:
    return vector()


def path_to_nothing() -> Any:
    return "no_such_model.keras"


def nothing() -> Any:
    return None


BAD: dict[str, Callable[[], object]] = {
    builder.__name__: builder
    for builder in (
        subclassed_model,
        unbuilt_subclassed_model,
        unbuilt_sequential,
        empty_sequential,
        nan_weights,
        infinite_weights,
        layer_only,
        symbolic_tensor,
        path_to_nothing,
        nothing,
    )
}
