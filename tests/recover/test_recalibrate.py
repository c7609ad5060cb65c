"""Batch-norm statistics from data, against numpy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import RecalibrateBatchNorm
from kerasurgeon.testing import assert_same_outputs
from tests.zoo.sampling import randomise

layers = keras.layers
Array = np.ndarray[Any, Any]


def network(axis: int = -1) -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization(axis=axis, name="first")(layers.Conv2D(6, 3, name="conv")(inputs))
    x = layers.Dropout(0.5)(layers.ReLU(name="relu")(x))
    x = layers.BatchNormalization(name="second", center=False, scale=False)(layers.Conv2D(4, 1, name="point")(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    randomise(model)
    return model


def images(count: int = 50) -> Array:
    return np.random.default_rng(0).normal(1.0, 2.0, (count, 6, 6, 3)).astype("float32")


def activations(model: keras.Model, name: str, data: Array) -> Array:
    inner = keras.Model(model.input, model.get_layer(name).output)
    return np.asarray(keras.ops.convert_to_numpy(inner(data, training=False)), np.float64)


def statistics(model: keras.Model, name: str) -> tuple[Array, Array]:
    layer = model.get_layer(name)
    return np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)


def test_in_one_batch_every_norm_holds_the_statistics_of_its_input() -> None:
    model, data = network(), images()
    before = [np.array(weight) for weight in model.get_weights()]
    made = ks.recalibrate_batch_norm(model, data, batch_size=50)
    for norm, reads in (("first", "conv"), ("second", "point")):
        array = activations(made, reads, data)  # of the new model: statistics further up are new as well
        mean, variance = statistics(made, norm)
        np.testing.assert_allclose(mean, array.mean(axis=(0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(variance, array.var(axis=(0, 1, 2)), rtol=1e-4)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_are_put_together_by_the_law_of_total_variance() -> None:
    model, data = network(), images()
    array = activations(model, "conv", data)  # nothing above the first one depends on batches
    mean, variance = statistics(ks.recalibrate_batch_norm(model, data, batch_size=16), "first")
    np.testing.assert_allclose(mean, array.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(variance, array.var(axis=(0, 1, 2)), rtol=1e-4)
    mean, _ = statistics(ks.recalibrate_batch_norm(model, data, batch_size=16, batches=2), "first")
    np.testing.assert_allclose(mean, array[:32].mean(axis=(0, 1, 2)), atol=1e-4)


def test_one_batch_is_what_keras_finds_in_training_with_momentum_zero() -> None:
    model, data = network(), images()
    made = ks.recalibrate_batch_norm(model, data, batch_size=50)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    twin(data, training=True)
    for norm in ("first", "second"):
        for one, other in zip(statistics(made, norm), statistics(twin, norm), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_another_axis_and_a_norm_that_is_called_twice() -> None:
    data = images()
    made = ks.recalibrate_batch_norm(network(axis=1), data, batch_size=50)
    array = activations(made, "conv", data)
    np.testing.assert_allclose(statistics(made, "first")[0], array.mean(axis=(0, 2, 3)), atol=1e-4)
    inputs = keras.Input((4,))
    norm = layers.BatchNormalization(name="norm")
    model = keras.Model(inputs, layers.Add()([norm(inputs), norm(layers.Rescaling(3.0)(inputs))]))
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    mean, variance = statistics(ks.recalibrate_batch_norm(model, rows, batch_size=40), "norm")
    both = np.concatenate([rows, 3 * rows]).astype("float64")
    np.testing.assert_allclose(mean, both.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(variance, both.var(axis=0), rtol=1e-4)


@pytest.mark.parametrize("form", ["pair", "batches", "pairs", "dict"])
def test_data_in_any_form(form: str) -> None:
    model, data = network(), images(40)
    labels = np.zeros(40)
    forms: dict[str, Any] = {
        "pair": (data, labels),
        "batches": [data[:20], data[20:]],
        "pairs": ((data[start : start + 20], labels[:20]) for start in (0, 20)),
        "dict": {model.layers[0].name: data},
    }
    wanted = statistics(ks.recalibrate_batch_norm(model, data, batch_size=20), "second")
    got = statistics(ks.recalibrate_batch_norm(model, forms[form], batch_size=20), "second")
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_pass() -> None:
    model, data = network(), images()
    result = ks.Pipeline([RecalibrateBatchNorm(batch_size=50)]).run(model, data=(data, np.zeros(50)))
    assert len(result.report.passes[0].changed) == 2
    assert_same_outputs(result.model, ks.recalibrate_batch_norm(model, data, batch_size=50))
    again = ks.Pipeline([RecalibrateBatchNorm(batch_size=50)]).run(result.model, data=data)
    assert not again.report.passes[0].changed


def test_bad_input() -> None:
    model, data = network(), images(8)
    with pytest.raises(OptionError, match="'batch_size' must be"):
        ks.recalibrate_batch_norm(model, data, batch_size=0)
    with pytest.raises(OptionError, match="is empty"):
        ks.recalibrate_batch_norm(model, data[:0])
    with pytest.raises(OptionError, match="is empty"):
        ks.recalibrate_batch_norm(model, [])
    with pytest.raises(OptionError, match="does not fit"):
        ks.recalibrate_batch_norm(model, data[:, :5])
    with pytest.raises(OptionError, match="NaN"):
        ks.recalibrate_batch_norm(model, np.full_like(data, np.nan))
    with pytest.raises(OptionError, match="a whole number from 1"):
        RecalibrateBatchNorm(batches=0)
    with pytest.raises(PassError, match="needs data"):
        ks.apply_passes(model, [RecalibrateBatchNorm()])
    inputs = keras.Input((3,))
    plain = keras.Model(inputs, layers.Dense(2)(inputs))
    assert_same_outputs(ks.recalibrate_batch_norm(plain, np.zeros((4, 3))), plain)
