"""LR-ASPP: segmentation with a MobileNetV3 and the lightest head that is known to work."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from kerasurgeon.rewrite.option_checks import check_count, wrong_option
from kerasurgeon.workflows.networks.backbones import (
    at_output_stride,
    check_output_stride,
    last_at_stride,
    plain_mobilenet_v3,
)

_LOW_STRIDE = 8
_POOL, _POOL_STRIDES = 13, (4, 5)


def lraspp(
    input_shape: tuple[int, int, int] = (512, 512, 3),
    classes: int = 19,
    *,
    backbone: str = "small",
    output_stride: int = 16,
    alpha: float = 1.0,
    filters: int = 128,
    activation: str | None = None,
    weights: str | None = None,
    minimalistic: bool = False,
    preprocessing: bool = False,
    momentum: float | None = None,
    name: str = "lraspp",
) -> keras.Model:
    """A segmentation model: MobileNetV3 and a LR-ASPP head, one class score per pixel.

    The head has two branches from the last map of the backbone: a 1x1 convolution with batch norm and ReLU, and a gate
    (average pool, 1x1 convolution, hard sigmoid, brought to the map's size). Their product, at an eighth of the image's
    size, and the last map of the backbone that has this size each go through a 1x1 convolution to the classes; the sum
    is brought to the image's size. All resizing is bilinear.

    The gate pools over 13x13 positions in steps of 4 and 5, or over the whole map where it is smaller.

    Args:
        input_shape: Height, width and channels of the images: any height and width from 32, odd and non-square too.
        classes: How many classes there are.
        backbone: ``"small"`` or ``"large"``.
        output_stride: 8, 16 or 32: pixels from one position of the backbone's last map to the next.
        alpha: Width of the backbone.
        filters: Channels of the head.
        activation: ``"softmax"`` for probabilities; ``None`` for logits, which training is more stable with.
        weights: Of the backbone: ``None`` for random ones, ``"imagenet"``, or a file.
        minimalistic: The backbone without squeeze-excite, hard swish and 5x5 kernels.
        preprocessing: Images in [0, 255]; without it in [-1, 1].
        momentum: Of all batch norms; by default 0.999 in the backbone, which is for trainings of many thousand steps,
            and 0.99 in the head.
        name: Of the model.

    Returns:
        A model ``(batch, height, width, channels) -> (batch, height, width, classes)``.

    Raises:
        OptionError: An option cannot be used.

    Reference:
        Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244, section 6.4.
    """
    _check(input_shape, classes, filters, activation)
    check_output_stride("lraspp", output_stride)
    plain = plain_mobilenet_v3(backbone, input_shape, alpha, weights, minimalistic, preprocessing)
    low_name = last_at_stride(plain, _LOW_STRIDE)
    features = at_output_stride(plain, output_stride, momentum)
    low, high = features.get_layer(low_name).output, features.output
    scores = _head(high, low, classes, filters, 0.99 if momentum is None else momentum)
    scores = layers.Resizing(*input_shape[:2], interpolation="bilinear", name="resize_scores")(scores)
    if activation == "softmax":
        scores = layers.Softmax(name="probabilities")(scores)
    return keras.Model(features.input, scores, name=name)


def _head(high: Any, low: Any, classes: int, filters: int, momentum: float) -> Any:
    """The two branches, their product, and the sum with the low-level map."""
    height, width = high.shape[1:3]
    x = layers.Conv2D(filters, 1, use_bias=False, name="head_conv")(high)
    x = layers.BatchNormalization(momentum=momentum, name="head_bn")(x)
    x = layers.ReLU(name="head_relu")(x)
    pool = (min(_POOL, height), min(_POOL, width))
    gate = layers.AveragePooling2D(pool, _POOL_STRIDES, name="gate_pool")(high)
    gate = layers.Conv2D(filters, 1, name="gate_conv")(gate)
    gate = layers.Activation("hard_sigmoid", name="gate_sigmoid")(gate)
    gate = layers.Resizing(height, width, interpolation="bilinear", name="gate_resize")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    if x.shape[1:3] != low.shape[1:3]:
        x = layers.Resizing(*low.shape[1:3], interpolation="bilinear", name="resize_features")(x)
    x = layers.Conv2D(classes, 1, name="high_scores")(x)
    y = layers.Conv2D(classes, 1, name="low_scores")(low)
    return layers.Add(name="scores")([x, y])


def _check(input_shape: Any, classes: Any, filters: Any, activation: Any) -> None:
    sizes = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if len(sizes) != 3 or not all(isinstance(size, int) for size in sizes) or min(sizes[:2]) < 32:
        raise wrong_option(
            "lraspp", "input_shape", input_shape, "(height, width, channels), height and width from 32 on"
        )
    check_count("lraspp", "classes", classes)
    check_count("lraspp", "filters", filters)
    if activation not in (None, "softmax"):
        raise wrong_option("lraspp", "activation", activation, "None or 'softmax'")
