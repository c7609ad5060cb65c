"""ChangeClasses: classes that stay have the values that they had, in the order that was asked for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import ChangeClasses
from tests.passes.checking import changed, model_of, run

layers = keras.layers
Array = np.ndarray[Any, Any]
IMAGES = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")


def classifier(activation: str | None = "softmax") -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(inputs))
    return model_of(inputs, layers.Dense(5, activation=activation, name="scores")(x))


def segmenter() -> keras.Model:
    """A 1x1 convolution, made larger, with a softmax of its own behind it."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(5, 1, name="scores")(x))
    return model_of(inputs, layers.Softmax()(layers.UpSampling2D(2, interpolation="bilinear")(x)))


def pooled() -> keras.Model:
    """Classes made by a convolution, pooled, and reshaped."""
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(5, 3, name="scores")(inputs))
    return model_of(inputs, layers.Activation("softmax")(layers.Flatten()(x)))


@pytest.mark.parametrize("make", [classifier, segmenter, pooled])
def test_chosen_classes(make: Any) -> None:
    model = make()
    new = ks.change_classes(model, keep=(3, 0))
    old = np.asarray(model(IMAGES))[..., [3, 0]]
    np.testing.assert_allclose(np.asarray(new(IMAGES)), old / old.sum(-1, keepdims=True), rtol=2e-5, atol=1e-6)
    assert model.output_shape[-1] == 5


def test_new_classes_stand_behind_the_kept_ones() -> None:
    model = classifier(None)
    new = ks.change_classes(model, 40, keep=(4, 1), seed=3)
    found = np.asarray(new(IMAGES))
    np.testing.assert_allclose(found[:, :2], np.asarray(model(IMAGES))[:, [4, 1]], rtol=1e-5, atol=1e-6)
    kernel, bias = model.get_layer("scores").get_weights()
    fresh, shifts = new.get_layer("scores").get_weights()
    assert 0.7 < fresh[:, 2:].std() / kernel.std() < 1.4
    assert len(np.unique(fresh)) == fresh.size
    np.testing.assert_allclose(shifts[2:], bias.mean(), rtol=1e-5)
    again = ks.change_classes(model, 40, keep=(4, 1), seed=3).get_layer("scores").get_weights()[0]
    np.testing.assert_array_equal(again, fresh)
    assert np.abs(ks.change_classes(model, 40, keep=(4, 1)).get_layer("scores").get_weights()[0] - fresh).max() > 0
    assert changed(run(ChangeClasses(40, keep=(4, 1)), model)) == {"scores": "5 classes became 40: 2 kept, 38 new"}


def test_the_first_classes_stay_by_default() -> None:
    model = classifier(None)
    old = np.asarray(model(IMAGES))
    np.testing.assert_allclose(np.asarray(ks.change_classes(model, 3)(IMAGES)), old[:, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(ks.change_classes(model, 7)(IMAGES))[:, :5], old, rtol=1e-5, atol=1e-6)
    fresh = ks.change_classes(model, 5, keep=()).get_layer("scores").get_weights()[0]
    assert np.abs(fresh - model.get_layer("scores").get_weights()[0]).min() > 0


def test_one_output_of_two() -> None:
    inputs = keras.Input((6,))
    x = layers.Dense(4, activation="relu")(inputs)
    model = model_of(inputs, [layers.Dense(5, name="kind")(x), layers.Dense(2, name="place")(x)])
    data = np.ones((2, 6), "float32")
    with pytest.raises(ks.PlaceError, match=r"2 outputs(.|\n)*'kind'"):
        ks.change_classes(model, 3)
    kind, place = ks.change_classes(model, 3, output="kind")(data)
    np.testing.assert_allclose(np.asarray(kind), np.asarray(model(data)[0])[:, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(place), np.asarray(model(data)[1]))


def test_what_cannot_be_is_refused() -> None:
    model = classifier()
    for options, message in (
        ({"keep": (1, 5)}, "0 to 4"),
        ({"keep": (1, 1)}, "2, 1 of them different"),
        ({"classes": 1, "keep": (1, 2)}, "at most as many"),
        ({"keep": (-1,)}, "whole numbers from 0"),
        ({"classes": -1}, "'classes' cannot be used(.|\n)*a whole number from 1"),
    ):
        with pytest.raises(ks.OptionError, match=message):
            ks.change_classes(model, **options)
    with pytest.raises(ks.OptionError, match="asked for nothing"):
        ChangeClasses()
    with pytest.raises(ks.OptionError, match="Nothing is asked for"):
        ks.change_classes(model)
    inputs = keras.Input((6,))
    closed = model_of(inputs, layers.Lambda(lambda x: x * 2, name="mine")(layers.Dense(4)(inputs)))
    with pytest.raises(ks.GraphError, match="classes of output 'mine'"):
        ks.change_classes(closed, 2)
