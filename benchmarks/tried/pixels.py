"""Networks that return images, maps or boxes."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def double_conv(x: Any, filters: int) -> Any:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal")(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return x


def unet() -> keras.Model:
    inputs = keras.Input((None, None, 3))
    skips, x = [], inputs
    for filters in (16, 32):
        x = double_conv(x, filters)
        skips.append(x)
        x = layers.Dropout(0.1)(layers.MaxPooling2D()(x))
    x = double_conv(x, 64)
    for filters, skip in zip((32, 16), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = double_conv(layers.concatenate([x, skip]), filters)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def attention_unet() -> keras.Model:
    def gate(x: Any, g: Any, inter: int) -> Any:
        theta = layers.Conv2D(inter, 2, strides=2)(x)
        phi = layers.Conv2D(inter, 1)(g)
        f = layers.Activation("relu")(layers.add([theta, phi]))
        psi = layers.UpSampling2D(2)(layers.Activation("sigmoid")(layers.Conv2D(1, 1)(f)))
        return layers.multiply([x, ops.repeat(psi, x.shape[-1], axis=-1)])

    inputs = keras.Input((32, 32, 1))
    a = double_conv(inputs, 16)
    b = double_conv(layers.MaxPooling2D()(a), 32)
    c = double_conv(layers.MaxPooling2D()(b), 64)
    x = layers.UpSampling2D(interpolation="bilinear")(c)
    x = double_conv(layers.Concatenate(axis=-1)([x, gate(b, c, 32)]), 32)
    y = layers.UpSampling2D()(x)
    y = double_conv(layers.Concatenate(axis=-1)([y, gate(a, x, 16)]), 16)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(y))


def deeplab() -> keras.Model:
    """Atrous spatial pyramid pooling, with ops that resize to the size of another tensor."""
    inputs = keras.Input((32, 32, 3))
    low = double_conv(inputs, 32)
    x = double_conv(layers.Conv2D(64, 3, strides=2, padding="same")(low), 64)
    pooled = ops.mean(x, axis=(1, 2), keepdims=True)
    pooled = layers.Conv2D(32, 1, activation="relu")(pooled)
    pooled = ops.image.resize(pooled, (x.shape[1], x.shape[2]), interpolation="bilinear")
    branches = [pooled, layers.Conv2D(32, 1, activation="relu")(x)]
    for rate in (2, 4):
        y = layers.SeparableConv2D(32, 3, dilation_rate=rate, padding="same", use_bias=False)(x)
        branches.append(layers.ReLU()(layers.BatchNormalization()(y)))
    x = layers.Conv2D(32, 1, activation="relu")(layers.Concatenate()(branches))
    x = layers.Resizing(32, 32)(x)
    x = layers.Concatenate()([x, layers.Conv2D(16, 1, activation="relu")(low)])
    x = layers.Conv2D(5, 1)(layers.Conv2D(32, 3, padding="same", activation="relu")(x))
    return keras.Model(inputs, ops.softmax(x, axis=-1))


def gan_generator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((32,)),
            layers.Dense(4 * 4 * 64, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Reshape((4, 4, 64)),
            layers.Conv2DTranspose(64, 5, strides=1, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(32, 5, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(3, 5, strides=2, padding="same", use_bias=False, activation="tanh"),
        ],
        name="generator",
    )


def yolo() -> keras.Model:
    """A backbone, a path down and up, and three outputs whose channels are split by slices."""

    def conv(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False)(x)
        return ops.silu(layers.BatchNormalization(momentum=0.97)(x))

    def c2f(x: Any, filters: int) -> Any:
        first, second = ops.split(conv(x, filters, 1), 2, axis=-1)
        y = conv(conv(second, filters // 2), filters // 2)
        return conv(layers.Concatenate()([first, second, second + y]), filters, 1)

    def decoded(x: Any, stride: int) -> Any:
        height, width = x.shape[1:3]
        x = layers.Conv2D(2 * (5 + 3), 1)(x)
        x = ops.reshape(x, (-1, height * width * 2, 8))
        xy = (ops.sigmoid(x[..., 0:2]) * 2 - 0.5) * stride
        wh = ops.exp(ops.clip(x[..., 2:4], -8.0, 4.0)) * stride
        return ops.concatenate([xy, wh, ops.sigmoid(x[..., 4:])], axis=-1)

    inputs = keras.Input((64, 64, 3))
    x = conv(inputs, 16, 3, 2)
    p3 = c2f(conv(x, 32, 3, 2), 32)
    p4 = c2f(conv(p3, 64, 3, 2), 64)
    p5 = conv(p4, 64, 3, 2)
    y = conv(p5, 32, 1)
    pools = [y]
    for _ in range(2):
        pools.append(layers.MaxPooling2D(5, 1, "same")(pools[-1]))
    p5 = conv(layers.Concatenate()(pools), 64, 1)
    n4 = c2f(layers.Concatenate()([layers.UpSampling2D()(p5), p4]), 64)
    n3 = c2f(layers.Concatenate()([layers.UpSampling2D()(n4), p3]), 32)
    outputs = {"small": decoded(n3, 8), "medium": decoded(n4, 16), "large": decoded(p5, 32)}
    return keras.Model(inputs, outputs)


def super_resolution() -> keras.Model:
    """Residual blocks scaled by a number, and pixels from channels by reshape and transpose."""

    def pixel_shuffle(x: Any, scale: int) -> Any:
        height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height, width, scale, scale, channels // scale**2))
        return ops.reshape(
            ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * scale, width * scale, channels // scale**2)
        )

    inputs = keras.Input((16, 16, 3))
    x = first = layers.Conv2D(32, 3, padding="same")(inputs)
    for _ in range(2):
        y = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
        x = x + layers.Conv2D(32, 3, padding="same")(y) * 0.1
    x = layers.Add()([layers.Conv2D(32, 3, padding="same")(x), first])
    x = pixel_shuffle(layers.Conv2D(32 * 4, 3, padding="same")(x), 2)
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(layers.PReLU(shared_axes=[1, 2])(x)))


def style_transfer() -> keras.Model:
    """Reflected borders and an instance norm by ops."""

    def norm(x: Any) -> Any:
        mean, variance = ops.moments(x, axes=[1, 2], keepdims=True)
        return (x - mean) / ops.sqrt(variance + 1e-5)

    def conv(x: Any, filters: int, kernel: int, strides: int = 1) -> Any:
        border = kernel // 2
        x = ops.pad(x, [[0, 0], [border, border], [border, border], [0, 0]], mode="reflect")
        return layers.Conv2D(filters, kernel, strides)(x)

    inputs = keras.Input((32, 32, 3))
    x = ops.relu(norm(conv(inputs, 16, 9)))
    x = ops.relu(norm(conv(x, 32, 3, 2)))
    for _ in range(2):
        x = x + layers.GroupNormalization(groups=-1)(conv(ops.relu(norm(conv(x, 32, 3))), 32, 3))
    x = ops.relu(norm(conv(layers.UpSampling2D()(x), 16, 3)))
    return keras.Model(inputs, (ops.tanh(conv(x, 3, 9)) + 1) / 2 * 255.0)


def keypoints() -> keras.Model:
    """An hourglass whose heat maps are turned to coordinates by a softmax over places."""
    inputs = keras.Input((32, 32, 1))
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        down = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
        down = layers.Conv2D(64, 3, padding="same", activation="relu")(down)
        up = layers.Conv2D(32, 1)(layers.UpSampling2D()(down))
        x = layers.Average()([x, up])
    maps = layers.Conv2D(6, 1)(x)
    flat = layers.Softmax(axis=1)(layers.Reshape((32 * 32, 6))(maps))
    grid = keras.ops.stack(ops.meshgrid(ops.linspace(-1.0, 1.0, 32), ops.linspace(-1.0, 1.0, 32)), axis=-1)
    where = ops.einsum("npk,pc->nkc", flat, ops.reshape(grid, (-1, 2)))
    return keras.Model(inputs, [maps, where])


NETWORKS = {
    "U-Net": unet,
    "attention U-Net": attention_unet,
    "DeepLab": deeplab,
    "GAN generator": gan_generator,
    "YOLO": yolo,
    "super-resolution": super_resolution,
    "style transfer": style_transfer,
    "keypoints": keypoints,
}
