"""Several inputs, several towers, tables, graphs, points."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


def siamese() -> keras.Model:
    """One encoder called on two images, compared by a distance in a Lambda."""
    image = keras.Input((32, 32, 1))
    x = image
    for filters in (32, 64):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu", padding="same")(x))
    x = layers.Dense(32)(layers.Dropout(0.3)(layers.Flatten()(x)))
    x = layers.Lambda(lambda t: t / keras.ops.maximum(keras.ops.norm(t, axis=-1, keepdims=True), 1e-6))(x)
    encoder = keras.Model(image, x, name="embedding")
    left, right = keras.Input((32, 32, 1), name="left"), keras.Input((32, 32, 1), name="right")
    first, second = encoder(left), encoder(right)
    distance = layers.Lambda(lambda pair: keras.ops.abs(pair[0] - pair[1]))([first, second])
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(distance))


def triplet() -> keras.Model:
    """Three images through one Sequential, stacked, and their squared distances."""
    encoder = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32, activation="relu"),
            layers.Dense(16),
            layers.UnitNormalization(),
        ]
    )
    images = [keras.Input((16, 16, 3), name=name) for name in ("anchor", "positive", "negative")]
    anchor, positive, negative = (encoder(image) for image in images)
    near = ops.sum(ops.square(anchor - positive), axis=-1)
    far = ops.sum(ops.square(anchor - negative), axis=-1)
    return keras.Model(dict(zip(("anchor", "positive", "negative"), images, strict=True)), ops.stack([near, far], 1))


def two_tower() -> keras.Model:
    """Ids and numbers of users and items, a product of the towers."""
    user, item = keras.Input((), dtype="int32", name="user"), keras.Input((), dtype="int32", name="item")
    age, tags = keras.Input((1,), name="age"), keras.Input((5,), dtype="int32", name="tags")
    u = layers.Concatenate()([layers.Embedding(50, 32)(user), layers.Dense(16, activation="relu")(age)])
    t = layers.GlobalAveragePooling1D()(layers.Embedding(20, 16)(tags))
    i = layers.Concatenate()([layers.Embedding(60, 32)(item), t])
    for units in (64, 32):
        u, i = layers.Dense(units, activation="relu")(u), layers.Dense(units, activation="relu")(i)
    score = layers.Dot(axes=1, normalize=True)([u, i])
    return keras.Model({"user": user, "item": item, "age": age, "tags": tags}, score)


def deep_fm() -> keras.Model:
    """Factorisation machine by sums of squares beside an MLP, over stacked embeddings."""
    fields = [keras.Input((1,), dtype="int32", name=f"field_{index}") for index in range(4)]
    embedded = [layers.Embedding(20, 16)(field) for field in fields]
    stacked = layers.Concatenate(axis=1)(embedded)
    squares = ops.square(ops.sum(stacked, axis=1)) - ops.sum(ops.square(stacked), axis=1)
    second = 0.5 * ops.sum(squares, axis=1, keepdims=True)
    first = layers.Add()([layers.Flatten()(layers.Embedding(20, 1)(field)) for field in fields])
    x = layers.Flatten()(stacked)
    for units in (64, 64):
        x = layers.Dropout(0.2)(layers.Dense(units, activation="relu")(x))
    return keras.Model(fields, layers.Activation("sigmoid")(first + second + layers.Dense(1)(x)))


def point_net() -> keras.Model:
    """Transforms that the network makes for itself, multiplied in."""

    def conv(x: Any, filters: int) -> Any:
        x = layers.Conv1D(filters, kernel_size=1, padding="valid")(x)
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(x))

    def dense(x: Any, filters: int) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Dense(filters)(x)))

    def tnet(inputs: Any, features: int) -> Any:
        x = layers.GlobalMaxPooling1D()(conv(conv(inputs, 32), 64))
        x = dense(x, 32)
        bias = keras.initializers.Constant(np.eye(features).flatten())
        x = layers.Dense(features * features, kernel_initializer="zeros", bias_initializer=bias)(x)
        return layers.Dot(axes=(2, 1))([inputs, layers.Reshape((features, features))(x)])

    inputs = keras.Input((64, 3))
    x = conv(tnet(inputs, 3), 32)
    x = tnet(x, 32)
    x = layers.GlobalMaxPooling1D()(conv(conv(x, 64), 128))
    x = layers.Dropout(0.3)(dense(x, 64))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


class GraphConv(layers.Layer):
    """Multiplies features by its own kernel and by the adjacency that it is given."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shapes: Any) -> None:
        self.kernel = self.add_weight(shape=(shapes[0][-1], self.units), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        features, adjacency = inputs
        return ops.relu(ops.matmul(adjacency, ops.matmul(features, self.kernel)) + self.bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def graph_convolution() -> keras.Model:
    nodes, adjacency = keras.Input((10, 8), name="nodes"), keras.Input((10, 10), name="adjacency")
    x = GraphConv(64)([nodes, adjacency])
    x = ops.relu(adjacency @ layers.Dense(64)(x))
    x = layers.Dropout(0.2)(GraphConv(32)([x, adjacency]))
    x = ops.mean(x, axis=1)
    return keras.Model([nodes, adjacency], layers.Dense(3, activation="softmax")(x))


def mixture_of_experts() -> keras.Model:
    """All experts computed, stacked, and weighed by a softmax."""
    inputs = keras.Input((32,))
    x = layers.Dense(64, activation="relu")(inputs)
    gate = layers.Dense(4, activation="softmax")(x)
    experts = [layers.Dense(32)(layers.Dense(64, activation="relu")(x)) for _ in range(4)]
    stacked = ops.stack(experts, axis=1)
    mixed = ops.sum(stacked * ops.expand_dims(gate, -1), axis=1)
    tasks = [layers.Dense(1, name=f"task_{index}")(layers.Dense(32, "relu")(mixed)) for index in range(2)]
    return keras.Model(inputs, tasks)


def transfer() -> keras.Model:
    """A frozen backbone called with training=False, its preprocessing, and a new head."""
    base = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    base.trainable = False
    inputs = keras.Input((32, 32, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(inputs)
    x = base(x, training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


def multi_modal() -> keras.Model:
    """An image, a text and numbers, with FiLM: features scaled and shifted by what the text says."""
    image, words = keras.Input((32, 32, 3), name="image"), keras.Input((8,), dtype="int32", name="words")
    numbers = keras.Input((6,), name="numbers")
    t = layers.LSTM(32)(layers.Embedding(30, 16)(words))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    for _ in range(2):
        y = layers.BatchNormalization(center=False, scale=False)(layers.Conv2D(32, 3, padding="same")(x))
        gamma = layers.Reshape((1, 1, 32))(layers.Dense(32)(t))
        beta = layers.Dense(32)(t)[:, None, None, :]
        x = x + ops.relu(y * (1 + gamma) + beta)
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), t, layers.Dense(16, activation="selu")(numbers)])
    return keras.Model([image, words, numbers], layers.Dense(4, activation="softmax")(layers.Dense(32, "elu")(x)))


def dueling_dqn() -> keras.Model:
    """Value and advantage, less the mean of the advantages."""
    inputs = keras.Input((36, 36, 4), dtype="uint8")
    x = layers.Lambda(lambda t: keras.ops.cast(t, "float32") / 255.0)(inputs)
    x = layers.Conv2D(32, 8, strides=4, activation="relu")(x)
    x = layers.Conv2D(64, 4, strides=2, activation="relu")(x)
    x = layers.Flatten()(layers.Conv2D(64, 2, activation="relu")(x))
    value = layers.Dense(1)(layers.Dense(64, activation="relu")(x))
    advantage = layers.Dense(6)(layers.Dense(64, activation="relu")(x))
    return keras.Model(inputs, value + (advantage - ops.mean(advantage, axis=1, keepdims=True)))


def diffusion_unet() -> keras.Model:
    """Noisy images and times: sinusoids, group norms, attention over places."""
    image, time = keras.Input((16, 16, 3), name="image"), keras.Input((1,), name="time")
    frequencies = ops.exp(ops.linspace(ops.log(1.0), ops.log(1000.0), 16))
    angles = 2.0 * np.pi * frequencies * time
    t = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
    t = layers.Dense(64)(layers.Dense(64, activation="swish")(t))

    def residual(x: Any, width: int) -> Any:
        shortcut = x if x.shape[3] == width else layers.Conv2D(width, kernel_size=1)(x)
        x = keras.activations.swish(layers.GroupNormalization(groups=8)(x))
        x = layers.Conv2D(width, 3, padding="same")(x)
        x = layers.Add()([x, layers.Dense(width)(keras.activations.swish(t))[:, None, None, :]])
        x = keras.activations.swish(layers.GroupNormalization(groups=8)(x))
        return layers.Add()([layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(x), shortcut])

    def attention(x: Any, units: int) -> Any:
        height, width = x.shape[1:3]
        y = layers.GroupNormalization(groups=8)(x)
        q, k, v = (layers.Dense(units)(y) for _ in range(3))
        scores = ops.einsum("bhwc,bijc->bhwij", q, k) * units**-0.5
        scores = ops.softmax(ops.reshape(scores, (-1, height, width, height * width)), axis=-1)
        y = ops.einsum("bhwij,bijc->bhwc", ops.reshape(scores, (-1, height, width, height, width)), v)
        return x + layers.Dense(units)(y)

    x = skip = residual(layers.Conv2D(32, 3, padding="same")(image), 32)
    x = attention(residual(layers.AveragePooling2D(2)(x), 64), 64)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = residual(layers.Concatenate()([x, skip]), 32)
    return keras.Model([image, time], layers.Conv2D(3, 1)(x))


NETWORKS = {
    "siamese": siamese,
    "triplet": triplet,
    "two towers": two_tower,
    "DeepFM": deep_fm,
    "PointNet": point_net,
    "graph convolution": graph_convolution,
    "mixture of experts": mixture_of_experts,
    "transfer learning": transfer,
    "multi-modal FiLM": multi_modal,
    "dueling DQN": dueling_dqn,
    "diffusion U-Net": diffusion_unet,
}
