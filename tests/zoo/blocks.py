"""Blocks of real architectures, activations, normalisations and merges."""

from __future__ import annotations

import keras
from keras import layers, ops

from tests.zoo.registry import Tensor, case, image, sequence, vector


def conv_bn(x: Tensor, filters: int, size: int = 3, strides: int = 1) -> Tensor:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


@case("residual block with a projected and one with an identity shortcut")
def residual() -> keras.Model:
    inputs = image()
    x = conv_bn(layers.ReLU()(conv_bn(inputs, 6, strides=2)), 6)
    x = layers.ReLU()(layers.Add()([x, conv_bn(inputs, 6, size=1, strides=2)]))
    x = layers.ReLU()(layers.Add()([x, conv_bn(layers.ReLU()(conv_bn(x, 6)), 6)]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@case("pre-activation block: batch norm before the conv, one normalised value used twice")
def pre_activation() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    normal = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Add()([layers.Conv2D(6, 1)(normal), layers.Conv2D(6, 3, padding="same")(normal), x])
    return keras.Model(inputs, x)


@case("inverted bottleneck with squeeze and excite")
def inverted_bottleneck() -> keras.Model:
    inputs = image(channels=4)
    x = layers.Activation("silu")(conv_bn(inputs, 12, size=1))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    gate = layers.Reshape((1, 1, 12))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(3, 1, activation="relu", name="squeeze")(gate)
    x = x * layers.Conv2D(12, 1, activation="sigmoid", name="excite")(gate)
    return keras.Model(inputs, layers.Add()([inputs, conv_bn(x, 4, size=1)]))


@case("squeeze and excite by Dense layers and a broadcast multiply")
def squeeze_excite_dense() -> keras.Model:
    inputs = image()
    x = conv_bn(inputs, 8)
    gate = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(inputs, layers.Multiply()([x, layers.Dense(8, activation="hard_sigmoid")(gate)]))


@case("dense block: every conv reads the concatenation of all before it")
def dense_block() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(3, 3, padding="same")(y)])
    return keras.Model(inputs, layers.Conv2D(4, 1)(x))


@case("inception cell: four branches, concatenated")
def inception() -> keras.Model:
    inputs = image()
    branches = [
        conv_bn(inputs, 3, 1),
        conv_bn(conv_bn(inputs, 2, 1), 4),
        conv_bn(conv_bn(conv_bn(inputs, 2, 1), 3), 3),
        conv_bn(layers.AveragePooling2D(3, strides=1, padding="same")(inputs), 2, 1),
    ]
    return keras.Model(inputs, layers.ReLU()(layers.Concatenate()(branches)))


@case("U-Net: skips over down- and upsampling")
def u_net() -> keras.Model:
    inputs = image()
    top = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    low = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(top))
    up = layers.Conv2DTranspose(4, 2, strides=2)(low)
    return keras.Model(inputs, layers.Conv2D(2, 1)(layers.Concatenate()([up, top])))


@case("a transformer block: attention, two residuals, layer norms, MLP")
def transformer_block() -> keras.Model:
    inputs = sequence(6, 8)
    x = layers.LayerNormalization()(inputs)
    x = inputs + layers.MultiHeadAttention(2, 4)(x, x)
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    return keras.Model(inputs, x + layers.Dense(8)(y))


@case("a vision transformer's patches: strided conv, reshape, learned class token by broadcasting")
def patches() -> keras.Model:
    inputs = image()
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 2, strides=2)(inputs))
    token = layers.Dense(6, use_bias=False, name="token")(ops.ones_like(x[:, :1, :1]))
    return keras.Model(inputs, layers.Concatenate(axis=1)([token, x]))


@case("mixer: Permute swaps tokens and channels")
def mixer() -> keras.Model:
    inputs = sequence(6, 4)
    x = layers.Permute((2, 1))(inputs)
    x = layers.Permute((2, 1))(layers.Dense(6)(layers.Dense(9, activation="gelu")(x)))
    return keras.Model(inputs, inputs + x)


# Activations


@case("PReLU with and without shared axes, LeakyReLU, ELU, Softmax over another axis")
def activation_layers() -> keras.Model:
    x = inputs = image(6)
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(4, 3)(x))
    x = layers.PReLU()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.ELU(alpha=0.7)(layers.LeakyReLU(negative_slope=0.2)(x))
    return keras.Model(inputs, layers.Softmax(axis=1)(x))


@case("activation given as a layer object, a function, a name and an Activation layer")
def activation_objects() -> keras.Model:
    x = inputs = vector()
    x = layers.Dense(6, activation=layers.ReLU(max_value=6.0, negative_slope=0.1))(x)
    x = layers.Dense(6, activation=keras.activations.gelu)(x)
    x = layers.Dense(6, activation="hard_swish")(x)
    return keras.Model(inputs, layers.Activation(keras.activations.log_softmax)(x))


@case("ReLU with a ceiling, a slope and a threshold; ReLU6; linear")
def relu_settings() -> keras.Model:
    x = inputs = vector()
    x = layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.5)(layers.Dense(6)(x))
    x = layers.Activation("relu6")(layers.Dense(6)(x))
    return keras.Model(inputs, layers.Activation("linear")(x))


@case("activation layers are called more than once", "shared")
def shared_activation() -> keras.Model:
    inputs = image()
    relu = layers.ReLU(name="relu")
    x = relu(layers.Conv2D(4, 3, padding="same")(inputs))
    return keras.Model(inputs, relu(layers.Conv2D(4, 3, padding="same")(x)))


# Normalisations


@case("batch norm without scale, without center, with another epsilon, without activation after")
def batch_norm_settings() -> keras.Model:
    x = inputs = image()
    x = layers.BatchNormalization(scale=False, epsilon=0.1)(layers.Conv2D(4, 3)(x))
    x = layers.BatchNormalization(center=False)(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, layers.BatchNormalization(center=False, scale=False)(x))


@case("batch norm on the input, before a padded conv, after dense and after depthwise")
def batch_norm_places() -> keras.Model:
    x = inputs = image()
    x = layers.Conv2D(4, 3, padding="same")(layers.BatchNormalization(name="on_input")(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3)(x))
    x = layers.Dense(5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.BatchNormalization(name="after_dense")(x))


@case("one batch norm shared by two convs", "shared")
def shared_batch_norm() -> keras.Model:
    inputs = image()
    bn = layers.BatchNormalization(name="bn")
    a, b = (bn(layers.Conv2D(4, size, padding="same")(inputs)) for size in (1, 3))
    return keras.Model(inputs, layers.Maximum()([a, b]))


@case("layer norm over several axes, group norm, instance norm, unit norm, RMS norm")
def other_norms() -> keras.Model:
    x = inputs = image()
    x = layers.LayerNormalization(axis=(-2, -1))(layers.Conv2D(6, 3)(x))
    x = layers.GroupNormalization(groups=3)(x)
    x = layers.GroupNormalization(groups=-1)(layers.Conv2D(4, 3)(x))
    x = layers.RMSNormalization()(x)
    return keras.Model(inputs, layers.UnitNormalization(axis=-1)(x))


@case("spectral normalisation wraps a conv: a wrapper with state and the wrapped layer's weights")
def spectral_normalization() -> keras.Model:
    inputs = image()
    wrapped = layers.SpectralNormalization(layers.Conv2D(4, 3, name="inner_conv"), power_iterations=2, name="sn")
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(wrapped(inputs))))


# Merges


@case("merges: average, maximum, minimum, subtract, multiply, dot")
def merges() -> keras.Model:
    inputs = vector()
    a, b, c = (layers.Dense(4)(inputs) for _ in range(3))
    x = layers.Average()([layers.Maximum()([a, b]), layers.Minimum()([b, c]), layers.Subtract()([a, c])])
    return keras.Model(inputs, [layers.Dot(axes=1, normalize=True)([x, a]), layers.Multiply()([x, b])])


@case("merges that broadcast over channels and over positions")
def broadcast_merges() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    per_channel = layers.GlobalAveragePooling2D(keepdims=True)(x)
    per_position = layers.Conv2D(1, 1, activation="sigmoid")(x)
    return keras.Model(inputs, layers.Add()([x * per_position, per_channel]))


@case("concatenation over a spatial axis and over channels of unequal widths")
def concatenations() -> keras.Model:
    inputs = image()
    a = layers.Conv2D(4, 3, padding="same")(inputs)
    b = layers.Conv2D(4, 1)(inputs)
    tall = layers.Concatenate(axis=1)([a, b])
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Concatenate()([tall, tall[..., :1]])))
