"""Small networks for the tests of blocks, and what bridges compute, in numpy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]


def residual_net(size: Any = (16, 16), *, data_format: str = "channels_last", dtype: Any = None) -> keras.Model:
    """A stem, three blocks of which the second strides and the others are residual, and a head."""
    axis = 1 if data_format == "channels_first" else -1
    shape = (3, *size) if axis == 1 else (*size, 3)

    def conv(x: Any, filters: int, name: str, stride: Any = 1, kernel: int = 3) -> Any:
        x = keras.layers.Conv2D(
            filters, kernel, stride, "same", use_bias=False, data_format=data_format, dtype=dtype, name=name
        )(x)
        return keras.layers.BatchNormalization(axis, name=f"{name}_bn", dtype=dtype)(x)

    def relu(x: Any, name: str) -> Any:
        return keras.layers.ReLU(name=name, dtype=dtype)(x)

    inputs = keras.Input(shape, name="image")
    x = relu(conv(inputs, 8, "stem"), "stem_relu")
    y = conv(relu(conv(x, 8, "block1_a"), "block1_relu"), 8, "block1_b")
    x = keras.layers.Add(name="block1_add", dtype=dtype)([x, y])
    x = conv(relu(conv(x, 12, "block2_a", 2), "block2_relu"), 12, "block2_b")
    y = conv(relu(conv(x, 12, "block3_a"), "block3_relu"), 12, "block3_b")
    x = keras.layers.Add(name="block3_add", dtype=dtype)([x, y])
    x = relu(conv(x, 16, "head", kernel=1), "head_relu")
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format, name="pool", dtype=dtype)(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="scores", dtype="float32")(x), name="residual_net")


def pointwise(x: Array, kernel: Array, bias: Array | float = 0.0) -> Array:
    """A 1x1 convolution over (batch, height, width, channels)."""
    result: Array = np.einsum("bhwi,io->bhwo", x, kernel[0, 0]) + bias
    return result


def depthwise(x: Array, kernel: Array, strides: Any, dilation: Any, same: Any) -> Array:
    """A 3x3 depthwise convolution; kernel (3, 3, channels, 1)."""
    pads = []
    for size, stride, rate, pad in zip(x.shape[1:3], strides, dilation, same, strict=True):
        total = max((-(-size // stride) - 1) * stride + 2 * rate + 1 - size, 0) if pad else 0
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    height = (x.shape[1] - 2 * dilation[0] - 1) // strides[0] + 1
    width = (x.shape[2] - 2 * dilation[1] - 1) // strides[1] + 1
    result = np.zeros((x.shape[0], height, width, x.shape[3]))
    for row in range(3):
        for column in range(3):
            top, left = row * dilation[0], column * dilation[1]
            taken = x[:, top : top + height * strides[0] : strides[0], left : left + width * strides[1] : strides[1]]
            result += taken[:, :height, :width] * kernel[row, column, :, 0]
    return result


def norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:
    """Batch norm in inference, with the epsilon of shunts."""
    result: Array = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return result


def relu6(x: Array) -> Array:
    result: Array = np.clip(x, 0.0, 6.0)
    return result


def excite(x: Array, weights: list[Array]) -> Array:
    """Squeeze-and-excite: mean, ReLU, hard sigmoid."""
    squeeze, squeeze_bias, expand, expand_bias = weights
    gate = x.mean(axis=(1, 2), keepdims=True)
    gate = np.maximum(pointwise(gate, squeeze, squeeze_bias), 0.0)
    gate = np.clip(pointwise(gate, expand, expand_bias) / 6.0 + 0.5, 0.0, 1.0)
    result: Array = x * gate
    return result
