"""Translators: a pooling, where sizes differ, and a 1x1 convolution from the channels of one layer to those of another.

Source: Camacho et al., "Neuroplasticity-Based Pruning Method for Deep Convolutional Neural Networks", Applied Sciences
12 (2022), 4945.
"""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.blocks.geometry import Geometry


def translator(geometry: Geometry, seed: int = 0, activation: Any = "relu") -> keras.Model:
    """Build a translator with fresh weights.

    Where a size of the entry is a multiple of the exit's, the pooling's window is its stride; otherwise the stride is
    rounded up, or down if the window would vanish, and the window is what is left of the image before the last step.

    Args:
        geometry: What it must do.
        seed: The same seed, the same weights.
        activation: Activation of the convolution, as Keras takes it; ``None`` for none.
    """
    layout = {"data_format": geometry.data_format, "dtype": geometry.policy}
    inputs = keras.Input(batch_shape=geometry.entry.shape, dtype=geometry.entry.dtype, name="entry")
    x = inputs
    windows = [
        pooling(size, wanted, stride)
        for size, wanted, stride in zip(geometry.size_in, geometry.size_out, geometry.strides, strict=True)
    ]
    if any(window != (1, 1) for window in windows):
        (high, down), (wide, across) = windows
        # Sizes that are not known until run time: rounded up, as layers with padding 'same' do.
        known = None not in (*geometry.size_in, *geometry.size_out)
        padding = "valid" if known else "same"
        x = keras.layers.MaxPooling2D((high, wide), (down, across), padding, name="pool", **layout)(x)
    kernel = keras.initializers.HeNormal(seed=seed % 2**31)
    x = keras.layers.Conv2D(
        geometry.outputs, 1, activation=activation, kernel_initializer=kernel, name="conv", **layout
    )(x)
    return keras.Model(inputs, x, name="translator")


def pooling(size: int | None, wanted: int | None, stride: int) -> tuple[int, int]:
    """Window and stride of a pooling without padding that makes one size of another.

    Args:
        size: The size that there is; ``None`` where open.
        wanted: The size that it is to make.
        stride: The stride where one of them is open.
    """
    if size is None or wanted is None:
        return stride, stride
    if size % wanted == 0:
        return size // wanted, size // wanted
    up = -(-size // wanted)
    step = up if size - up * (wanted - 1) >= 1 else size // wanted
    return size - step * (wanted - 1), step


__all__ = ["pooling", "translator"]
