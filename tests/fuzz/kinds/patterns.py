"""Calls that belong together: what passes look for, and what networks are made of. Their names are no kinds."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import Draw, Live
from tests.fuzz.kinds.convolving import ACTIVATIONS, channels, data_format, divisors
from tests.fuzz.kinds.registry import made


def convolved(draw: Draw, x: Live, filters: int, size: int = 3, **options: Any) -> Live:
    if x.rank == 4:
        more: dict[str, Any] = {"padding": "same", **data_format(draw), **options}
        return draw.layer("Conv2D", x, filters=filters, kernel_size=size, **more)
    return draw.layer("Dense", x, units=filters, **options)


@made("normed", 2, 4)
def normed(draw: Draw, kind: str, x: Live) -> None:
    """A layer with weights and a batch norm, before or behind it."""
    axis = draw.axis if x.rank > 2 else -1
    norm: dict[str, Any] = {"axis": axis, "scale": draw.chance(0.8)}
    if draw.chance(0.3):
        x = draw.layer("BatchNormalization", x, **norm)
        convolved(draw, x, draw.whole(2, 4), draw.pick(1, 3), padding="valid") if x.rank == 4 else convolved(draw, x, 3)
        return
    if x.rank == 4 and draw.chance(0.4):
        way = draw.pick("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
        more: dict[str, Any] = {} if way == "DepthwiseConv2D" else {"filters": draw.whole(2, 4)}
        x = draw.layer(way, x, kernel_size=3, padding="same", **more, **data_format(draw))
    else:
        x = convolved(draw, x, draw.whole(2, 4), use_bias=draw.chance(0.5))
    draw.layer("ReLU", draw.layer("BatchNormalization", x, **norm))


@made("linear", 2, 3, 4)
def linear(draw: Draw, kind: str, x: Live) -> None:
    """Two layers in a row with nothing between them, the first one wider or not."""
    if x.rank == 4:
        wide = convolved(draw, x, draw.whole(2, 8), 1, use_bias=draw.chance(0.7))
        convolved(draw, wide, draw.whole(2, 3), draw.pick(1, 3))
    else:
        draw.layer("Dense", draw.layer("Dense", x, units=draw.whole(2, 12)), units=draw.whole(2, 3))


@made("undone", 3, 4)
def undone(draw: Draw, kind: str, x: Live) -> None:
    """What does nothing in inference, or is undone by the next layer."""
    way = draw.whole(0, 3)
    if way == 0:
        draw.layer("Dropout", draw.layer("Activation", x, activation="linear"), rate=0.3)
    elif way == 1:
        flat = draw.layer("Flatten", x)
        draw.layer("Reshape", draw.layer("Reshape", flat, target_shape=(1, *flat.shape)), target_shape=x.shape)
    elif way == 2:
        draw.op("multiply", draw.op("add", x, 0.0), 1.0)
    else:
        axes = tuple(reversed(range(1, x.rank)))
        draw.layer("Permute", draw.layer("Permute", x, dims=axes), dims=axes)


@made("bordered", 4)
def bordered(draw: Draw, kind: str, x: Live) -> None:
    """A border of zeros, or a scale, before a convolution."""
    if draw.chance(0.6):
        x = draw.layer("ZeroPadding2D", x, padding=draw.pick(1, ((0, 1), (1, 0))), **data_format(draw))
    else:
        x = draw.layer("Rescaling", x, scale=0.5, offset=draw.pick(0.0, 0.3))
    convolved(draw, x, draw.whole(2, 4), padding="valid", activation=draw.pick(*ACTIVATIONS))


@made("residual", 3, 4)
def residual(draw: Draw, kind: str, x: Live) -> None:
    """A sum with what a branch makes of the tensor; the branch may be several layers, or scaled."""
    branch = convolved(draw, x, draw.whole(2, 6), activation=draw.pick(*ACTIVATIONS))
    if draw.chance(0.4):
        branch = convolved(draw, branch, draw.whole(2, 6), use_bias=draw.chance(0.5))
    branch = convolved(draw, branch, x.shape[0 if draw.first and x.rank == 4 else -1], 1)
    if draw.chance(0.2):
        branch = draw.op("multiply", branch, 0.5)
    draw.layer("Add", [x, branch])


@made("gated", 4)
def gated(draw: Draw, kind: str, x: Live) -> None:
    """Squeeze and excite."""
    width = channels(draw, x)
    squeezed = draw.layer("GlobalAveragePooling2D", x, keepdims=False, **data_format(draw))
    gate = draw.layer(
        "Dense", draw.layer("Dense", squeezed, units=2, activation="relu"), units=width, activation="sigmoid"
    )
    shape = (width, 1, 1) if draw.first else (1, 1, width)
    draw.layer("Multiply", [x, draw.layer("Reshape", gate, target_shape=shape)])


@made("shuffled", 4)
def shuffled(draw: Draw, kind: str, x: Live) -> None:
    """Channels in groups, groups and channels swapped."""
    if draw.first:
        x = draw.layer("Permute", x, dims=(2, 3, 1))
    height, width, size = x.shape
    groups = draw.pick(*divisors(size))
    split = draw.op("reshape", x, (-1, height, width, groups, size // groups))
    draw.op("reshape", draw.op("transpose", split, (0, 1, 2, 4, 3)), (-1, height, width, size))


@made("mixed", 3)
def mixed(draw: Draw, kind: str, x: Live) -> None:
    """Steps mixed by layers that stand on their heads."""
    steps = draw.layer("Permute", x, dims=(2, 1))
    hidden = draw.layer("Dense", steps, units=draw.pick(2, 5), activation="tanh")
    draw.layer("Permute", draw.layer("Dense", hidden, units=x.shape[0]), dims=(2, 1))
