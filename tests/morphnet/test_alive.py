"""Magnitudes and masks against numbers worked out by hand from the arrays."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.channels import analyse
from kerasurgeon.errors import OptionError
from kerasurgeon.keras_io import lift
from kerasurgeon.morphnet.alive import alive_plan, counts, is_convolution, living, norms, settle, terms, vanished
from tests.channels.networks import residual


def by_source(model: keras.Model, algorithm: str, **options: float) -> dict[str, np.ndarray]:
    channels = analyse(lift(model))
    sizes = norms(channels.graph, channels, algorithm, **options)
    return {name: sizes[channels.unit[source.ids.ravel()]] for name, source in channels.sources.items()}


def kernel(model: keras.Model, name: str) -> np.ndarray:
    return np.asarray(model.get_layer(name).kernel, "float64")


def root_mean_square(array: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((array.reshape(-1, array.shape[-1]) ** 2).mean(axis=0)))


def test_group_lasso_takes_the_largest_of_what_is_added() -> None:
    model = residual()
    found = by_source(model, "group_lasso")
    np.testing.assert_allclose(found["a1"], root_mean_square(kernel(model, "a1")), rtol=1e-12)
    together = [root_mean_square(kernel(model, name)) for name in ("stem", "a2", "b2")]
    for name in ("stem", "a2", "b2"):
        np.testing.assert_allclose(found[name], np.max(together, axis=0), rtol=1e-12)


def test_l1_fraction_mixes_in_the_mean() -> None:
    model = residual()
    array = kernel(model, "a1")
    expected = 0.7 * root_mean_square(array) + 0.3 * np.abs(array).reshape(-1, 6).mean(axis=0)
    np.testing.assert_allclose(by_source(model, "group_lasso", l1_fraction=0.3)["a1"], expected, rtol=1e-12)


def test_gamma_speaks_for_what_it_scales_and_for_nothing_else() -> None:
    model = residual()
    found = by_source(model, "gamma")
    np.testing.assert_allclose(found["a1"], np.abs(np.asarray(model.get_layer("bn1").gamma, "float64")), rtol=1e-6)
    np.testing.assert_allclose(found["stem"], np.abs(np.asarray(model.get_layer("bn2").gamma, "float64")), rtol=1e-6)
    assert np.isnan(found["b1"]).all()
    channels = analyse(lift(model))
    assert living(channels.graph, channels, "gamma", 1e9)[channels.unit[channels.sources["b1"].ids]].all()


def test_transposed_separable_and_grouped_kernels() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2DTranspose(4, 3, name="up")(inputs)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")(x)
    x = layers.Conv2D(6, 3, groups=3, name="grouped")(x)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    found = by_source(model, "group_lasso")
    up = np.moveaxis(kernel(model, "up"), 2, 3)  # its kernel has the channels it makes before those it reads
    np.testing.assert_allclose(found["up"], root_mean_square(up), rtol=1e-12)
    pointwise = root_mean_square(np.asarray(model.get_layer("separable").pointwise_kernel, "float64"))
    grouped = root_mean_square(kernel(model, "grouped"))
    # A group of two goes as one, with what it reads: the largest of four.
    largest = np.repeat(np.maximum(pointwise, grouped).reshape(3, 2).max(axis=1), 2)
    np.testing.assert_allclose(found["grouped"], largest, rtol=1e-12)
    np.testing.assert_allclose(found["separable"], largest, rtol=1e-12)
    channels = analyse(lift(model))
    assert {term.weight for term in terms(channels, "group_lasso")} == {"kernel", "pointwise_kernel"}


def test_alive_is_above_the_threshold_or_frozen() -> None:
    model = residual()
    array = kernel(model, "a1")
    array[..., [1, 4]] *= 1e-6
    model.get_layer("a1").kernel.assign(array)
    channels = analyse(lift(model))
    mask = living(channels.graph, channels)
    units = channels.unit[channels.sources["a1"].ids]
    assert mask[units].tolist() == [True, False, True, True, False, True]
    assert alive_plan(channels, mask).kept["a1"] == (0, 2, 3, 5)
    assert counts(channels, mask, is_convolution) == {"a1": 4, "a2": 8, "b1": 5, "b2": 8, "stem": 8}
    assert counts(channels, mask)["head"] == 4
    everything = living(channels.graph, channels, threshold=1e9)
    assert everything[channels.unit[channels.sources["head"].ids]].all()
    assert vanished(channels, everything) == ("stem", "a1", "a2", "b1", "b2")


def test_floors_bring_back_the_largest() -> None:
    model = residual()
    channels = analyse(lift(model))
    sizes = norms(channels.graph, channels)
    mask = living(channels.graph, channels, threshold=1e9, floors={"b1": 2, "*": 1})
    units = channels.unit[channels.sources["b1"].ids]
    assert set(np.flatnonzero(mask[units])) == set(np.argsort(sizes[units])[-2:])
    assert counts(channels, mask) == {"a1": 1, "a2": 1, "b1": 2, "b2": 1, "head": 4, "stem": 1}
    first = living(channels.graph, channels, threshold=1e9, keep_first=True)
    assert np.flatnonzero(first[units]).tolist() == [0]
    tie = settle(channels, np.zeros(channels.units, bool), np.zeros(channels.units), floors=2)
    assert np.flatnonzero(tie[units]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "lasso"}, "group_lasso"),
        ({"threshold": -1.0}, "a number from 0"),
        ({"l1_fraction": 2.0}, r"a number in \[0, 1\]"),
        ({"floors": {"stemm": 2}}, "did you mean 'stem'"),
        ({"floors": -1}, "whole numbers from 0"),
    ],
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    channels = analyse(lift(residual()))
    with pytest.raises(OptionError, match=message):
        living(channels.graph, channels, **options)
