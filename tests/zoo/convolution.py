"""Convolutions, pooling and layout layers, with the settings that change what their weights mean."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tests.zoo.registry import case, image, sequence


def volume(size: int = 6, channels: int = 2) -> Any:
    return keras.Input((size, size, size, channels), name="volume")


@case("grouped, dilated and strided convolutions; one without bias")
def conv_settings() -> keras.Model:
    x = inputs = image(12, 4)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False, name="dilated")(x)
    return keras.Model(inputs, layers.Conv2D(5, (3, 2), strides=(2, 1), activation="relu", name="strided")(x))


@case("depthwise convolutions with a multiplier, a stride, a dilation")
def depthwise() -> keras.Model:
    x = inputs = image(12)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x)
    return keras.Model(inputs, layers.DepthwiseConv2D(2, dilation_rate=2, activation="tanh")(x))


@case("separable convolution in 2 dimensions: two kernels in one layer")
def separable_2d() -> keras.Model:
    x = inputs = image()
    x = layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same")(x)
    return keras.Model(inputs, layers.SeparableConv2D(4, 3, strides=2, use_bias=False)(x))


@case("convolutions in 1 dimension: causal, separable, depthwise, grouped")
def conv_1d() -> keras.Model:
    x = inputs = sequence(16, 4)
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, name="causal")(x)
    x = layers.SeparableConv1D(8, 3, depth_multiplier=2, name="separable")(x)
    x = layers.DepthwiseConv1D(3, name="depthwise")(x)
    return keras.Model(inputs, layers.Conv1D(4, 1, groups=4, name="grouped")(x))


@case("convolution in 3 dimensions, with pooling")
def conv_3d() -> keras.Model:
    x = inputs = volume()
    x = layers.Conv3D(4, 3, padding="same", groups=2)(x)
    x = layers.AveragePooling3D(2)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling3D()(x)))


@case("transposed convolution in 2 dimensions: kernel axes are swapped")
def transposed_2d() -> keras.Model:
    x = inputs = image(4)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(2, 3, strides=2, output_padding=1, use_bias=False)(x))


@case("transposed convolution in 1 and 3 dimensions")
def transposed_1d_3d() -> keras.Model:
    a, b = sequence(6, 3, name="signal"), volume(3)
    up = layers.Conv1DTranspose(4, 3, strides=2)(a)
    return keras.Model([a, b], [up, layers.Conv3DTranspose(3, 2, strides=2, padding="same")(b)])


@case("channels first: conv, depthwise, batch norm, pooling, global pooling, flatten")
def channels_first() -> keras.Model:
    x = inputs = keras.Input((3, 8, 8), name="image")
    first: dict[str, Any] = {"data_format": "channels_first"}
    x = layers.Conv2D(4, 3, padding="same", **first)(x)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.DepthwiseConv2D(3, padding="same", **first)(x)
    x = layers.MaxPooling2D(**first)(x)
    x = layers.ZeroPadding2D(1, **first)(layers.UpSampling2D(**first)(x))
    pooled = layers.GlobalAveragePooling2D(**first)(x)
    return keras.Model(inputs, [layers.Dense(3)(pooled), layers.Flatten(**first)(x)])


@case("channels first for grouped, separable and transposed conv and in 1 dimension")
def channels_first_others() -> keras.Model:
    x = inputs = keras.Input((4, 8, 8), name="image")
    first: dict[str, Any] = {"data_format": "channels_first"}
    x = layers.SeparableConv2D(6, 3, **first)(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, **first)(x)
    signal = keras.Input((3, 10), name="signal")
    return keras.Model([inputs, signal], [x, layers.Conv1D(4, 3, **first)(signal)])


@case("every spatial dimension free: fully convolutional")
def fully_convolutional() -> keras.Model:
    x = inputs = image(None)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Conv2D(2, 1)(layers.Concatenate()([x, inputs])))


@case("layout layers: padding, cropping, upsampling, permute, reshape, flatten, repeat")
def layout() -> keras.Model:
    x = inputs = image(6)
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    x = layers.Conv2D(4, 3)(x)
    x = layers.Cropping2D(((0, 1), (1, 0)))(layers.UpSampling2D(2, interpolation="bilinear")(x))
    x = layers.Permute((3, 1, 2))(x)
    x = layers.Reshape((4, -1))(x)
    x = layers.RepeatVector(3)(layers.Dense(4)(layers.Flatten()(x)))
    return keras.Model(inputs, x)


@case("layout layers in 1 and 3 dimensions")
def layout_1d_3d() -> keras.Model:
    a, b = sequence(8, 3, name="signal"), volume(4)
    a_out = layers.Cropping1D((1, 2))(layers.UpSampling1D(2)(layers.ZeroPadding1D((0, 3))(a)))
    return keras.Model([a, b], [a_out, layers.Cropping3D(1)(layers.UpSampling3D(2)(layers.ZeroPadding3D(1)(b)))])


@case("every pooling: max, average, global with keepdims, adaptive; same padding, overlap")
def pooling() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    outputs = [
        layers.MaxPooling2D(3, strides=2, padding="same")(x),
        layers.AveragePooling2D((2, 3), strides=1)(x),
        layers.GlobalAveragePooling2D(keepdims=True)(x),
        layers.GlobalMaxPooling2D()(x),
        layers.AdaptiveAveragePooling2D(3)(x),
    ]
    return keras.Model(inputs, outputs)


@case("a Dense layer on an image: it acts on the last axis of four")
def dense_on_image() -> keras.Model:
    inputs = image()
    x = layers.Dense(5, activation="relu")(inputs)
    return keras.Model(inputs, layers.EinsumDense("bhwc,cd->bhwd", (None, None, 3), bias_axes="d")(x))


@case("Flatten between conv and dense: each channel owns a stripe of the kernel")
def flatten_to_dense() -> keras.Model:
    x = inputs = image()
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3)(x))
