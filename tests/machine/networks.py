"""Networks with layers that some machines lack kernels for, and one that none can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from tests.zoo import randomise


def _odd_layer(kind: str, dtype: str) -> tuple[str, Any]:
    """The layout of the network around a layer that needs a rare kernel, and the layer."""
    if kind == "channels_first":
        return kind, layers.Conv2D(8, 3, padding="same", strides=2, data_format=kind, name="odd", dtype=dtype)
    if kind == "dilated_transposed":
        odd = layers.Conv2DTranspose(8, 3, padding="same", dilation_rate=2, name="odd", dtype=dtype)
        return "channels_last", odd
    odd = layers.DepthwiseConv2D(3, padding="same", strides=(2, 1), name="odd", dtype=dtype)
    return "channels_last", odd


def network(kind: str, dtype: str) -> keras.Model:
    """Two convolutions with batch norms, a layer with a rare kernel, a residual block, a classifier."""
    layout, odd = _odd_layer(kind, dtype)
    axis = 1 if layout == "channels_first" else -1

    def conv(filters: int, name: str) -> Any:
        return layers.Conv2D(filters, 3, padding="same", data_format=layout, name=name, dtype=dtype)

    def norm(name: str) -> Any:
        return layers.BatchNormalization(axis=axis, name=name, dtype=dtype)

    # Wider than any layer has channels: Keras adds biases along the last axis where the two agree.
    inputs = keras.Input((3, 12, 22) if axis == 1 else (12, 22, 3), dtype=dtype, name="image")
    x = layers.ReLU(name="first_relu", dtype=dtype)(norm("first_bn")(conv(8, "first")(inputs)))
    x = norm("odd_bn")(odd(x))
    y = layers.ReLU(name="one_relu", dtype=dtype)(norm("one_bn")(conv(8, "one")(x)))
    x = layers.Add(name="add", dtype=dtype)([x, conv(8, "two")(y)])
    x = layers.GlobalAveragePooling2D(data_format=layout, name="pool", dtype=dtype)(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits", dtype=dtype)(x), name=f"{kind}_{dtype}")
    randomise(model)
    return model


def pooled_in_three_dimensions() -> keras.Model:
    """A network that TensorFlow has no kernels for on any processor: 3-D pooling in float64."""
    inputs = keras.Input((6, 6, 6, 2), dtype="float64", name="volume")
    x = layers.Conv3D(6, 3, name="first", dtype="float64")(inputs)
    x = layers.ReLU(name="relu", dtype="float64")(layers.BatchNormalization(name="bn", dtype="float64")(x))
    x = layers.MaxPooling3D(2, name="odd", dtype="float64")(x)
    x = layers.Conv3D(4, 2, name="second", dtype="float64")(x)
    x = layers.GlobalAveragePooling3D(name="pool", dtype="float64")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits", dtype="float64")(x), name="pooled")
    randomise(model)
    return model


@keras.saving.register_keras_serializable("tests_machine")
class Elsewhere(keras.Layer):
    """A layer of a user's that runs on other machines only."""

    def call(self, inputs: Any) -> Any:
        raise NotImplementedError("this layer has a kernel for accelerators only")

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def with_a_layer_from_elsewhere() -> keras.Model:
    """A network that holds a layer which cannot run here, and is plain elsewhere."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
    x = layers.Conv2D(8, 3, padding="same", name="one")(x)
    y = layers.Conv2D(8, 3, padding="same", name="two")(layers.ReLU(name="one_relu")(x))
    x = Elsewhere(name="odd")(layers.Add(name="add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x), name="elsewhere")
    randomise(model)
    return model


UNRUNNABLE: dict[str, Callable[[], keras.Model]] = {
    "pooled": pooled_in_three_dimensions,
    "elsewhere": with_a_layer_from_elsewhere,
}
