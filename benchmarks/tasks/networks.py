"""Small networks as they are written everywhere: residual ones over images and series, inverted residuals, GRUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def resnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    size: int = 3,
    strides: int = 1,
) -> keras.Model:
    """Stages of residual blocks with batch norms; every stage but the first halves its input.

    Args:
        shape: Of the input without its batch axis: (height, width, channels), or (steps, channels) for Conv1D.
        classes: How many logits.
        widths: Channels of each stage.
        blocks: Residual blocks in a stage; 1 is a ResNet-8, 3 a ResNet-20, 9 a ResNet-56 with three stages.
        size: Of the kernels.
        strides: Of the first convolution.
    """
    image = keras.Input(shape, name="image")
    x = _conv(image, widths[0], size, strides, "stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            name = f"stage{stage}_{block}"
            y = _conv(x, width, size, strides, f"{name}_a")
            y = _conv(y, width, size, 1, f"{name}_b", activation=None)
            if strides > 1 or x.shape[-1] != width:
                x = _conv(x, width, 1, strides, f"{name}_short", activation=None)
            x = layers.Activation("relu", name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return keras.Model(image, _classes(x, classes), name="resnet_like")


def mobilenet(
    shape: tuple[int, ...],
    classes: int,
    *,
    stem: tuple[int, int] = (16, 1),
    blocks: Sequence[tuple[int, int]] = ((16, 1), (24, 2), (24, 1), (48, 2), (48, 1), (48, 1)),
    head: int = 96,
) -> keras.Model:
    """Inverted residuals with depthwise convolutions, batch norms and relu6.

    Args:
        shape: Of the input without its batch axis: (height, width, channels).
        classes: How many logits.
        stem: Width and strides of the first convolution.
        blocks: Width and strides of each inverted residual, which is four times as wide inside as its input.
        head: Width of the last convolution.
    """
    image = keras.Input(shape, name="image")
    x = _conv(image, stem[0], 3, stem[1], "stem", activation="relu6")
    for place, (width, strides) in enumerate(blocks):
        name, before = f"block{place}", x.shape[-1]
        y = _conv(x, 4 * before, 1, 1, f"{name}_expand", activation="relu6")
        y = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
        y = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_bn")(y)
        y = layers.Activation("relu6", name=f"{name}_depthwise_relu")(y)
        y = _conv(y, width, 1, 1, f"{name}_project", activation=None)
        x = layers.Add(name=f"{name}_add")([x, y]) if strides == 1 and before == width else y
    x = _conv(x, head, 1, 1, "head", activation="relu6")
    return keras.Model(image, _classes(x, classes), name="mobilenet_like")


def gru(shape: tuple[int, ...], classes: int, *, width: int = 48) -> keras.Model:
    """A convolution that halves the steps, and two GRUs, one after the other."""
    series = keras.Input(shape, name="series")
    x = _conv(series, 24, 5, 2, "stem")
    x = layers.GRU(width, return_sequences=True, name="first")(x)
    x = layers.GRU(width, name="second")(x)
    return keras.Model(series, layers.Dense(classes, name="digit")(x), name="gru_like")


def _conv(x: Any, filters: int, size: int, strides: int, name: str, *, activation: str | None = "relu") -> Any:
    kind = layers.Conv1D if len(x.shape) == 3 else layers.Conv2D
    x = kind(filters, size, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def _classes(x: Any, classes: int) -> Any:
    pool = layers.GlobalAveragePooling1D if len(x.shape) == 3 else layers.GlobalAveragePooling2D
    return layers.Dense(classes, name="digit")(pool(name="pool")(x))
