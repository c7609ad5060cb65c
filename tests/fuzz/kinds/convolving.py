"""Convolutions, pooling, borders and what changes the size of images."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds.registry import made, ops

ACTIVATIONS = (None, "relu", "tanh", "sigmoid", "silu", "elu", "leaky_relu", "softplus")


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def channels(draw: Draw, x: Live) -> int:
    return x.shape[0 if draw.first else -1]


def data_format(draw: Draw) -> dict[str, Any]:
    return {"data_format": draw.layout} if draw.first or draw.chance(0.2) else {}


def window(draw: Draw, x: Live, *, dilate: bool = True) -> dict[str, Any]:
    """Kernel size, strides or dilation, and padding; equal strides, as TensorFlow asks for in places."""
    rank = x.rank - 2
    options: dict[str, Any] = {
        "kernel_size": draw.pick(1, 2, 3, 3) if draw.chance(0.7) else tuple(draw.whole(1, 3) for _ in range(rank)),
        "padding": draw.pick("same", "same", "valid"),
    }
    if draw.chance(0.25):
        options["strides"] = 2
    elif dilate and draw.chance(0.2):
        options["dilation_rate"] = 2
    return options


@made("Conv1D Conv2D Conv3D")
def convolution(draw: Draw, kind: str, x: Live) -> None:
    options = window(draw, x)
    groups = draw.pick(*divisors(channels(draw, x))) if draw.chance(0.15) else 1
    if kind == "Conv1D" and not draw.first and draw.chance(0.2):
        options["padding"] = "causal"
    if groups > 1:
        options.pop("dilation_rate", None)
        options["groups"] = groups
    draw.layer(
        kind, x, filters=groups * draw.pick(1, 2, 3, 4), use_bias=draw.chance(0.7),
        activation=draw.pick(*ACTIVATIONS), **options, **data_format(draw),
    )  # fmt: skip


@made("Conv1DTranspose Conv2DTranspose Conv3DTranspose")
def transposed(draw: Draw, kind: str, x: Live) -> None:
    options = window(draw, x, dilate=False)
    draw.layer(kind, x, filters=draw.whole(2, 4), activation=draw.pick(*ACTIVATIONS), **options, **data_format(draw))


@made("DepthwiseConv1D DepthwiseConv2D")
def depthwise(draw: Draw, kind: str, x: Live) -> None:
    more = {"depth_multiplier": draw.pick(1, 1, 2, 3), "activation": draw.pick(*ACTIVATIONS)}
    draw.layer(kind, x, **window(draw, x), **more, **data_format(draw))


@made("SeparableConv1D SeparableConv2D")
def separable(draw: Draw, kind: str, x: Live) -> None:
    more = {"depth_multiplier": draw.pick(1, 1, 2), "activation": draw.pick(*ACTIVATIONS)}
    draw.layer(kind, x, filters=draw.whole(2, 5), **window(draw, x), **more, **data_format(draw))


@ops("conv depthwise_conv separable_conv", 3, 4)
def convolution_op(draw: Draw, name: str, x: Live) -> None:
    size = (3,) * (x.rank - 2)
    reads, kernels = channels(draw, x), []
    if name == "conv":
        kernels = [draw.array(*size, reads, draw.whole(2, 4))]
    else:
        kernels = [draw.array(*size, reads, draw.pick(1, 2))]
        if name == "separable_conv":
            kernels.append(draw.array(*[1] * len(size), reads * kernels[0].shape[-1], draw.whole(2, 4)))
    x = draw.op(name, x, *kernels, strides=draw.pick(1, 1, 2), padding=draw.pick("same", "valid"), **data_format(draw))
    draw.op("multiply", x, 0.3)


@made("MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D")
def pooling(draw: Draw, kind: str, x: Live) -> None:
    options = {"pool_size": draw.pick(2, 2, 3), "strides": draw.pick(None, 1, 2), "padding": draw.pick("same", "valid")}
    draw.layer(kind, x, **options, **data_format(draw))


@made(f"Global{way}Pooling{rank}D" for way in ("Max", "Average") for rank in (1, 2, 3))
def global_pooling(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, keepdims=draw.chance(0.3), **data_format(draw))


def smaller(draw: Draw, x: Live) -> int:
    """A size from two to that of each axis: of others Keras makes windows that end TensorFlow's process."""
    least = min(x.shape[1:] if draw.first else x.shape[:-1])
    if least < 2:
        raise Refused("its axes are too short")
    return draw.whole(2, min(3, least))


@made(f"Adaptive{way}Pooling{rank}D" for way in ("Max", "Average") for rank in (1, 2, 3))
def adaptive_pooling(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, output_size=smaller(draw, x), **data_format(draw))


@ops("max_pool average_pool", 3, 4)
def pooling_op(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, 2, strides=draw.pick(1, 2), padding=draw.pick("same", "valid"), **data_format(draw))


@ops("adaptive_average_pool adaptive_max_pool", 3, 4)
def adaptive_pooling_op(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, smaller(draw, x), **data_format(draw))


@made("ZeroPadding1D ZeroPadding2D ZeroPadding3D")
def padding(draw: Draw, kind: str, x: Live) -> None:
    rank = x.rank - 2
    pairs = tuple((draw.whole(0, 1), draw.whole(0, 2)) for _ in range(rank))
    draw.layer(kind, x, padding=draw.pick(1, pairs[0] if rank == 1 else pairs), **data_format(draw))


@made("Cropping1D Cropping2D Cropping3D")
def cropping(draw: Draw, kind: str, x: Live) -> None:
    rank = x.rank - 2
    pairs = tuple((draw.whole(0, 1), draw.whole(0, 1)) for _ in range(rank))
    draw.layer(kind, x, cropping=draw.pick(1, pairs[0] if rank == 1 else pairs), **data_format(draw))


@made("UpSampling1D UpSampling2D UpSampling3D")
def upsampling(draw: Draw, kind: str, x: Live) -> None:
    more = {"interpolation": draw.pick("nearest", "bilinear")} if kind == "UpSampling2D" else {}
    draw.layer(kind, x, size=2, **more, **({} if kind == "UpSampling1D" else data_format(draw)))


@made("Resizing CenterCrop RandomCrop", 4)
def resizing(draw: Draw, kind: str, x: Live) -> None:
    more = {"interpolation": draw.pick("nearest", "bilinear", "bicubic")} if kind == "Resizing" else {}
    draw.layer(kind, x, height=draw.whole(2, 4), width=draw.whole(2, 4), **more, **data_format(draw))


@ops("resize", 4)
def resize_op(draw: Draw, name: str, x: Live) -> None:
    size = (draw.whole(2, 6), draw.whole(2, 6))
    draw.op(name, x, size=size, interpolation=draw.pick("nearest", "bilinear"), **data_format(draw))


@ops("crop_images pad_images", 4)
def borders_op(draw: Draw, name: str, x: Live) -> None:
    key = name.removesuffix("_images").replace("crop", "cropping").replace("pad", "padding")
    sides = {f"{side}_{key}": draw.whole(0, 1) for side in ("top", "left", "bottom", "right")}
    draw.op(name, x, **sides, **data_format(draw))


@ops("depth_to_space", 4)
def depth_to_space(draw: Draw, name: str, x: Live) -> None:
    wide = draw.layer("Conv2D", x, filters=4 * draw.whole(1, 2), kernel_size=1, **data_format(draw))
    draw.op(name, wide, 2, **data_format(draw))


@ops("space_to_depth", 4)
def space_to_depth(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, 2, **data_format(draw))


@ops("extract_patches", 4)
def patches(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.pick(2, (1, 2)), padding=draw.pick("valid", "same"), **data_format(draw))
