"""A branch of several layers whose first one loses all channels: as with zeros in what reads it, and it is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812 - many per line
from keras import ops

import kerasurgeon as ks
from kerasurgeon.channels import cut_channels
from kerasurgeon.passes import ApplyPlan
from tests.zoo.sampling import randomise

Build = Callable[[], keras.Model]


def conv(filters: int, name: str, size: int = 3, **options: Any) -> Any:
    return L.Conv2D(filters, size, **{"padding": "same", "use_bias": False, "name": name} | options)


def norm(name: str, *, shift: bool) -> Any:
    return L.BatchNormalization(name=name, center=shift, scale=True)


def joined(branch: Callable[[Any], Any], join: Callable[[Any, Any], Any] | None = None, **head: Any) -> keras.Model:
    """image -> a -> branch, joined with image -> b, then r and d."""
    x = keras.Input((8, 8, 2))
    y = branch(conv(3, "a")(x))
    other = conv(4, "b", use_bias=True)(x)
    y = (join or (lambda one, two: L.Concatenate(name="join")([one, two])))(y, other)
    y = conv(4, "r", 2, **{"use_bias": True, "padding": "valid"} | head)(y)
    return keras.Model(x, L.Dense(5, name="d")(L.Flatten()(y)))


def silent_norm(x: Any) -> Any:
    """A batch norm that gives zero for zero: no offset, no mean."""
    return L.BatchNormalization(name="bn", center=False, moving_mean_initializer="zeros")(x)


def several_outputs() -> keras.Model:
    x = keras.Input((8, 8, 2))
    y = conv(4, "z2")(L.ReLU()(conv(4, "z")(L.ReLU()(conv(3, "a")(x)))))
    other = conv(4, "b", use_bias=True)(x)
    pool = L.GlobalAveragePooling2D()
    first = L.Dense(3, name="first")(pool(conv(4, "r", 2)(L.Concatenate()([y, other]))))
    return keras.Model(x, [first, L.Dense(2, name="second")(pool(L.ReLU()(other)))])


def nested() -> keras.Model:
    x, inner = keras.Input((8, 8, 2)), keras.Input((8, 8, 2))
    body = keras.Model(inner, conv(4, "z2")(conv(4, "z")(L.ReLU()(conv(3, "a")(inner)))), name="body")
    y = L.Concatenate()([body(x), conv(4, "b", use_bias=True)(x)])
    return keras.Model(x, L.Dense(5, name="d")(L.Flatten()(conv(4, "r", 2)(y))))


def gated() -> keras.Model:
    """Zero times what nothing else reads: that goes as well."""
    x = keras.Input((8, 8, 2))
    y = conv(4, "z")(L.ReLU()(conv(3, "a")(x)))
    y = L.Multiply(name="times")([y, conv(4, "gate", use_bias=True)(x)])
    y = L.Concatenate(name="join")([y, conv(4, "b", use_bias=True)(x)])
    return keras.Model(x, L.Dense(5, name="d")(L.Flatten()(conv(4, "r", 2)(y))))


def attended() -> keras.Model:
    """Zeros as the value of an attention of which nothing has a bias."""
    x = keras.Input((6, 4))
    y = L.Dense(4, use_bias=False, name="z")(L.ReLU()(L.Dense(3, use_bias=False, name="a")(x)))
    attention = L.MultiHeadAttention(2, 3, use_bias=False, name="attention")
    y = attention(L.Dense(4, name="query")(x), y, L.Dense(4, use_bias=False, name="key")(x))
    y = L.Concatenate(name="join")([L.Dense(3, use_bias=False, name="z2")(y), L.Dense(4, name="b")(x)])
    return keras.Model(x, L.Dense(5, name="d")(L.Dense(4, name="r")(y)))


def by_dense() -> keras.Model:
    """Flattened, so that labels lie over three axes."""
    x = keras.Input((4, 4, 2))
    y = L.Flatten()(conv(4, "z")(L.ReLU()(conv(3, "a")(x))))
    y = L.Concatenate()([y, L.Flatten()(conv(2, "b", use_bias=True)(x))])
    return keras.Model(x, L.Dense(5, name="d")(L.Dense(4, name="r", activation="relu")(y)))


def with_offsets() -> keras.Model:
    """Constants that are not zero, before a layer that does not pad: into its bias."""
    return joined(lambda x: conv(4, "z", 1, use_bias=True, activation="tanh")(L.ReLU()(x)))


def multiplied_elsewhere() -> keras.Model:
    """Zero times what something else reads too."""
    x = keras.Input((8, 8, 2))
    y = conv(4, "z2")(conv(4, "z")(L.ReLU()(conv(3, "a")(x))))
    other = conv(4, "b", use_bias=True)(x)
    y = L.Concatenate(name="join")([L.Multiply(name="times")([y, other]), L.ReLU()(other)])
    return keras.Model(x, L.Dense(5, name="d")(L.Flatten()(conv(4, "r", 2)(y))))


# How it is made, what reads channels of "a", what is gone when "a" has none left, and what stays of its branch.
LONG: dict[str, tuple[Build, tuple[str, ...], tuple[str, ...]]] = {
    "two convolutions": (lambda: joined(lambda x: conv(4, "z")(L.ReLU()(x))), ("z",), ("a", "z")),
    "three": (lambda: joined(lambda x: conv(4, "z2")(L.ReLU()(conv(5, "z")(x)))), ("z",), ("a", "z", "z2")),
    "activations that give zero for zero": (
        lambda: joined(lambda x: L.Activation("tanh")(conv(4, "z2")(L.Activation("gelu")(conv(4, "z")(x))))),
        ("z",),
        ("a", "z", "z2"),
    ),
    "pooling": (
        lambda: joined(
            lambda x: L.UpSampling2D(2)(
                L.AveragePooling2D(2)(conv(4, "z2")(L.MaxPooling2D(3, 1, "same")(conv(4, "z")(x))))
            )
        ),
        ("z",),
        ("a", "z", "z2"),
    ),
    "a batch norm without an offset": (
        lambda: joined(lambda x: conv(4, "z2")(silent_norm(conv(4, "z")(x)))),
        ("z",),
        ("a", "z", "bn", "z2"),
    ),
    "depthwise and separable": (
        lambda: joined(
            lambda x: L.SeparableConv2D(4, 3, padding="same", use_bias=False, name="sep")(
                L.DepthwiseConv2D(3, padding="same", use_bias=False, name="dw")(conv(4, "z")(x))
            )
        ),
        ("z",),
        ("a", "z", "dw", "sep"),
    ),
    "an addition, of which it is no part any more": (
        lambda: joined(
            lambda x: conv(4, "z2")(L.ReLU()(conv(4, "z")(x))), lambda one, two: L.Add(name="join")([one, two])
        ),
        ("z",),
        ("a", "z", "z2", "join"),
    ),
    "a concatenation within the branch": (
        lambda: joined(lambda x: conv(4, "z2")(L.Concatenate()([conv(4, "z")(x), conv(2, "y", 1)(x)]))),
        ("z", "y"),
        ("a", "z", "y", "z2"),
    ),
    "a product with zero": (gated, ("z",), ("a", "z", "times", "gate")),
    "a product with zero of what is read elsewhere": (multiplied_elsewhere, ("z",), ("a", "z", "z2")),
    "attention": (attended, ("z",), ("a", "z")),
    "a nested model": (nested, ("z",), ("a", "z", "z2")),
    "several outputs": (several_outputs, ("z",), ("a", "z", "z2")),
    "dense layers behind a Flatten": (by_dense, ("z",), ("a", "z")),
    "offsets before what does not pad": (with_offsets, ("z",), ("a", "z")),
    "offsets before what pads: a channel stays, of which nothing is read": (
        lambda: joined(lambda x: conv(4, "z", use_bias=True)(conv(4, "y", use_bias=True)(x)), padding="same"),
        ("y",),
        (),
    ),
    "a norm over the channels of the join: all stays, zeros too": (
        lambda: joined(
            lambda x: conv(4, "z")(L.ReLU()(x)),
            lambda one, two: L.LayerNormalization(name="join")(L.Concatenate()([one, two])),
        ),
        ("z",),
        (),
    ),
}


def found(model: keras.Model, name: str) -> Any:
    """A layer, in nested models too."""
    for layer in model.layers:
        if layer.name == name:
            return layer
        if isinstance(layer, keras.Model) and (inner := found(layer, name)) is not None:
            return inner
    return None


def made(build: Build) -> keras.Model:
    model = build()
    randomise(model, 3)
    if found(model, "bn") is not None:
        norm = found(model, "bn")
        norm.moving_mean.assign(ops.zeros_like(norm.moving_mean))
    return model


def silenced(build: Build, readers: tuple[str, ...]) -> keras.Model:
    """The oracle: plain Keras, with zeros in all that reads the channels."""
    model = made(build)
    for name in readers:
        kernel = found(model, name).kernel
        kernel.assign(ops.zeros_like(kernel))
    return model


def outputs(model: keras.Model) -> list[np.ndarray[Any, Any]]:
    shape = (3, *model.inputs[0].shape[1:])
    data = np.random.default_rng(1).normal(size=shape).astype("float32")
    return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(model(data))]


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", LONG)
def test_a_long_branch_goes_as_a_whole(name: str) -> None:
    build, readers, gone = LONG[name]
    model = made(build)
    key = "body/a" if name == "a nested model" else "a"
    plan = ks.ChannelPlan({key: []})
    small = ks.cut(model, plan)
    for one, other in zip(outputs(silenced(build, readers)), outputs(small), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())
    assert [layer for layer in gone if found(small, layer) is not None] == []
    if not gone:
        assert found(small, "a").filters == 1
    result = ks.Pipeline([ApplyPlan(plan)]).run(model)  # compares with the masked twin
    assert result.model.count_params() == small.count_params()


def test_what_was_dead_before_is_left_to_the_plan() -> None:
    build, _, _ = LONG["two convolutions"]
    model = made(build)
    kernel, bias = model.get_layer("b").kernel, model.get_layer("b").bias
    kernel.assign(kernel * np.array([0.0, 1.0, 0.0, 1.0], "float32"))
    bias.assign(ops.zeros_like(bias))
    assert ks.cut(model, ks.ChannelPlan({"a": []})).get_layer("b").filters == 4


def test_fresh_weights_drop_the_branch_with_what_it_gave() -> None:
    build, _, _ = LONG["an addition, of which it is no part any more"]

    graph = ks.lift(made(build))
    report = cut_channels(graph, ks.ChannelPlan({"a": []}), constants=False)
    assert set(report.removed) == {"join"}
