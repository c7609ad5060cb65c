"""ChangeInput: what the new network gives is what the old one gave of the input that the new one stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasurgeon as ks
from kerasurgeon.passes import ChangeInput
from tests.passes.checking import changed, model_of, run

layers = keras.layers
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def image(*shape: int) -> Array:
    return RNG.normal(size=(2, *shape)).astype("float32")


def head(x: Any, classes: int = 4) -> Any:
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="stem")(x)))
    return layers.Dense(classes, name="scores")(layers.GlobalAveragePooling2D()(x))


def plain(shape: tuple[int | None, ...] = (8, 8, 3)) -> keras.Model:
    inputs = keras.Input(shape, name="image")
    return model_of(inputs, head(inputs))


def rescaled() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    return model_of(inputs, head(layers.ZeroPadding2D(1)(layers.Rescaling(0.5, 0.25)(inputs))))


def nested() -> keras.Model:
    inner = keras.Input((8, 8, 3))
    backbone = keras.Model(inner, layers.Conv2D(5, 3, activation="relu")(inner), name="backbone")
    inputs = keras.Input((8, 8, 3), name="image")
    return model_of(inputs, head(backbone(inputs)))


def flat() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    return model_of(inputs, layers.Dense(4)(layers.Flatten()(inputs)))


def close(one: Any, other: Any, tolerance: float = 2e-5) -> None:
    one, other = np.asarray(one), np.asarray(other)
    assert one.shape == other.shape
    assert np.abs(other).max() > 1e-3
    assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


# What the old network is given for an input of the new one, written out.
WAYS: dict[str, tuple[dict[str, Any], int, Callable[[Array], Array]]] = {
    "grey": ({}, 1, lambda x: np.concatenate([x, x, x], -1)),
    "five averaged": ({}, 5, lambda x: np.stack([x.mean(-1)] * 3, -1)),
    "four repeated": (
        {"channels": "repeat"},
        4,
        lambda x: np.stack([(x[..., 0] + x[..., 3]) / 2, x[..., 1], x[..., 2]], -1),
    ),
    "two repeated": ({"channels": "repeat"}, 2, lambda x: np.stack([x[..., 0], x[..., 1], 0 * x[..., 0]], -1)),
    "two chosen": (
        {"channels": "cut", "keep": (2, 0)},
        2,
        lambda x: np.stack([x[..., 1], 0 * x[..., 0], x[..., 0]], -1),
    ),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [plain, nested, flat])
def test_channels(make: Callable[[], keras.Model], way: str) -> None:
    options, count, old_input = WAYS[way]
    model = make()
    new = ks.change_input(model, (8, 8, count), **options)
    x = image(8, 8, count)
    close(new(x), model(old_input(x)))
    assert model.input_shape == (None, 8, 8, 3)
    assert keras.Model.from_config(new.get_config()).input_shape == (None, 8, 8, count)


@pytest.mark.parametrize("way", ["grey", "five averaged", "four repeated"])
def test_channels_behind_a_rescaling(way: str) -> None:
    options, count, old_input = WAYS[way]
    model = rescaled()
    x = image(8, 8, count)
    close(ks.change_input(model, (8, 8, count), **options)(x), model(old_input(x)))


def per_channel() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(inputs)
    x = layers.Rescaling([1.0, 2.0, 3.0])(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="first")(x)
    return model_of(inputs, head(layers.BatchNormalization()(x)))


def test_layers_on_each_channel_get_copies_with_them() -> None:
    model = per_channel()
    new = ks.change_input(model, (8, 8, 5), channels="repeat")
    x = image(8, 8, 3)
    close(new(x[..., [0, 1, 2, 0, 1]]), model(x))
    small = ks.change_input(model, (8, 8, 2), channels="cut", keep=(2, 0))
    with pytest.raises(ks.GraphError, match="number for each channel in its config: repeat or cut"):
        ks.change_input(model, (8, 8, 1))
    masked = keras.models.clone_model(model)
    masked.set_weights(model.get_weights())
    kernel, bias = masked.get_layer("stem").get_weights()
    kernel[:, :, 2:4] = 0  # the two channels of the middle one
    masked.get_layer("stem").set_weights([kernel, bias])
    close(small(x[..., [2, 0]]), masked(x))


def test_channels_first() -> None:
    inputs = keras.Input((3, 8, 8), name="image")
    x = layers.Conv2D(6, 3, data_format="channels_first", name="stem")(inputs)
    model = model_of(inputs, layers.GlobalAveragePooling2D(data_format="channels_first")(x))
    result = run(ChangeInput((1, 8, 12)), model)
    assert result.model.input_shape == (None, 1, 8, 12)
    kernel = model.get_layer("stem").get_weights()[0]
    np.testing.assert_allclose(
        result.model.get_layer("stem").get_weights()[0], kernel.sum(axis=2, keepdims=True), rtol=1e-5, atol=1e-6
    )
    assert changed(result) == {
        "image": "3 x 8 x 8 became 1 x 8 x 12",
        "stem": "averaged for 1 channels in place of 3",
    }


def test_inputs_by_name() -> None:
    one, other = keras.Input((8, 8, 3), name="colour"), keras.Input((8, 8, 2), name="depth")
    model = model_of([one, other], head(layers.Concatenate()([one, other])))
    new = ks.change_input(model, {"colour": (8, 8, 1)})
    x, y = image(8, 8, 1), image(8, 8, 2)
    close(new([x, y]), model([np.repeat(x, 3, -1), y]))
    with pytest.raises(ks.PlaceError, match="2 inputs"):
        ks.change_input(model, (8, 8, 1))
    with pytest.raises(ks.PlaceError, match=r"'color'(.|\n)*'colour'"):
        ks.change_input(model, {"color": (8, 8, 1)})


def test_sizes() -> None:
    model = plain()
    for shape in ((12, 10, 3), (None, None, 3)):
        new, by_hand = ks.change_input(model, shape), plain(shape)
        by_hand.set_weights(model.get_weights())
        x = image(12, 10, 3)
        np.testing.assert_array_equal(np.asarray(new(x)), np.asarray(by_hand(x)))
        assert new.input_shape == (None, *shape)
    sequence = keras.Input((10, 3))
    model = model_of(sequence, layers.LSTM(4)(layers.Conv1D(4, 3)(sequence)))
    new = ks.change_input(model, (20, 3))
    x = RNG.normal(size=(2, 20, 3)).astype("float32")
    padded = np.asarray(model.layers[-1](model.layers[1](x)))
    close(new(x), padded)


@pytest.mark.parametrize("size", [(12, 10), (5, 6)])
def test_dense_layers_by_position(size: tuple[int, int]) -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    maps = layers.Conv2D(5, 3, padding="same", name="maps")(inputs)
    x = layers.Dropout(0.5)(layers.Flatten(name="flat")(maps))
    model = model_of(inputs, layers.Dense(4, name="scores")(x))
    with pytest.raises(ks.GraphError, match=r"'scores' cannot work(.|\n)*dense='resample'"):
        ks.change_input(model, (*size, 3))
    x = image(*size, 3)
    new = ks.change_input(model, (*size, 3), dense="resample")
    features = tf.image.resize(model.get_layer("maps")(x), (8, 8), antialias=True)
    kernel, bias = model.get_layer("scores").get_weights()
    close(new(x), np.asarray(features).reshape(2, -1) @ kernel + bias, 1e-4)
    assert changed(run(ChangeInput((*size, 3), dense="resample"), model))["scores"].startswith(
        "its kernel was resampled"
    )


def test_what_cannot_follow_is_refused() -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    residual = model_of(inputs, layers.Add(name="sum")([inputs, layers.Conv2D(3, 1)(inputs)]))
    with pytest.raises(ks.GraphError, match="channels of input 'image'"):
        ks.change_input(
            model_of(inputs, layers.Lambda(lambda x: x[..., :1] * keras.random.uniform(()), name="mine")(inputs)),
            (8, 8, 1),
        )
    grown = ks.change_input(residual, (8, 8, 3))
    assert grown.output_shape == residual.output_shape
    with pytest.raises(ks.OptionError, match="another number of axes"):
        ks.change_input(plain(), (8, 3))
    with pytest.raises(ks.OptionError, match=r"cut to these channels(.|\n)*repeat"):
        ks.change_input(plain(), (8, 8, 4), channels="cut")
    with pytest.raises(ks.OptionError, match="no shape"):
        ChangeInput("8,8")
