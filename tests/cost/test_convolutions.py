"""MACs of convolutions against loops and products written out here."""

from __future__ import annotations

from math import prod
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.costs import cost
from tests.cost.counting import called, macs_of, positions

SIZES = (11, 9, 7)
STEPS = [(1, 1), (2, 1), (3, 1), (1, 2)]  # stride, dilation: Keras has not both at once


def shaped(rank: int, channels: int, data_format: str) -> tuple[int, ...]:
    sizes = SIZES[:rank]
    return (channels, *sizes) if data_format == "channels_first" else (*sizes, channels)


def out_positions(rank: int, kernel: int, stride: int, padding: str, dilation: int) -> int:
    return prod(positions(size, kernel, stride, padding, dilation) for size in SIZES[:rank])


@pytest.mark.spread(12)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("stride", "dilation"), STEPS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution(
    rank: int, stride: int, dilation: int, padding: str, groups: int, data_format: str, use_bias: bool
) -> None:
    cls = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    layer = cls(
        8,
        3,
        strides=stride,
        dilation_rate=dilation,
        padding=padding,
        groups=groups,
        data_format=data_format,
        use_bias=use_bias,
    )
    expected = out_positions(rank, 3, stride, padding, dilation) * 8 * 3**rank * (4 // groups)
    assert macs_of(layer, shaped(rank, 4, data_format)) == expected


def test_convolution_counted_one_product_at_a_time() -> None:
    """The formula against a convolution in plain Python that counts what it multiplies."""
    height, width, channels, filters, kernel = 6, 5, 3, 4, (3, 2)
    count = 0
    for _row in range(0, height - kernel[0] + 1, 2):
        for _column in range(width - kernel[1] + 1):
            for _filter in range(filters):
                for _y in range(kernel[0]):
                    for _x in range(kernel[1]):
                        count += channels
    layer = layers.Conv2D(filters, kernel, strides=(2, 1))
    assert macs_of(layer, (height, width, channels)) == count


def test_causal_convolution_counts_padding_too() -> None:
    assert macs_of(layers.Conv1D(5, 3, padding="causal", dilation_rate=2), (11, 4)) == 11 * 5 * 3 * 4


@pytest.mark.spread(2)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("stride", "dilation"), STEPS)
@pytest.mark.parametrize("rank", [1, 2])
def test_depthwise_and_separable(
    rank: int, stride: int, dilation: int, padding: str, multiplier: int, data_format: str
) -> None:
    options: dict[str, Any] = {
        "strides": stride,
        "dilation_rate": dilation,
        "padding": padding,
        "depth_multiplier": multiplier,
        "data_format": data_format,
    }
    depthwise = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}[rank](3, **options)
    separable = {1: layers.SeparableConv1D, 2: layers.SeparableConv2D}[rank](5, 3, **options)
    where = out_positions(rank, 3, stride, padding, dilation)
    shape = shaped(rank, 4, data_format)
    assert macs_of(depthwise, shape) == where * 4 * multiplier * 3**rank
    assert macs_of(separable, shape) == where * 4 * multiplier * 3**rank + where * 4 * multiplier * 5


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed(rank: int, stride: int, padding: str, data_format: str) -> None:
    cls = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}[rank]
    layer = cls(5, 2, strides=stride, padding=padding, data_format=data_format)
    expected = prod(SIZES[:rank]) * 4 * 5 * 2**rank
    assert macs_of(layer, shaped(rank, 4, data_format)) == expected


def test_convolution_ops() -> None:
    def kernel(*shape: int) -> np.ndarray[Any, Any]:
        return np.ones(shape, "float32")

    image = (8, 6, 4)
    assert macs_of(lambda x: ops.conv(x, kernel(3, 3, 4, 5), strides=2, padding="same"), image) == (4 * 3 * 5 * 9 * 4)
    assert macs_of(lambda x: ops.depthwise_conv(x, kernel(3, 2, 4, 2), padding="valid"), image) == (6 * 5 * 8 * 6)
    assert macs_of(
        lambda x: ops.separable_conv(x, kernel(3, 3, 4, 2), kernel(1, 1, 8, 5), padding="same"), image
    ) == 48 * (8 * 9 + 8 * 5)
    assert macs_of(lambda x: ops.conv_transpose(x, kernel(2, 2, 5, 4), strides=2, padding="same"), image) == (
        48 * 4 * 5 * 4
    )


def test_channels_first_op() -> None:
    model = called(lambda x: ops.conv(x, np.ones((3, 3, 4, 5), "float32"), data_format="channels_first"), (4, 8, 6))
    assert cost(model).macs == 6 * 4 * 5 * 9 * 4


def test_weight_of_another_layer_as_kernel() -> None:
    """A weight used as an operand is a tensor like any other."""
    inputs = keras.Input((8, 8, 4))
    layer = layers.Conv2D(5, 3, padding="same")
    first = layer(inputs)
    second = ops.conv(inputs, layer.kernel, padding="valid")
    found = cost(keras.Model(inputs, [first, second]))
    assert found.macs == 64 * 5 * 9 * 4 + 36 * 5 * 9 * 4
