"""Layers: cuts equal the masked twin, and what should shrink does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.keras_io import lift
from kerasurgeon.rules.reasons import Reason
from tests.channels.building import Case, Tail, array, assert_case, conv, dense, doubts, free, image, reasons, steps

FREE = {"one": 8}
BOTH = {"one": 8, "two": 8}
NORMAL: dict[str, Any] = {"bias_initializer": "random_normal"}
FIRST: dict[str, Any] = {"data_format": "channels_first"}


def chain(layer: Any, tail: Tail = lambda x: x) -> Callable[[], keras.Model]:
    return lambda: image(lambda x: tail(_made(layer)(x)))


def sequence(layer: Any) -> Callable[[], keras.Model]:
    return lambda: steps(lambda x: _made(layer)(x))


def volume(layer: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        inputs = keras.Input((4, 4, 4, 2))
        made = layers.Conv3D(8, 1, name="one", activation="tanh", **NORMAL)(inputs)
        return keras.Model(inputs, dense(2)(_made(layer)(made)))

    return build


def first(layer: Any) -> Callable[[], keras.Model]:
    """Between channels first and back."""
    return lambda: image(lambda x: layers.Permute((2, 3, 1))(_made(layer)(layers.Permute((3, 1, 2))(x))))


def _made(layer: Any) -> Any:
    return layer() if callable(layer) and not isinstance(layer, keras.Layer) else layer


def ranks(name: str, *args: Any, **options: Any) -> dict[str, Case]:
    """A layer in one, two and three dimensions."""
    around = {"1D": sequence, "2D": chain, "3D": volume}
    return {
        name + rank: (build(lambda rank=rank: getattr(layers, name + rank)(*args, **options)), FREE)
        for rank, build in around.items()
    }


def new(rank: str, build: Any, *args: Any, name: str = "Conv", suffix: str = "", **options: Any) -> Case:
    """A convolution that makes six channels."""
    kind = getattr(layers, f"{name}{rank}{suffix}")
    return build(lambda: kind(6, *args, name="made", **NORMAL, **options)), {"one": 8, "made": 6}


def _over_words(kind: Any, *args: Any, **options: Any) -> keras.Model:
    shape = (1, 5, 8) if "data_format" in options else (5, 8, 1)
    made = kind(*args, name="made", **NORMAL, **options)
    return steps(lambda x: made(layers.Reshape(shape)(x)), length=5)


def _merged(name: str) -> Callable[[], keras.Model]:
    return lambda: image(lambda x, y: getattr(layers, name)()([x, y]), two=8)


CONVOLUTIONS: dict[str, Case] = {
    "Dense on an image": (chain(lambda: dense(6, "made")), {"one": 8, "made": 6}),
    "Dense on a sequence": (sequence(lambda: dense(6, "made", use_bias=False)), {"one": 8, "made": 6}),
    "Conv1D": new("1D", sequence, 3, padding="causal", dilation_rate=2),
    "Conv2D by strides": new("2D", chain, 3, strides=2, padding="same"),
    "Conv2D dilated": new("2D", chain, 3, dilation_rate=2),
    "Conv3D": new("3D", volume, 2),
    "Conv1DTranspose": new("1D", sequence, 3, suffix="Transpose", strides=2),
    "Conv2DTranspose": new("2D", chain, 3, suffix="Transpose", strides=2, padding="same"),
    "Conv3DTranspose": new("3D", volume, 2, suffix="Transpose"),
    "SeparableConv1D": new("1D", sequence, 3, name="SeparableConv", depth_multiplier=2),
    "SeparableConv2D": new("2D", chain, 3, name="SeparableConv", activation="relu"),
    "DepthwiseConv1D": (sequence(lambda: layers.DepthwiseConv1D(3, depth_multiplier=2, **NORMAL)), FREE),
    "DepthwiseConv2D": (chain(lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, **NORMAL)), FREE),
    "grouped": (chain(lambda: conv(12, name="made", groups=2)), {"one": 4, "made": 6}),
    "groups of two": (chain(lambda: conv(8, name="made", groups=4)), {"one": 4, "made": 4}),
    "as many groups as channels": (chain(lambda: conv(16, name="made", groups=8)), {"one": 8, "made": 8}),
    "grouped Conv1D": (
        sequence(lambda: layers.Conv1D(4, 3, groups=2, name="made", **NORMAL)),
        {"one": 2, "made": 2},
    ),
    "grouped, read from the input": (lambda: _input_groups(), {"made": 3}),
    "as wide as word vectors": (lambda: _over_words(layers.Conv2D, 6, (2, 8)), {"one": 8, "made": 6}),
    "as wide, with zeros around": (lambda: _over_words(layers.Conv2D, 6, (2, 8), padding="same"), {"one": 0}),
    "as wide, channels first": (lambda: _over_words(layers.Conv2D, 6, (5, 8), **FIRST), {"one": 8}),
    "as long as all steps": (
        lambda: steps(lambda x: layers.Conv1D(6, 8, name="made", **NORMAL)(layers.Permute((2, 1))(x))),
        {"one": 8, "made": 6},
    ),
}
NORMS: dict[str, Case] = {
    "BatchNormalization": (chain(layers.BatchNormalization), FREE),
    "BatchNormalization, channels first": (first(lambda: layers.BatchNormalization(axis=1)), FREE),
    "GroupNormalization": (chain(lambda: layers.GroupNormalization(4)), {"one": 4}),
    "InstanceNormalization": (chain(lambda: layers.GroupNormalization(-1)), FREE),
    "GroupNormalization, channels first": (first(lambda: layers.GroupNormalization(2, axis=1)), {"one": 2}),
    "UnitNormalization": (chain(layers.UnitNormalization), FREE),
    "LayerNormalization over space": (chain(lambda: layers.LayerNormalization(axis=[1, 2])), FREE),
    "Rescaling": (chain(lambda: layers.Rescaling(2.0, offset=list(range(8)))), FREE),
    "Normalization": (chain(lambda: _adapted()), FREE),
    "PReLU": (chain(lambda: layers.PReLU("random_normal")), FREE),
    "PReLU of shared space": (chain(lambda: layers.PReLU("random_normal", shared_axes=[1, 2])), FREE),
    "PReLU of shared channels": (chain(lambda: layers.PReLU("random_normal", shared_axes=[3])), FREE),
    "Softmax over space": (chain(lambda: layers.Softmax(axis=1)), FREE),
}
SPATIAL: dict[str, Case] = {
    **ranks("MaxPooling", 2),
    **ranks("AveragePooling", 2, strides=1, padding="same"),
    **ranks("GlobalMaxPooling"),
    **ranks("GlobalAveragePooling", keepdims=True),
    **ranks("AdaptiveAveragePooling", 2),
    **ranks("AdaptiveMaxPooling", 2),
    **ranks("ZeroPadding", 1),
    **ranks("Cropping", 1),
    **ranks("UpSampling", 2),
    **ranks("SpatialDropout", 0.3),
    "Resizing": (chain(lambda: layers.Resizing(4, 5, "bicubic", crop_to_aspect_ratio=True)), FREE),
    "UpSampling2D bilinear": (chain(lambda: layers.UpSampling2D(2, interpolation="bilinear")), FREE),
    "CenterCrop": (chain(lambda: layers.CenterCrop(4, 3)), FREE),
    "RandomFlip and so on": (
        chain(layers.RandomFlip, lambda x: layers.RandomZoom(0.1)(layers.RandomCrop(4, 4)(x))),
        FREE,
    ),
    "channels first": (
        first(lambda: keras.Sequential([layers.ZeroPadding2D(1, **FIRST), layers.Cropping2D(1, **FIRST)])),
        FREE,
    ),
}
MERGES: dict[str, Case] = {
    **{name: (_merged(name), BOTH) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "squeeze and excite": (lambda: image(lambda x: x * _gate(x)), {"one": 8, "squeeze": 4, "excite": 8}),
    "a gate of one channel": (lambda: image(lambda x: x * conv(1, 1, "gate", activation="sigmoid")(x)), FREE),
    "a constant per channel": (lambda: image(lambda x: x * array(8) + array(1, 6, 1, 8)), FREE),
    "a constant per row": (lambda: image(lambda x: x + array(6, 1)), FREE),
    "Concatenate": (lambda: image(lambda x, y: layers.Concatenate()([x, y, x]), two=5), {"one": 8, "two": 5}),
    "Concatenate with the input": (lambda: _with_input(), FREE),
    "Concatenate over rows": (lambda: image(lambda x, y: layers.Concatenate(1)([x, y]), two=8), BOTH),
    "Concatenate, then add": (
        lambda: image(lambda x, y: layers.Add()([layers.Concatenate()([x, y]), conv(12, 1)(x)]), two=4),
        {"one": 8, "two": 4},
    ),
}
SHAPES: dict[str, Case] = {
    "Flatten": (chain(layers.Flatten), FREE),
    "Flatten, channels first": (lambda: image(lambda x: layers.Flatten(**FIRST)(layers.Permute((3, 1, 2))(x))), FREE),
    "Reshape": (chain(lambda: layers.Reshape((36, 2, 4))), {"one": 8 // 2}),
    "Reshape with -1": (chain(lambda: layers.Reshape((-1, 8))), FREE),
    "Permute": (chain(lambda: layers.Permute((2, 1, 3))), FREE),
    "RepeatVector": (lambda: image(lambda x: layers.RepeatVector(3)(layers.GlobalMaxPooling2D()(x))), FREE),
    "RepeatVector along channels": (lambda: steps(lambda x: _attended(x)), FREE),
    "sizes unknown": (lambda: image(lambda x: conv(5)(layers.MaxPooling2D()(x)), size=None), FREE),
    "length unknown": (lambda: steps(lambda x: layers.Conv1D(4, 3)(x), length=None), FREE),
    "activations": (chain(layers.ReLU, lambda x: layers.ELU()(layers.LeakyReLU()(layers.Activation("gelu")(x)))), FREE),
    "noise": (chain(layers.GaussianNoise(0.2), lambda x: layers.Dropout(0.2)(layers.GaussianDropout(0.1)(x))), FREE),
}
CASES = {**CONVOLUTIONS, **NORMS, **SPATIAL, **MERGES, **SHAPES}


def _gate(value: Any) -> Any:
    squeezed = dense(4, "squeeze", activation="relu")(layers.GlobalAveragePooling2D()(value))
    return layers.Reshape((1, 1, 8))(dense(8, "excite", activation="sigmoid")(squeezed))


def _attended(value: Any) -> Any:
    """As attention over steps is written since Keras 1."""
    weights = layers.Softmax()(layers.Flatten()(dense(1, "scores")(value)))
    return layers.Multiply()([value, layers.Permute((2, 1))(layers.RepeatVector(8)(weights))])


def _input_groups() -> keras.Model:
    inputs = keras.Input((4, 4, 4))
    return keras.Model(inputs, dense(2)(conv(6, name="made", groups=2)(inputs)))


def _adapted() -> Any:
    layer = layers.Normalization(axis=-1)
    layer.adapt(np.random.default_rng(0).normal(size=(3, 6, 6, 8)).astype("float32"))
    return layer


def _with_input() -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    made = conv(8, name="one")(inputs)
    return keras.Model(inputs, dense(2)(layers.BatchNormalization()(layers.Concatenate()([inputs, made, inputs]))))


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", CASES)
def test_cuts_equal_the_masked_twin(name: str) -> None:
    assert_case(CASES[name])


FROZEN: dict[str, tuple[Callable[[], keras.Model], Reason]] = {
    "the input is added": (lambda: _added(), Reason.MODEL_INPUT),
    "the output": (lambda: _output(), Reason.MODEL_OUTPUT),
    "masked steps": (sequence(lambda: layers.Masking()), Reason.MIXED),
    "Python": (chain(lambda: layers.Lambda(lambda x: x * keras.random.uniform(()))), Reason.NO_RULE),
    "hue": (chain(lambda: layers.RandomGrayscale(), lambda x: x), Reason.CANNOT_TELL),
    "spread": (lambda: image(lambda x: x * array(4), one=1), Reason.SPREAD),
    "quantised": (lambda: _quantised(), Reason.QUANTIZED),
    "scaled along another axis than the normalised": (lambda: _scaled_elsewhere(), Reason.CANNOT_TELL),
    "axes of two signs": (chain(lambda: layers.LayerNormalization(axis=[-1, 1])), Reason.CANNOT_TELL),
}


def _added() -> keras.Model:
    inputs = keras.Input((4, 8))
    return keras.Model(inputs, dense(2)(dense(8, "one")(inputs) + inputs))


def _scaled_elsewhere() -> keras.Model:
    """Keras multiplies the last axis by a scale that has the size of the normalised one."""
    inputs = keras.Input((4, 4))
    return keras.Model(inputs, dense(2)(layers.RMSNormalization(axis=1)(dense(4, "one")(inputs))))


def _output() -> keras.Model:
    inputs = keras.Input((4,))
    made = dense(8, "one")(inputs)
    return keras.Model(inputs, [made, dense(2)(made)])


def _quantised() -> keras.Model:
    model = steps(lambda x: dense(4, "next")(x))
    model.get_layer("next").quantize("int8")
    return model


@pytest.mark.parametrize("name", FROZEN)
def test_what_may_not_go_says_why(name: str) -> None:
    build, reason = FROZEN[name]
    channels = analyse(lift(build()))
    assert free(channels, "one") == 0
    assert reason in reasons(channels, "one")


@pytest.mark.parametrize("kind", [layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D])
def test_channels_that_are_pooled_over_may_go_inexactly(kind: Any) -> None:
    """As where Keras is told the wrong one of its formats."""
    model = steps(lambda x: layers.Reshape((6, 1))(kind(data_format="channels_first")(x)))
    channels = analyse(lift(model))
    assert free(channels, "one") == 8
    assert doubts(channels, "one") == {Reason.REDUCED}


def test_labels_over_several_axes_shrink_independently() -> None:
    """Until two axes become one: then those of the smaller stay."""

    def build() -> keras.Model:
        inputs = keras.Input((6, 3))
        tokens = layers.Permute((2, 1))(dense(5, "tokens")(layers.Permute((2, 1))(dense(8, "one")(inputs))))
        return keras.Model(inputs, dense(2)(layers.Flatten()(dense(4, "next")(ops.tanh(tokens)))))

    assert_case((build, {"one": 8, "tokens": 5, "next": 0}))
    assert reasons(analyse(lift(build())), "next") == {Reason.MERGED}
