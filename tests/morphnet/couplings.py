"""Small networks with every kind of coupling; by hand: which channels each layer makes and reads, and what it costs.

Channels are numbered by hand; one number is one thing that lives and dies as a whole. Nothing here asks the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.zoo.sampling import randomise

Ids = list[int]
FIXED: Ids = []
"""Stands for channels that are the model's inputs or outputs: always alive, of no magnitude."""


@dataclass
class Cost:
    """``coefficient * n_in * n_out``; ``fixed_in`` and ``fixed_out`` are numbers of channels that always stay."""

    coefficient: float
    reads: Ids
    makes: Ids
    fixed_in: int = 0
    fixed_out: int = 0
    depthwise: bool = False


@dataclass
class Case:
    """A network and its description.

    Attributes:
        model: The network.
        kernels: Of every kernel that makes channels that may go: path of the variable, its axis of output channels, and
            their numbers.
        gammas: The same of scales of batch norms.
        macs: Costs of its layers in multiply-accumulates.
        size: Parameters.
    """

    model: keras.Model
    kernels: list[tuple[str, int, Ids]]
    gammas: list[tuple[str, Ids]] = field(default_factory=list)
    macs: list[Cost] = field(default_factory=list)
    size: list[Cost] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        """Random weights, in which some channels are far below the threshold of 0.01.

        Channels 1, 5 and 9 are so in all weights that make them, others here and there only.
        """
        randomise(self.model, self.seed)
        rng = np.random.default_rng(self.seed)
        weights = {weight.path: weight for weight in self.model.weights}
        for path, axis, ids in [*self.kernels, *((path, 0, ids) for path, ids in self.gammas)]:
            quiet = (np.array(ids) % 4 == 1) | (rng.random(len(ids)) < 0.2)
            shape = [1] * len(weights[path].shape)
            shape[axis] = len(ids)
            weights[path].assign(weights[path] * np.where(quiet, 1e-3, 1.0).astype("float32").reshape(shape))


def _conv(filters: int, size: int = 1, **options: Any) -> keras.Layer:
    return layers.Conv2D(filters, size, padding="same", **options)


def residual() -> Case:
    """A sum: what the stem makes, the branch makes too."""
    image = keras.Input((6, 6, 3))
    stem = layers.BatchNormalization(name="bn0")(_conv(4, 3, name="stem")(image))
    branch = layers.ReLU()(layers.BatchNormalization(name="bn1")(_conv(5, 3, name="a")(stem)))
    branch = layers.BatchNormalization(name="bn2")(_conv(4, name="b", use_bias=False)(branch))
    x = layers.GlobalAveragePooling2D()(layers.Add()([stem, branch]))
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    s, a = [0, 1, 2, 3], [4, 5, 6, 7, 8]
    return Case(
        model,
        [("stem/kernel", 3, s), ("a/kernel", 3, a), ("b/kernel", 3, s)],
        [("bn0/gamma", s), ("bn1/gamma", a), ("bn2/gamma", s)],
        [
            Cost(36 * 9, FIXED, s, fixed_in=3),
            Cost(36 * 9, s, a),
            Cost(36, a, s),
            Cost(1, s, FIXED, fixed_out=2),
        ],
        [
            *(Cost(9, FIXED, s, fixed_in=3), Cost(1, FIXED, s, fixed_in=1), Cost(4, FIXED, s, fixed_in=1)),
            *(Cost(9, s, a), Cost(1, FIXED, a, fixed_in=1), Cost(4, FIXED, a, fixed_in=1)),
            *(Cost(1, a, s), Cost(4, FIXED, s, fixed_in=1)),
            *(Cost(1, s, FIXED, fixed_out=2), Cost(2, FIXED, FIXED, fixed_in=1, fixed_out=1)),
        ],
        seed=1,
    )


def concatenation() -> Case:
    """Slices of a concatenation, one of which is used elsewhere too."""
    image = keras.Input((4, 4, 2))
    one, two = _conv(3, name="one")(image), _conv(4, name="two")(image)
    joined = layers.BatchNormalization(name="bn")(layers.Concatenate()([one, two]))
    three = _conv(5, 3, name="three")(joined)
    four = _conv(3, name="four")(two)
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([three, layers.Add()([one, four])]))
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    a, b, c = [0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11]
    return Case(
        model,
        [("one/kernel", 3, a), ("two/kernel", 3, b), ("three/kernel", 3, c), ("four/kernel", 3, a)],
        [("bn/gamma", a + b)],
        [
            Cost(16, FIXED, a, fixed_in=2),
            Cost(16, FIXED, b, fixed_in=2),
            Cost(16 * 9, a + b, c),
            Cost(16, b, a),
            Cost(1, c + a, FIXED, fixed_out=2),
        ],
        seed=2,
    )


def depthwise() -> Case:
    """A depthwise convolution with a multiplier, and a separable one."""
    image = keras.Input((4, 4, 2))
    x = _conv(3, name="one")(image)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = _conv(4, name="two")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="plain")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", name="apart")(x)
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    a, b, c = [0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11]
    doubled = [0, 0, 1, 1, 2, 2]
    return Case(
        model,
        [("one/kernel", 3, a), ("two/kernel", 3, b), ("apart/pointwise_kernel", 3, c)],
        [("bn/gamma", doubled)],
        [
            Cost(16, FIXED, a, fixed_in=2),
            Cost(16 * 9, a, doubled, depthwise=True),
            Cost(16, doubled, b),
            Cost(16 * 9, b, b, depthwise=True),
            Cost(16 * 9, b, b, depthwise=True),
            Cost(16, b, c),
            Cost(1, c, FIXED, fixed_out=2),
        ],
        seed=3,
    )


def squeeze_excite() -> Case:
    """A gate: a product of an image with a vector of as many channels."""
    image = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="bn")(_conv(4, 3, name="one")(image))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = _conv(3, name="squeeze", activation="relu")(gate)
    gate = _conv(4, name="excite", activation="sigmoid")(gate)
    x = _conv(5, name="two")(layers.Multiply()([x, gate]))
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    a, b, c = [0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11]
    return Case(
        model,
        [("one/kernel", 3, a), ("squeeze/kernel", 3, b), ("excite/kernel", 3, a), ("two/kernel", 3, c)],
        [("bn/gamma", a)],
        [
            Cost(16 * 9, FIXED, a, fixed_in=2),
            Cost(1, a, b),
            Cost(1, b, a),
            Cost(16, a, c),
            Cost(1, c, FIXED, fixed_out=2),
        ],
        seed=4,
    )


def flatten() -> Case:
    """A dense layer that reads every pixel of every channel."""
    image = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="bn")(_conv(3, 3, name="one")(image))
    x = layers.Dense(5, name="dense", activation="relu")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    a, b = [0, 1, 2], [3, 4, 5, 6, 7]
    return Case(
        model,
        [("one/kernel", 3, a), ("dense/kernel", 1, b)],
        [("bn/gamma", a)],
        [Cost(16 * 9, FIXED, a, fixed_in=2), Cost(1, a * 16, b), Cost(1, b, FIXED, fixed_out=2)],
        seed=5,
    )


def transposed() -> Case:
    """A transposed convolution, whose kernel has its output channels before its input channels."""
    image = keras.Input((4, 4, 2))
    x = _conv(3, name="one")(image)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.BatchNormalization(name="bn")(x)
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    a, b = [0, 1, 2], [3, 4, 5, 6]
    return Case(
        model,
        [("one/kernel", 3, a), ("up/kernel", 2, b)],
        [("bn/gamma", b)],
        [Cost(16, FIXED, a, fixed_in=2), Cost(16 * 9, a, b), Cost(1, b, FIXED, fixed_out=2)],
        seed=6,
    )


def shared() -> Case:
    """A layer that is called twice, on what it makes itself: it costs twice."""
    image = keras.Input((4, 4, 2))
    again = _conv(4, 3, name="again")
    x = layers.BatchNormalization(name="bn")(_conv(4, name="one")(image))
    x = again(again(x))
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    a = [0, 1, 2, 3]
    return Case(
        model,
        [("one/kernel", 3, a), ("again/kernel", 3, a)],
        [("bn/gamma", a)],
        [Cost(16, FIXED, a, fixed_in=2), Cost(2 * 16 * 9, a, a), Cost(1, a, FIXED, fixed_out=2)],
        seed=7,
    )


CASES: dict[str, Callable[[], Case]] = {
    build.__name__: build for build in (residual, concatenation, depthwise, squeeze_excite, flatten, transposed, shared)
}


def sizes(case: Case, values: dict[str, np.ndarray], algorithm: str, l1_fraction: float = 0.0) -> dict[int, float]:
    """How large every channel is, by loops over positions."""
    found: dict[int, float] = {}
    if algorithm == "gamma":
        for path, ids in case.gammas:
            for place, number in enumerate(ids):
                found[number] = max(found.get(number, 0.0), abs(values[path][place]))
        return found
    for path, axis, ids in case.kernels:
        for place, number in enumerate(ids):
            column = np.take(values[path], place, axis=axis)
            size = (1 - l1_fraction) * np.sqrt((column**2).mean()) + l1_fraction * np.abs(column).mean()
            found[number] = max(found.get(number, 0.0), float(size))
    return found


def cost_and_penalty(costs: Iterable[Cost], size: dict[int, float], threshold: float) -> tuple[float, float]:
    """The cost of what is alive, and the regulariser, both absolute. Channels without a size are alive."""
    cost = penalty = 0.0
    for term in costs:
        n_in = term.fixed_in + sum(size.get(number, np.inf) > threshold for number in term.reads)
        n_out = term.fixed_out + sum(size.get(number, np.inf) > threshold for number in term.makes)
        r_in = sum(size.get(number, 0.0) for number in term.reads)
        r_out = sum(size.get(number, 0.0) for number in term.makes)
        if term.depthwise:
            cost += term.coefficient * n_out
            penalty += term.coefficient * (r_in + r_out)
        else:
            cost += term.coefficient * n_in * n_out
            penalty += term.coefficient * (n_in * r_out + n_out * r_in)
    return cost, penalty
