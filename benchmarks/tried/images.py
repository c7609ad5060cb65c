"""Classifiers of images, by functions that are given a tensor and return one."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def conv_bn(x: Any, filters: int, kernel: int = 3, strides: int = 1, act: str | None = "relu", groups: int = 1) -> Any:
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, groups=groups)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(act)(x) if act else x


def se_resnet() -> keras.Model:
    def se_block(x: Any, ratio: int = 4) -> Any:
        filters = x.shape[-1]
        s = layers.GlobalAveragePooling2D()(x)
        s = layers.Reshape((1, 1, filters))(s)
        s = layers.Dense(filters // ratio, activation="relu", use_bias=False)(s)
        s = layers.Dense(filters, activation="sigmoid", use_bias=False)(s)
        return layers.multiply([x, s])

    def residual(x: Any, filters: int, strides: int = 1) -> Any:
        shortcut = x
        y = conv_bn(x, filters, 3, strides)
        y = conv_bn(y, filters, 3, 1, None)
        y = se_block(y)
        if strides != 1 or shortcut.shape[-1] != filters:
            shortcut = conv_bn(shortcut, filters, 1, strides, None)
        return layers.ReLU()(layers.add([y, shortcut]))

    inputs = keras.Input((32, 32, 3))
    x = conv_bn(inputs / 255.0, 32)
    for filters, strides in ((32, 1), (64, 2), (64, 1)):
        x = residual(x, filters, strides)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def densenet() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(inputs)
    for block in range(2):
        for _ in range(3):
            y = layers.Activation("relu")(layers.BatchNormalization()(x))
            y = layers.Conv2D(64, 1, use_bias=False)(y)
            y = layers.Activation("relu")(layers.BatchNormalization()(y))
            y = layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
            x = layers.Concatenate()([x, y])
        if block == 0:
            x = layers.Activation("relu")(layers.BatchNormalization()(x))
            x = layers.AveragePooling2D(2)(layers.Conv2D(int(x.shape[-1]) // 2, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def mobilenet_v3() -> keras.Model:
    def hard_sigmoid(x: Any) -> Any:
        return layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)

    def hard_swish(x: Any) -> Any:
        return layers.Multiply()([x, hard_sigmoid(x)])

    def block(x: Any, expand: int, filters: int, kernel: int, strides: int, squeeze: bool, act: Any) -> Any:
        shortcut = x
        y = act(conv_bn(x, expand, 1, act=None))
        if strides == 2:
            y = layers.ZeroPadding2D(((kernel // 2 - 1, kernel // 2), (kernel // 2 - 1, kernel // 2)))(y)
        y = layers.DepthwiseConv2D(kernel, strides, "same" if strides == 1 else "valid", use_bias=False)(y)
        y = act(layers.BatchNormalization()(y))
        if squeeze:
            s = layers.GlobalAveragePooling2D(keepdims=True)(y)
            s = layers.Conv2D(expand // 4, 1, activation="relu")(s)
            y = y * hard_sigmoid(layers.Conv2D(expand, 1)(s))
        y = conv_bn(y, filters, 1, act=None)
        return layers.Add()([shortcut, y]) if strides == 1 and shortcut.shape[-1] == filters else y

    inputs = keras.Input((32, 32, 3))
    x = hard_swish(conv_bn(layers.Rescaling(1 / 127.5, -1)(inputs), 16, 3, 2, None))
    x = block(x, 32, 16, 3, 1, True, layers.ReLU())
    x = block(x, 64, 24, 3, 2, False, layers.ReLU())
    x = block(x, 96, 24, 5, 1, True, hard_swish)
    x = hard_swish(conv_bn(x, 96, 1, act=None))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(10, 1)(hard_swish(layers.Conv2D(64, 1)(x)))
    return keras.Model(inputs, layers.Softmax()(layers.Flatten()(x)))


def inception() -> keras.Model:
    def module(x: Any, widths: tuple[int, int, int, int]) -> Any:
        one = conv_bn(x, widths[0], 1)
        three = conv_bn(conv_bn(x, widths[1] // 2, 1), widths[1], 3)
        five = conv_bn(conv_bn(conv_bn(x, widths[2] // 2, 1), widths[2], (1, 5)), widths[2], (5, 1))  # type: ignore[arg-type]
        pool = conv_bn(layers.MaxPooling2D(3, 1, "same")(x), widths[3], 1)
        return layers.concatenate([one, three, five, pool], axis=3)

    inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D(3, 2, padding="same")(conv_bn(inputs, 32))
    x = module(x, (16, 32, 16, 16))
    x = module(x, (32, 48, 16, 32))
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def shufflenet() -> keras.Model:
    def channel_shuffle(x: Any, groups: int) -> Any:
        height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height, width, groups, channels // groups))
        x = ops.transpose(x, (0, 1, 2, 4, 3))
        return ops.reshape(x, (-1, height, width, channels))

    def unit(x: Any, groups: int = 4) -> Any:
        width = x.shape[-1]
        y = channel_shuffle(conv_bn(x, width, 1, groups=groups), groups)
        y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        return layers.ReLU()(x + conv_bn(y, width, 1, act=None, groups=groups))

    def split_unit(x: Any) -> Any:
        half = x.shape[-1] // 2
        left, right = x[..., :half], x[..., half:]
        right = conv_bn(right, half, 1)
        right = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(right))
        right = conv_bn(right, half, 1)
        return channel_shuffle(layers.Concatenate()([left, right]), 2)

    inputs = keras.Input((32, 32, 3))
    x = conv_bn(inputs, 64, 3, 2)
    x = unit(unit(x))
    x = conv_bn(x, 128, 1)
    x = split_unit(split_unit(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mlp_mixer() -> keras.Model:
    def mlp(x: Any, hidden: int) -> Any:
        y = layers.Dense(hidden)(x)
        y = layers.Lambda(keras.activations.gelu)(y) if hidden == 32 else layers.Activation("gelu")(y)
        return layers.Dense(x.shape[-1])(y)

    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(64, 8, strides=8)(inputs)
    x = layers.Reshape((16, 64))(x)
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Permute((2, 1))(mlp(y, 32))])
        x = layers.Add()([x, mlp(layers.LayerNormalization(epsilon=1e-6)(x), 128)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def conv_mixer() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(64, 4, strides=4)(layers.Rescaling(scale=1.0 / 255)(inputs))
    x = layers.BatchNormalization()(layers.Activation("gelu")(x))
    for _ in range(3):
        x0 = x
        x = layers.DepthwiseConv2D(kernel_size=5, padding="same")(x)
        x = layers.Add()([layers.BatchNormalization()(layers.Activation("gelu")(x)), x0])
        x = layers.Conv2D(64, kernel_size=1)(x)
        x = layers.BatchNormalization()(layers.Activation("gelu")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAvgPool2D()(x)))


class LayerScale(layers.Layer):
    """As in many repositories: no get_config, weights made in the constructor."""

    def __init__(self, init_values: float, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = self.add_weight(shape=(dim,), initializer=keras.initializers.Constant(init_values), name="gamma")

    def call(self, x: Any) -> Any:
        return x * self.gamma


class StochasticDepth(layers.Layer):
    def __init__(self, drop_path: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop_path = drop_path
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x: Any, training: Any = None) -> Any:
        if training:
            keep = 1 - self.drop_path
            shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
            return x / keep * ops.floor(keep + keras.random.uniform(shape, 0, 1, seed=self.seed))
        return x


def convnext() -> keras.Model:
    def block(x: Any, dim: int) -> Any:
        y = layers.Conv2D(dim, 7, padding="same", groups=dim)(x)
        y = layers.LayerNormalization(epsilon=1e-6)(y)
        y = layers.Dense(4 * dim)(y)
        y = layers.Activation("gelu")(y)
        y = layers.Dense(dim)(y)
        y = LayerScale(1e-1, dim)(y)
        return x + StochasticDepth(0.1)(y)

    inputs = keras.Input((32, 32, 3))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(32, 4, strides=4)(inputs))
    x = block(block(x, 32), 32)
    x = layers.Conv2D(64, 2, strides=2)(layers.LayerNormalization(epsilon=1e-6)(x))
    x = block(x, 64)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def cbam() -> keras.Model:
    """Attention over channels by a shared MLP of two poolings, and over places by mean and maximum."""

    def module(x: Any) -> Any:
        channels = x.shape[-1]
        first, second = layers.Dense(channels // 4, activation="relu"), layers.Dense(channels)
        average = second(first(layers.GlobalAveragePooling2D()(x)))
        largest = second(first(layers.GlobalMaxPooling2D()(x)))
        x = x * layers.Reshape((1, 1, channels))(layers.Activation("sigmoid")(average + largest))
        mean = layers.Lambda(lambda t: keras.ops.mean(t, axis=-1, keepdims=True))(x)
        top = ops.max(x, axis=-1, keepdims=True)
        return x * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(layers.Concatenate()([mean, top]))

    inputs = keras.Input((32, 32, 3))
    x = module(conv_bn(inputs, 32))
    x = layers.MaxPooling2D()(module(conv_bn(x, 64)))
    x = conv_bn(x, 64)
    x = layers.Flatten()(layers.MaxPooling2D(4)(x))
    return keras.Model(inputs, layers.Dense(10)(layers.Dense(64, activation="relu")(x)))


def plain_cnn() -> keras.Model:
    """The first network of every tutorial, with augmentation inside."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.1),
            layers.Rescaling(1.0 / 255),
            layers.Conv2D(32, (3, 3), activation="relu", kernel_regularizer=keras.regularizers.l2(1e-4)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation=keras.layers.LeakyReLU(0.1)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3)),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


NETWORKS = {
    "squeeze-and-excite ResNet": se_resnet,
    "DenseNet": densenet,
    "MobileNetV3": mobilenet_v3,
    "Inception": inception,
    "ShuffleNet": shufflenet,
    "MLP-Mixer": mlp_mixer,
    "ConvMixer": conv_mixer,
    "ConvNeXt": convnext,
    "CBAM": cbam,
    "tutorial CNN": plain_cnn,
}
