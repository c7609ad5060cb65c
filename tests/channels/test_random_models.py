"""Random functional models over many rules, cut at random: the result equals the masked twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.keras_io import lift
from tests.channels.building import array, assert_masked_is_blind, conv, dense
from tests.channels.oracle import assert_cut_is_exact

Step = Callable[[Any, Any], Any]
"""Makes an image of another one; the second argument draws."""


def _pick(draw: Any, *choices: Any) -> Any:
    return draw(st.sampled_from(choices))


def _convolution(value: Any, draw: Any) -> Any:
    groups = _pick(draw, *(number for number in (1, 1, 2, 4) if value.shape[-1] % number == 0))
    return conv(
        groups * _pick(draw, 2, 3),
        _pick(draw, 1, 3),
        groups=groups,
        activation=_pick(draw, None, "relu", "tanh"),
        use_bias=draw(st.booleans()),
    )(value)


def _shuffle(value: Any, draw: Any) -> Any:
    height, width, channels = value.shape[1:]
    groups = _pick(draw, *(number for number in range(1, channels + 1) if channels % number == 0))
    value = ops.reshape(value, (-1, height, width, groups, channels // groups))
    return ops.reshape(ops.transpose(value, (0, 1, 2, 4, 3)), (-1, height, width, channels))


def _slice(value: Any, draw: Any) -> Any:
    start = draw(st.integers(0, value.shape[-1] - 1))
    return value[..., start : draw(st.integers(start + 1, value.shape[-1]))]


def _take(value: Any, draw: Any) -> Any:
    return ops.take(value, draw(st.lists(st.integers(0, value.shape[-1] - 1), min_size=1, max_size=6)), axis=-1)


def _gate(value: Any, draw: Any) -> Any:
    squeezed = ops.mean(value, axis=(1, 2), keepdims=draw(st.booleans()))
    gate = dense(value.shape[-1], activation="sigmoid")(dense(3, activation="relu")(squeezed))
    return value * (gate if len(gate.shape) == 4 else layers.Reshape((1, 1, value.shape[-1]))(gate))


def _halves(value: Any, draw: Any) -> Any:
    if value.shape[-1] % 2:
        return value
    one, two = ops.split(value, 2, axis=-1)
    return _pick(draw, lambda: one * two, lambda: ops.concatenate([two, one], -1), lambda: ops.glu(value))()


def _mixed_tokens(value: Any, draw: Any) -> Any:
    height, width, channels = value.shape[1:]
    tokens = layers.Permute((2, 1))(layers.Reshape((height * width, channels))(value))
    mixed = dense(height * width)(dense(_pick(draw, 2, 5), activation="tanh")(tokens))
    return layers.Reshape((height, width, channels))(layers.Permute((2, 1))(mixed))


def _grouped_norm(value: Any, draw: Any) -> Any:
    channels = value.shape[-1]
    return layers.GroupNormalization(_pick(draw, *(n for n in (1, 2, 3, channels) if channels % n == 0)))(value)


def _pixel_shuffle(value: Any, draw: Any) -> Any:
    if value.shape[-1] % 4 or value.shape[1] > 4:
        return ops.space_to_depth(value, 2) if value.shape[1] % 2 == 0 and value.shape[-1] < 5 else value
    return ops.depth_to_space(value, 2)


STEPS: tuple[Step, ...] = (
    _convolution,
    _convolution,
    _shuffle,
    _slice,
    _take,
    _gate,
    _halves,
    _mixed_tokens,
    _grouped_norm,
    _pixel_shuffle,
    lambda value, draw: layers.BatchNormalization()(value),
    lambda value, draw: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=_pick(draw, 1, 2))(value),
    lambda value, draw: layers.SeparableConv2D(_pick(draw, 3, 4), 3, padding="same")(value),
    lambda value, draw: layers.PReLU("random_normal", shared_axes=_pick(draw, None, [1, 2], [3], [1]))(value),
    lambda value, draw: layers.MaxPooling2D(2, 1, "same")(value),
    lambda value, draw: layers.UnitNormalization(axis=_pick(draw, -1, 1))(value),
    lambda value, draw: value * array(*_pick(draw, value.shape[-1:], (1,), (value.shape[1], 1, value.shape[-1]))),
    lambda value, draw: ops.flip(value, axis=_pick(draw, -1, 1, None) or -1),
    lambda value, draw: ops.roll(value, draw(st.integers(-5, 5)), axis=_pick(draw, -1, 1)),
    lambda value, draw: ops.pad(value, [[0, 0], [0, 0], [0, 0], [draw(st.integers(0, 2)), 1]]),
    lambda value, draw: ops.repeat(value, 2, axis=-1) if value.shape[-1] < 5 else value,
    lambda value, draw: ops.tile(value, [1, 1, 1, 2]) if value.shape[-1] < 5 else value,
    lambda value, draw: value + ops.sum(value, axis=-1, keepdims=True),  # masked by a product
    lambda value, draw: layers.Permute((2, 1, 3))(value),
)


def _merged(one: Any, two: Any, draw: Any) -> Any:
    if one.shape[1:3] != two.shape[1:3]:
        two = layers.Resizing(*one.shape[1:3])(two)
    if one.shape[-1] == two.shape[-1] and draw(st.booleans()):
        return _pick(draw, layers.Add, layers.Multiply, layers.Maximum)()([one, two])
    return layers.Concatenate(_pick(draw, -1, 3))([one, two])


def drawn(draw: Any) -> keras.Model:
    """Chains and merges of up to eight steps over images, with one or two heads."""
    keras.utils.set_random_seed(draw(st.integers(0, 99)))
    inputs = keras.Input((4, 4, 3))
    made = [conv(_pick(draw, 4, 6, 8), 1, activation="tanh")(inputs)]
    for _ in range(draw(st.integers(2, 8))):
        value = _pick(draw, *made[-3:])
        if len(made) > 1 and draw(st.integers(0, 3)) == 0:
            made.append(_merged(value, _pick(draw, *made), draw))
        else:
            made.append(_pick(draw, *STEPS)(value, draw))
        if made[-1].shape[-1] > 24:
            made[-1] = conv(4, 1)(made[-1])
    heads = [layers.Flatten()(value) if draw(st.booleans()) else ops.mean(value, (1, 2)) for value in made[-2:]]
    return keras.Model(inputs, [dense(2)(value) for value in heads])


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # to make a failing model smaller takes minutes; do it by hand
    suppress_health_check=list(HealthCheck),
)
@given(st.data(), st.integers(0, 1000), st.sampled_from((0.2, 0.5, 0.8)))
def test_random_models_are_cut_exactly(data: st.DataObject, seed: int, ratio: float) -> None:
    keras.backend.clear_session()
    model = drawn(data.draw)
    assert not analyse(lift(model)).barriers
    assert_cut_is_exact(model, seeds=(seed,), ratio=ratio)
    assert_masked_is_blind(model, seed)
