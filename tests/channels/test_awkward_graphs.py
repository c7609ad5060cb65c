"""Graphs that pruning libraries get wrong or refuse: each gives the right cut, or the right reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.keras_io import lift
from kerasurgeon.rules.reasons import Reason
from tests.channels.building import Case, array, assert_case, conv, dense, free, image, reasons, steps


def norm(value: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(value))


def head(value: Any, units: int = 2) -> Any:
    return dense(units)(layers.GlobalAveragePooling2D()(value))


def net(body: Callable[[Any], Any], *shape: int) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        inputs = keras.Input(shape or (6, 6, 3))
        return keras.Model(inputs, keras.tree.map_structure(head, body(inputs)))

    return build


def shuffle(value: Any, groups: int) -> Any:
    height, width, channels = value.shape[1:]
    value = ops.reshape(value, (-1, height, width, groups, channels // groups))
    return ops.reshape(ops.transpose(value, (0, 1, 2, 4, 3)), (-1, height, width, channels))


def shuffle_unit(inputs: Any) -> Any:
    """ShuffleNet v2: half of the channels pass, half go through convolutions, then all are shuffled."""
    value = conv(8, name="stem")(inputs)
    for number in (1, 2):
        passed, worked = ops.split(value, 2, axis=-1)
        worked = norm(conv(4, 1, f"in{number}")(worked))
        worked = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(worked))
        value = shuffle(ops.concatenate([passed, norm(conv(4, 1, f"out{number}")(worked))], axis=-1), 2)
    return norm(conv(6, 1, "last")(value))


def shuffle_v1(inputs: Any) -> Any:
    """ShuffleNet v1: grouped convolutions with a shuffle between them."""
    value = shuffle(norm(conv(8, 1, "one", groups=2)(conv(6, 1, "stem")(inputs))), 2)
    return norm(conv(8, 1, "two", groups=2)(value))


def windows(length: int, size: int, units: int) -> Callable[[Any], Any]:
    """A Swin block: rolled windows, attention with one Dense for queries, keys and values, and back."""
    count, heads, width = length // size, 2, units // 2

    def block(inputs: Any) -> Any:
        value = conv(units, 1, "embed")(inputs)
        rolled = ops.roll(value, (-1, -1), axis=(1, 2))
        cut = ops.reshape(rolled, (-1, count, size, count, size, units))
        cut = ops.reshape(ops.transpose(cut, (0, 1, 3, 2, 4, 5)), (-1, size * size, units))
        qkv = ops.reshape(dense(3 * units, "qkv")(cut), (-1, size * size, 3, heads, width))
        query, key, content = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3, axis=0)
        weights = ops.softmax(ops.matmul(query * 0.5, ops.transpose(key, (0, 1, 3, 2))) + array(heads, 1, 1))
        mixed = ops.reshape(ops.transpose(ops.matmul(weights, content), (0, 2, 1, 3)), (-1, size * size, units))
        made = ops.reshape(dense(units, "project")(mixed), (-1, count, count, size, size, units))
        made = ops.reshape(ops.transpose(made, (0, 1, 3, 2, 4, 5)), (-1, length, length, units))
        value = value + ops.roll(made, (1, 1), axis=(1, 2))
        return value + dense(units, "down")(dense(10, "up", activation="gelu")(value))

    return block


def items_of_qkv(inputs: Any) -> Any:
    """The same split by indices, as ViTs do it."""
    tokens = layers.Reshape((36, 8))(conv(8, 1, "embed")(inputs))
    qkv = ops.transpose(ops.reshape(dense(24, "qkv")(tokens), (-1, 36, 3, 2, 4)), (2, 0, 3, 1, 4))
    weights = ops.softmax(ops.einsum("bhid,bhjd->bhij", qkv[0], qkv[1]))
    mixed = ops.reshape(ops.swapaxes(ops.einsum("bhij,bhjd->bhid", weights, qkv[2]), 1, 2), (-1, 36, 8))
    return layers.Reshape((6, 6, 8))(tokens + dense(8, "project")(mixed))


def pixel_shuffle(inputs: Any) -> Any:
    value = layers.Reshape((6, 6, 2, 2, 3))(conv(12, name="one")(inputs))
    return conv(4, name="two")(layers.Reshape((12, 12, 3))(layers.Permute((1, 3, 2, 4, 5))(value)))


def gate_by_reshape(inputs: Any) -> Any:
    value = conv(8, name="one")(inputs)
    squeezed = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(value))
    return value * conv(8, 1, "excite", activation="sigmoid")(conv(3, 1, "squeeze", activation="relu")(squeezed))


def gate_by_mean(inputs: Any) -> Any:
    value = conv(8, name="one")(inputs)
    squeezed = dense(3, "squeeze", activation="relu")(ops.mean(value, axis=(1, 2)))
    return value * ops.expand_dims(dense(8, "excite", activation="hard_sigmoid")(squeezed), (1, 2))


def hrnet(inputs: Any) -> Any:
    """Two resolutions that are exchanged and summed."""
    fine, coarse = conv(6, name="fine")(inputs), conv(8, name="coarse", strides=2)(inputs)
    to_fine = layers.UpSampling2D()(layers.BatchNormalization()(conv(6, 1, "up")(coarse)))
    to_coarse = layers.BatchNormalization()(conv(8, name="down", strides=2)(fine))
    return [norm(fine + to_fine), norm(coarse + to_coarse)]


def nasnet_cell(inputs: Any) -> Any:
    """Separable convolutions, poolings, sums of pairs and one concatenation, over two earlier cells."""
    before, now = conv(6, 1, "before")(inputs), conv(6, 1, "now")(layers.ReLU()(conv(5, name="stem")(inputs)))

    def separable(value: Any, name: str) -> Any:
        made = layers.SeparableConv2D(6, 3, padding="same", use_bias=False, name=name)(layers.ReLU()(value))
        return layers.BatchNormalization()(made)

    one = separable(now, "s1") + separable(before, "s2")
    two = layers.AveragePooling2D(3, 1, "same")(now) + before
    three = layers.MaxPooling2D(3, 1, "same")(before) + separable(now, "s3")
    return ops.concatenate([before, one, two, three, separable(two, "s4")], axis=-1)


def grouped_concat(inputs: Any) -> Any:
    one, two = conv(4, name="one")(inputs), conv(8, name="two")(inputs)
    return norm(conv(6, name="three", groups=3)(layers.BatchNormalization()(ops.concatenate([one, two], axis=-1))))


def preactivated(inputs: Any) -> Any:
    value = conv(8, name="stem")(inputs)
    for number in (1, 2):
        value = value + conv(8, name=f"b{number}")(norm(conv(5, name=f"a{number}")(norm(value))))
    return norm(value)


def dense_block(inputs: Any) -> Any:
    value = conv(4, name="stem")(inputs)
    for number in (1, 2, 3):
        value = layers.Concatenate()([value, conv(3, name=f"grow{number}")(norm(value))])
    return norm(value)


def wide(inputs: Any) -> Any:
    branches = [conv(3, name=f"c{number}")(inputs) for number in range(6)]
    return layers.Add()([layers.Concatenate()(branches), layers.Concatenate()(branches[::-1])])


def split_concat(inputs: Any) -> Any:
    one, two, three = ops.split(conv(9, name="one")(inputs), 3, axis=-1)
    return ops.concatenate([three, conv(4, name="two")(two), one], axis=-1)


def split_merged(inputs: Any) -> Any:
    """What is split comes together in a sum: the parts are tied."""
    one, two = ops.split(conv(8, name="one")(inputs), 2, axis=-1)
    return conv(3)(one + layers.ReLU()(two))


def conv3d(inputs: Any) -> Any:
    value = layers.Conv3D(6, 3, padding="same", name="one")(inputs)
    value = layers.MaxPooling3D((1, 2, 1))(norm(layers.Conv3D(4, 1, name="two")(value)))
    return layers.Conv2D(3, 1, name="three")(layers.Reshape((4, 2, 16))(value))


def shared() -> keras.Model:
    """One convolution over three tensors with different partners."""
    inputs = [keras.Input((6, 6, 3)), keras.Input((6, 6, 3))]
    layer, other = conv(8, name="one"), conv(8, name="two")
    made = [layer(value) for value in inputs]
    return keras.Model(
        inputs, [head(made[0] + other(inputs[0])), head(layers.Concatenate()(made)), head(norm(made[1]))]
    )


def shared_over_channels() -> keras.Model:
    """Called on what different layers make: these are tied."""
    inputs = keras.Input((6, 6, 3))
    layer = conv(5, name="shared")
    return keras.Model(inputs, [head(layer(conv(8, name=name)(inputs))) for name in ("one", "two")])


def nested_twice() -> keras.Model:
    inner_in = keras.Input((6, 6, 8))
    inner = keras.Model(inner_in, norm(conv(5, name="inside")(inner_in)), name="inner")
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, [head(inner(conv(8, name=name)(inputs))) for name in ("one", "two")])


def disconnected() -> keras.Model:
    """Two networks in one model, and inputs and outputs as dictionaries."""
    left, right = keras.Input((6, 6, 3), name="left"), keras.Input((5,), name="right")
    outputs = {"a": head(conv(8, name="one")(left)), "b": dense(2)(dense(6, "two", activation="tanh")(right))}
    return keras.Model({"left": left, "right": right}, outputs)


def mixer() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    tokens = layers.Reshape((36, 8))(conv(8, 1, "embed")(inputs))
    turned = layers.Permute((2, 1))(tokens)
    turned = dense(36, "tokens2")(dense(7, "tokens1", activation="gelu")(turned))
    tokens = tokens + layers.Permute((2, 1))(turned)
    tokens = tokens + dense(8, "channels2")(dense(10, "channels1", activation="gelu")(tokens))
    return keras.Model(inputs, dense(2)(layers.GlobalAveragePooling1D()(tokens)))


CASES: dict[str, Case] = {
    "ShuffleNet v2": (net(shuffle_unit), {"stem": 8, "in1": 4, "out1": 4, "in2": 4, "out2": 2, "last": 6}),
    "ShuffleNet v1": (net(shuffle_v1), {"stem": 3, "one": 2, "two": 4}),
    "Swin": (net(windows(6, 3, 8)), {"embed": 8, "qkv": 2, "project": 8, "up": 10, "down": 8}),
    "ViT": (net(items_of_qkv), {"embed": 8, "qkv": 2, "project": 8}),
    "pixel shuffle": (net(pixel_shuffle), {"one": 3, "two": 4}),
    "depth to space": (net(lambda x: conv(4)(ops.depth_to_space(conv(12, name="one")(x), 2))), {"one": 3}),
    "gate by reshape": (net(gate_by_reshape), {"one": 8, "squeeze": 3, "excite": 8}),
    "gate by mean": (net(gate_by_mean), {"one": 8, "squeeze": 3, "excite": 8}),
    "HRNet": (net(hrnet), {"fine": 6, "coarse": 8, "up": 6, "down": 8}),
    "NASNet": (net(nasnet_cell), {"stem": 5, "before": 6, "now": 6, "s1": 6, "s2": 6, "s3": 6, "s4": 6}),
    "grouped convolution of a concatenation": (net(grouped_concat), {"one": 1, "two": 2, "three": 3}),
    "ResNet v2": (net(preactivated), {"stem": 8, "a1": 5, "b1": 8, "a2": 5, "b2": 8}),
    "DenseNet": (net(dense_block), {"stem": 4, "grow1": 3, "grow2": 3, "grow3": 3}),
    "wide concatenations in a sum": (net(wide), {"c0": 3, "c1": 3, "c5": 3}),
    "split and concatenation": (net(split_concat), {"one": 9, "two": 4}),
    "split and sum": (net(split_merged), {"one": 4}),
    "Conv3D": (net(conv3d, 4, 4, 4, 2), {"one": 6, "two": 4, "three": 3}),
    "shared convolution": (shared, {"one": 8, "two": 8}),
    "shared over channels": (shared_over_channels, {"one": 8, "two": 8, "shared": 5}),
    "nested model called twice": (nested_twice, {"one": 8, "two": 8}),
    "disconnected": (disconnected, {"one": 8, "two": 6}),
    "MLP-Mixer": (mixer, {"embed": 8, "tokens1": 7, "channels1": 10}),
    "broadcast linear": (
        lambda: image(lambda x, y: x + layers.Reshape((1, 1, 8))(dense(8, "row")(ops.mean(y, (1, 2)))), two=5),
        {"one": 8, "two": 5, "row": 8},
    ),
    "batched linear": (lambda: steps(lambda x: dense(5, "two")(ops.matmul(x, array(8, 7)))), {"one": 8, "two": 5}),
    "linear, view, transposed convolution": (
        lambda: keras.Model(
            inputs := keras.Input((4,)),
            head(layers.Conv2DTranspose(5, 3, 2, name="up")(layers.Reshape((2, 2, 6))(dense(24, "one")(inputs)))),
        ),
        {"one": 6, "up": 5},
    ),
    "group norm": (net(lambda x: conv(3)(layers.GroupNormalization(4)(conv(8, name="one")(x)))), {"one": 4}),
    "multiplied depthwise": (
        net(lambda x: conv(3)(layers.DepthwiseConv2D(3, depth_multiplier=2)(norm(conv(5, name="one")(x))))),
        {"one": 5},
    ),
    "padded": (net(lambda x: conv(3)(ops.pad(conv(5, name="one")(x), [[0, 0], [1, 1], [0, 2], [0, 3]]))), {"one": 5}),
}


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", CASES)
def test_right_cut(name: str) -> None:
    assert_case(CASES[name])


REFUSED: dict[str, tuple[Callable[[], keras.Model], Reason]] = {
    "an output is a sum": (
        lambda: keras.Model(i := keras.Input((4,)), dense(3)(i) + dense(3, "one")(i)),
        Reason.MODEL_OUTPUT,
    ),
    "a token axis that is added to the input": (
        lambda: keras.Model(
            i := keras.Input((3, 4)), dense(2)(layers.Permute((2, 1))(dense(3, "one")(layers.Permute((2, 1))(i))) + i)
        ),
        Reason.MODEL_INPUT,
    ),
    "a channel by number": (lambda: steps(lambda x: ops.stack([x[..., 0], x[..., 5]], axis=-1)), Reason.PICKED),
    "channels into the batch": (lambda: _into_batch(), Reason.OPEN_SIZE),
}


def _into_batch() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    made = ops.transpose(conv(8, name="one")(inputs), (0, 3, 1, 2))
    return keras.Model(inputs, dense(2)(ops.reshape(made, (-1, 36))))


@pytest.mark.parametrize("name", REFUSED)
def test_right_reason(name: str) -> None:
    build, reason = REFUSED[name]
    channels = analyse(lift(build()))
    assert not channels.barriers
    assert reason in reasons(channels, "one")
    assert free(channels, "one") < len(channels.sources["one"].ids)
