"""MACs against TensorFlow's profiler, exactly."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops

from kerasurgeon.costs import cost
from tests.applications import ARCHITECTURES, COMPUTED, SMALLEST, SMALLEST_OTHERWISE
from tests.cost.counting import called
from tests.cost.profiler import profiled, profiled_macs


def build(name: str, larger: int = 0) -> keras.Model:
    """An architecture at its smallest input, or somewhat above. The weights do not matter here."""
    size = SMALLEST_OTHERWISE.get(name, SMALLEST) + larger
    model: keras.Model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    return model


def check(model: keras.Model) -> None:
    found = cost(model)
    assert found.unknown == ()
    assert found.macs == profiled_macs(model)


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", COMPUTED)
def test_spread_of_architectures(name: str) -> None:
    check(build(name, larger=29 if name == "MobileNetV2" else 0))


@pytest.mark.sweep
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name: str) -> None:
    check(build(name))
    keras.utils.clear_session()
    gc.collect()


def image_model(*calls: Callable[[Any], Any]) -> keras.Model:
    def chain(x: Any) -> Any:
        for call in calls:
            x = call(x)
        return x

    return called(chain, (13, 11, 4))


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "call",
    [
        layers.Conv2D(6, (3, 2), strides=(2, 1)),
        layers.Conv2D(8, 3, groups=4, use_bias=False),
        layers.Conv2D(8, 5, groups=2, strides=3, padding="same"),
        layers.DepthwiseConv2D(3, depth_multiplier=3),
        layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2),
        # Keras writes convolutions of sequences as those of images of height 1.
        lambda x: layers.Conv1D(6, 3, strides=2)(x[:, 0]),
        lambda x: layers.DepthwiseConv1D(3, padding="same")(x[:, 0]),
        lambda x: layers.Conv3D(6, 2, padding="same")(ops.expand_dims(x, 1)),
        layers.Dense(7),
        lambda x: layers.EinsumDense("abcd,bde->ace", (None, 5))(x),
        lambda x: ops.einsum("bhwc,bhvc->bwv", x, x),
        lambda x: layers.Dot(axes=-1)([x[:, 0], x[:, 1]]),
        lambda x: ops.tensordot(x, ops.ones((4, 6)), 1),
        lambda x: layers.MultiHeadAttention(2, 3)(x[:, 0], x[:, 1]),
        lambda x: layers.MultiHeadAttention(2, 3, value_dim=5, dropout=0.1, use_gate=True)(x[:, 0], x[:, 1]),
        lambda x: layers.MultiHeadAttention(2, 3, attention_axes=(1,))(x, x),
        lambda x: layers.GroupQueryAttention(3, 4, 2)(x[:, 0], x[:, 1]),
        lambda x: layers.Attention()([x[:, 0], x[:, 1]]),
        lambda x: layers.SimpleRNN(5, unroll=True)(x[:, 0]),
        lambda x: layers.GRU(5, unroll=True)(x[:, 0]),
        lambda x: layers.GRU(5, unroll=True, reset_after=False)(x[:, 0]),
        lambda x: layers.Bidirectional(layers.LSTM(5, unroll=True))(x[:, 0]),
        lambda x: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], unroll=True)(x[:, 0]),
        lambda x: layers.ConvLSTM2D(3, 3, unroll=True, padding="same", strides=2)(ops.stack([x, x], 1)),
        layers.SpectralNormalization(layers.Conv2D(5, 3)),
    ],
    ids=lambda call: type(call).__name__,
)
def test_families(call: Callable[[Any], Any]) -> None:
    check(image_model(call))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_with_same_padding(stride: int) -> None:
    check(image_model(layers.Conv2DTranspose(6, 3, strides=stride, padding="same")))


def test_transposed_with_valid_padding_is_counted_otherwise() -> None:
    """The profiler divides output positions by the strides, which with valid padding are more than the input's.

    Input positions are what is multiplied: 13 x 11, against (27 x 23) / (2 x 2) there.
    """
    model = image_model(layers.Conv2DTranspose(6, 3, strides=2))
    assert cost(model).macs == 13 * 11 * 4 * 6 * 9
    assert profiled(model)["Conv2DBackpropInput"] == 27 * 23 * 4 * 6 * 9 // 4


def test_dilation_is_counted_on_a_padded_image() -> None:
    """TensorFlow takes a dilated convolution apart into 2 x 2 plain ones, each on a quarter of the image.

    It pads 13 x 11 positions to 14 x 12 for that.
    """
    model = image_model(layers.Conv2D(6, 3, padding="same", dilation_rate=2))
    assert cost(model).macs == 13 * 11 * 6 * 9 * 4
    assert profiled(model)["Conv2D"] == 14 * 12 * 6 * 9 * 4


def test_profiler_sees_what_it_counts() -> None:
    """Guards the oracle: an op that it stopped counting would make it agree with too little."""
    counts = profiled(image_model(layers.Conv2D(8, 3, groups=4), layers.DepthwiseConv2D(3), layers.Dense(2)))
    assert {kind: counts[kind] for kind in ("Conv2D", "DepthwiseConv2dNative", "MatMul")} == {
        "Conv2D": 11 * 9 * 8 * 9 * 1,
        "DepthwiseConv2dNative": 9 * 7 * 8 * 9,
        "MatMul": 9 * 7 * 8 * 2,
    }
