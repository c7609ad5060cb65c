"""A classifier of inverted bottlenecks for small images, as MobileNetV2 is one for large images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from kerasurgeon.rewrite.option_checks import check_count, is_number, wrong_option

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""Expansion, channels, blocks and stride of the first block, for each stage: MobileNetV2 with less stride."""


def inverted_bottlenecks(
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    classes: int = 10,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    stages: Sequence[Sequence[int]] = STAGES,
    stem: int = 16,
    stem_stride: int = 1,
    last: int | None = 256,
    dropout: float = 0.2,
    activation: str | None = None,
    momentum: float = 0.99,
    name: str = "inverted_bottlenecks",
) -> keras.Model:
    """A network of inverted bottlenecks with linear projections, for images of some 8 to 96 pixels.

    Blocks are called ``stage2_block1`` and so on; within one, ``_expand``, ``_depthwise``, ``_project`` and, where the
    shapes allow it, ``_add``. The scores come from a layer ``scores``, so that logits can be read where ``activation``
    is softmax.

    Args:
        input_shape: Height, width and channels; height and width may be ``None``.
        classes: How many classes there are.
        width: Channels as a share of those in ``stages``; rounded to multiples of 8.
        depth: Blocks per stage as a share of those in ``stages``, rounded up.
        stages: Expansion, channels, blocks and first stride of each stage.
        stem: Channels of the first convolution, before ``width``.
        stem_stride: Its stride.
        last: Channels of the last 1x1 convolution; ``None`` for none.
        dropout: Share of features dropped in training, before the scores.
        activation: ``"softmax"`` for probabilities, ``None`` for logits.
        momentum: Of the batch norms; short trainings need less than 0.99.
        name: Of the model.

    Raises:
        OptionError: An option cannot be used.

    Reference:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.
    """
    check_count("inverted_bottlenecks", "classes", classes)
    for option, value in (("width", width), ("depth", depth)):
        if not is_number(value) or value <= 0:
            raise wrong_option("inverted_bottlenecks", option, value, "a number above 0")
    if activation not in (None, "softmax"):
        raise wrong_option("inverted_bottlenecks", "activation", activation, "None or 'softmax'")
    for stage in stages:
        if len(stage) != 4 or not all(isinstance(part, int) and part > 0 for part in stage):
            raise wrong_option(
                "inverted_bottlenecks", "stages", stages, "(expansion, channels, blocks, stride) of each"
            )
    image = keras.Input(tuple(input_shape), name="image")
    x = _conv(image, _channels(stem, width), "stem", momentum, kernel=3, stride=stem_stride)
    for number, (expansion, channels, blocks, stride) in enumerate(stages, start=1):
        for block in range(math.ceil(blocks * depth)):
            options = (expansion, _channels(channels, width), stride if block == 0 else 1)
            x = _bottleneck(x, f"stage{number}_block{block + 1}", momentum, *options)
    if last is not None:
        x = _conv(x, _channels(last, max(width, 1.0)), "last", momentum)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(classes, name="scores")(x)
    if activation == "softmax":
        x = layers.Softmax(name="probabilities")(x)
    return keras.Model(image, x, name=name)


def _channels(number: int, width: float) -> int:
    return max(8, int(number * width + 4) // 8 * 8)


def _conv(x: Any, filters: int, name: str, momentum: float, *, kernel: int = 1, stride: int = 1) -> Any:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _bottleneck(x: Any, name: str, momentum: float, expansion: int, channels: int, stride: int) -> Any:
    y = x
    if expansion > 1:
        y = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(y)
        y = layers.BatchNormalization(momentum=momentum, name=f"{name}_expand_bn")(y)
        y = layers.ReLU(6.0, name=f"{name}_expand_relu")(y)
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.BatchNormalization(momentum=momentum, name=f"{name}_depthwise_bn")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(y)
    y = layers.BatchNormalization(momentum=momentum, name=f"{name}_project_bn")(y)
    if stride == 1 and x.shape[-1] == channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y
