"""Networks put together at random, written to ONNX: what one rule leaves is what the next one finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from keras import layers, ops

from tests.export.single_layers import Case, In, check

Step = Callable[[Any], Any]


def image_steps(rng: random.Random) -> list[Step]:
    """Steps from a tensor of rank 4 to another."""
    axis, side = rng.choice([1, 2, 3]), rng.choice(["same", "valid"])
    return [
        lambda x: layers.Conv2D(rng.choice([2, 3, 4]), rng.choice([1, 2, 3]), rng.choice([1, 2]), side)(x),
        lambda x: layers.DepthwiseConv2D(3, 1, "same", activation="relu")(x),
        lambda x: layers.SeparableConv2D(3, 2, padding="same")(x),
        lambda x: layers.Conv2DTranspose(3, 3, 2, "same")(x),
        lambda x: layers.ZeroPadding2D(((1, 0), (0, 2)))(x),
        lambda x: layers.Cropping2D(((0, 1), (1, 0)))(x) if min(x.shape[1:3]) > 3 else x,
        lambda x: ops.pad(x, ((0, 0), (0, 1), (2, 0), (0, 0))),
        lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0), (1, 0)), constant_values=0.5),
        lambda x: layers.MaxPooling2D(2, rng.choice([1, 2]), side)(x),
        lambda x: layers.AveragePooling2D(2, rng.choice([1, 2]), side)(x),
        lambda x: layers.UpSampling2D(2, interpolation=rng.choice(["nearest", "bilinear"]))(x),
        lambda x: ops.image.resize(x, (5, 4)),
        lambda x: layers.LayerNormalization(axis=rng.choice([-1, [1, 2], [2, 3], 1]))(x),
        lambda x: layers.BatchNormalization(axis=rng.choice([-1, 1]))(x),
        lambda x: layers.GroupNormalization(1)(x),
        lambda x: layers.Dense(rng.choice([2, 3, 5]))(x),
        lambda x: layers.TimeDistributed(layers.Dense(3))(x),
        lambda x: ops.transpose(x, rng.choice([(0, 2, 1, 3), (0, 3, 1, 2), (0, 2, 3, 1), (0, 1, 3, 2)])),
        lambda x: layers.Reshape((x.shape[2], x.shape[1], x.shape[3]))(x),
        lambda x: x + ops.mean(x, axis=rng.choice([1, 2, 3, (1, 2)]), keepdims=True),
        lambda x: x * ops.softmax(x, axis=axis),
        lambda x: ops.concatenate([x, ops.tanh(x)], axis=axis),
        lambda x: ops.flip(x, axis=axis),
        lambda x: x[:, ::-1, 1:] if x.shape[2] > 2 else x,
        lambda x: ops.max(ops.stack([x, x * 0.5], axis=rng.choice([1, 2, 3, 4])), axis=axis),
        lambda x: ops.sum(ops.expand_dims(x, rng.choice([1, 2, 3, 4])), axis=rng.choice([2, 3])),
        lambda x: x + np.arange(x.shape[-1], dtype="float32"),
        lambda x: x * np.linspace(0.5, 1, x.shape[1], dtype="float32").reshape(-1, 1, 1),
        lambda x: ops.where(x > 0, x, x * 0.1),
        lambda x: ops.take(x, [0, -1], axis=axis),
        lambda x: ops.repeat(x, 2, axis=axis),
        lambda x: ops.roll(x, 1, axis=axis),
        lambda x: ops.sort(ops.cumsum(x, axis=axis), axis=rng.choice([1, 2, 3])),
        lambda x: ops.matmul(x, ops.swapaxes(x, -1, -2)),
        lambda x: layers.PReLU(shared_axes=rng.choice([None, [1, 2], [1]]), alpha_initializer="ones")(x),
        lambda x: layers.Multiply()([x, layers.GlobalAveragePooling2D(keepdims=True)(x)]),
        lambda x: ops.split(x, [1], axis=axis)[1] if min(x.shape[1:]) > 1 else x,
    ]


def sequence_steps(rng: random.Random) -> list[Step]:
    """Steps from a tensor of rank 3, whose length may be open, to another."""
    return [
        lambda x: layers.Conv1D(rng.choice([2, 4]), rng.choice([1, 3]), padding=rng.choice(["same", "causal"]))(x),
        lambda x: layers.Dense(rng.choice([3, 4]), activation=rng.choice([None, "tanh", "gelu"]))(x),
        lambda x: layers.LSTM(3, return_sequences=True, go_backwards=rng.random() < 0.3)(x),
        lambda x: layers.GRU(4, return_sequences=True, reset_after=rng.random() < 0.5)(x),
        lambda x: layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True))(x),
        lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=rng.random() < 0.5),
        lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x),
        lambda x: layers.Attention(use_scale=True)([x, x]),
        lambda x: layers.AdditiveAttention()([x, x]),
        lambda x: layers.RMSNormalization()(layers.LayerNormalization()(x)),
        lambda x: layers.UnitNormalization()(x),
        lambda x: layers.EinsumDense("abc,cde->abde", (None, 2, 2), bias_axes="de")(x)[:, :, 0],
        lambda x: layers.Add()([x, layers.Dense(x.shape[-1])(x)]),
        lambda x: x + ops.max(x, axis=rng.choice([1, 2]), keepdims=True),
        lambda x: ops.concatenate([x, x[:, ::-1]], axis=-1),
        lambda x: x * ops.softmax(x, axis=rng.choice([1, 2])),
        lambda x: layers.AveragePooling1D(2, 1, "same")(layers.MaxPooling1D(2, 1, "same")(x)),
        lambda x: layers.ZeroPadding1D((1, 2))(x),
        lambda x: ops.cumsum(x, axis=1),
        lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2))), x),
        lambda x: layers.BatchNormalization()(x * 1.5),
        lambda x: layers.DepthwiseConv1D(3, padding="same")(x),
        lambda x: ops.expand_dims(x[:, 0], 1) + x,
        lambda x: ops.glu(ops.concatenate([x, x], -1)),
        lambda x: layers.Activation("silu")(layers.Dropout(0.2)(x)),
    ]


IMAGE_ENDS: Sequence[Step] = [
    lambda x: x,
    lambda x: layers.Dense(3)(layers.Flatten()(x)),
    lambda x: layers.GlobalMaxPooling2D()(x),
    lambda x: layers.LSTM(3)(layers.Reshape((x.shape[1], -1))(x)),
    lambda x: layers.Dense(2)(ops.mean(x, axis=(1, 2))),
    lambda x: layers.Flatten(data_format="channels_first")(x),
]
SEQUENCE_ENDS: Sequence[Step] = [
    lambda x: x,
    lambda x: x[:, -1],
    lambda x: layers.GlobalMaxPooling1D()(x),
    lambda x: layers.LSTM(3)(x),
    lambda x: ops.mean(x, axis=1),
]


def network(
    rng: random.Random,
    steps: Callable[[random.Random], list[Step]],
    ends: Sequence[Step],
    usable: Callable[[Any], bool],
) -> Step:
    """A network in which each step reads one of the two tensors before it."""

    def make(x: Any) -> Any:
        made = [x]
        for _ in range(rng.randint(3, 8)):
            y = rng.choice(steps(rng))(rng.choice(made[-2:]))
            if len(y.shape) == len(x.shape) and usable(y):
                made.append(y)
        return [rng.choice(ends)(made[-1]), made[-2] * 1.0]

    return make


@pytest.mark.parametrize("seed", range(14))
def test_random_networks_of_images(seed: int) -> None:
    rng = random.Random(seed)
    make = network(rng, image_steps, IMAGE_ENDS, lambda y: np.prod(y.shape[1:]) < 5000 and min(y.shape[1:3]) > 2)
    check(Case(f"images {seed}", make, (In((6, 5, 3)),), rtol=1e-4, reference=False))


@pytest.mark.parametrize("seed", range(10))
def test_random_networks_of_sequences(seed: int) -> None:
    rng = random.Random(seed)
    make = network(rng, sequence_steps, SEQUENCE_ENDS, lambda y: y.shape[-1] < 20)
    length = rng.choice([6, None])
    check(Case(f"sequences {seed}", make, (In((length, 4)),), rtol=1e-4, reference=False))
