"""Linear bridges: least squares compared with numpy's, sizes, and the Keras models that compute them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.blocks.calibration import measure
from kerasurgeon.blocks.linear import resizing
from kerasurgeon.blocks.moments import Fit, Moments
from kerasurgeon.blocks.places import find_region
from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.keras_io import lift
from tests.passes.checking import model_of


def rows(seed: int, count: int = 300, inputs: int = 5, outputs: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, inputs)) @ rng.normal(size=(inputs, inputs)) + 7 * rng.normal(size=inputs)
    return x, np.tanh(x @ rng.normal(size=(inputs, outputs))) + 3


def in_batches(x: np.ndarray, y: np.ndarray, *, full: bool = True) -> Moments:
    moments = Moments(full=full)
    for start in range(0, len(x), 64):
        moments.add(x[start : start + 64], y[start : start + 64])
    return moments


def relative_error(x: np.ndarray, y: np.ndarray, fit: Fit) -> float:
    made = (x * fit.weight if fit.weight.ndim == 1 else x @ fit.weight) + fit.bias
    return float(np.square(y - made).sum(axis=1).mean() / y.var(axis=0).sum())


@pytest.mark.parametrize("seed", range(3))
def test_projection_is_least_squares(seed: int) -> None:
    x, y = rows(seed)
    fit = in_batches(x, y).projection(0.0)
    expected, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)
    np.testing.assert_allclose(fit.weight, expected[:-1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.bias, expected[-1], rtol=1e-6, atol=1e-7)
    assert fit.error == pytest.approx(relative_error(x, y, fit), rel=1e-6)


@pytest.mark.parametrize("towards_identity", [False, True])
def test_a_ridge_is_least_squares_with_rows_for_it(towards_identity: bool) -> None:
    x, y = rows(3, outputs=5)
    fit = in_batches(x, y).projection(0.1, towards_identity=towards_identity)
    centred, wanted = x - x.mean(axis=0), y - y.mean(axis=0)
    strength = 0.1 * np.square(centred).sum() / x.shape[1]
    held = np.sqrt(strength) * np.eye(5)
    expected, *_ = np.linalg.lstsq(
        np.r_[centred, held], np.r_[wanted, held if towards_identity else 0 * held], rcond=None
    )
    np.testing.assert_allclose(fit.weight, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("full", [False, True])
def test_affine_and_scale_are_least_squares_channel_by_channel(full: bool) -> None:
    x, y = rows(4, outputs=5)
    moments = in_batches(x, y, full=full)
    affine, scale = moments.affine(), moments.scale()
    for channel in range(5):
        expected, *_ = np.linalg.lstsq(np.c_[x[:, channel], np.ones(len(x))], y[:, channel], rcond=None)
        np.testing.assert_allclose([affine.weight[channel], affine.bias[channel]], expected, rtol=1e-6)
        expected, *_ = np.linalg.lstsq(x[:, channel : channel + 1], y[:, channel], rcond=None)
        np.testing.assert_allclose(scale.weight[channel], expected[0], rtol=1e-6)
    for fit in (affine, scale, moments.identity()):
        assert fit.error == pytest.approx(relative_error(x, y, fit), rel=1e-6)


def test_constant_and_dependent_channels() -> None:
    x, y = rows(5, outputs=5)
    x[:, 2], x[:, 3] = 4.0, x[:, 1]
    moments = in_batches(x, y)
    affine = moments.affine()
    assert affine.weight[2] == 1.0
    assert affine.bias[2] == pytest.approx(y[:, 2].mean() - 4.0)
    plain = moments.projection(0.0)
    expected, *_ = np.linalg.lstsq(np.c_[x - x.mean(axis=0)], y - y.mean(axis=0), rcond=None)
    np.testing.assert_allclose(x @ plain.weight, x @ expected + (x @ plain.weight - x @ expected)[:1], atol=1e-6)


def test_large_means_lose_no_digits() -> None:
    x, y = rows(6)
    far = in_batches(x + 1e6, y + 1e6).projection(0.0)
    near = in_batches(x, y).projection(0.0)
    np.testing.assert_allclose(far.weight, near.weight, rtol=1e-5, atol=1e-6)


# input shape, layers of the region, what pools: the region is all between "begin" and "end".
SHAPES: dict[str, tuple[tuple[int, ...], Any, str]] = {
    "same": ((8, 9, 3), lambda x: layers.Conv2D(5, 3, padding="same")(x), "Conv2D"),
    "halved": ((8, 10, 3), lambda x: layers.Conv2D(5, 3, strides=2, padding="same")(x), "AveragePooling2D Conv2D"),
    "odd": ((9, 7, 3), lambda x: layers.Conv2D(5, 3, strides=2, padding="same")(x), "AveragePooling2D Conv2D"),
    "valid": ((9, 12, 3), lambda x: layers.Conv2D(5, 4)(x), "AveragePooling2D Conv2D"),
    "pool_valid": ((11, 13, 3), lambda x: layers.MaxPooling2D(3, 2)(x), "AveragePooling2D Conv2D"),
    "global": ((6, 6, 3), lambda x: layers.GlobalMaxPooling2D()(x), "GlobalAveragePooling2D Dense"),
    "vector": ((7,), lambda x: layers.Dense(4)(x), "Dense"),
    "sequence": ((12, 3), lambda x: layers.Conv1D(4, 3, strides=3)(x), "AveragePooling1D Conv1D"),
    "volume": ((6, 6, 6, 2), lambda x: layers.Conv3D(3, 2, strides=2)(x), "AveragePooling3D Conv3D"),
    "enlarged": (
        (4, 5, 3),
        lambda x: layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x),
        "Conv2D UpSampling2D",
    ),
}


def bridged(name: str) -> tuple[keras.Model, Any, Any]:
    shape, make, _ = SHAPES[name]
    inputs = keras.Input(shape, name="begin")
    model = model_of(inputs, layers.Activation("tanh", name="end")(make(inputs)))
    graph = lift(model)
    region = find_region(graph, "begin->end")
    return model, graph, region


@pytest.mark.parametrize("name", SHAPES)
def test_the_bridge_computes_the_fit_at_every_size(name: str) -> None:
    model, graph, region = bridged(name)
    resize = resizing(graph, region)
    data = np.random.default_rng(0).normal(size=(40, *SHAPES[name][0])).astype("float32")
    fit = measure(graph, {"it": (region, resize)}, data)["it"].projection(0.0)
    bridge = resize.model(fit, "bridge")
    assert [type(layer).__name__ for layer in bridge.layers[1:]] == SHAPES[name][2].split()
    assert all(layer.name.startswith("bridge_") for layer in bridge.layers[1:])
    wanted, made = (np.asarray(one(data, training=False), "float64") for one in (model, bridge))
    assert made.shape == wanted.shape
    error = np.square(wanted - made).mean() * wanted.shape[-1] / wanted.reshape(-1, wanted.shape[-1]).var(axis=0).sum()
    assert fit.error == pytest.approx(error, rel=1e-3)
    # No other bias or matrix of this form is better: the residual has no mean and is uncorrelated with what it reads.
    residual = (wanted - made).reshape(-1, wanted.shape[-1])
    assert np.abs(residual.mean(axis=0)).max() < 1e-4


def test_a_linear_region_is_reproduced() -> None:
    inputs = keras.Input((8, 8, 3), name="begin")
    x = layers.AveragePooling2D(2)(layers.Conv2D(6, 1)(inputs))
    model = model_of(inputs, layers.BatchNormalization(name="end")(x))
    graph = lift(model)
    region = find_region(graph, "begin->end")
    resize = resizing(graph, region)
    data = np.random.default_rng(1).normal(size=(20, 8, 8, 3)).astype("float32")
    fit = measure(graph, {"it": (region, resize)}, data)["it"].projection(0.0)
    assert fit.error < 1e-9
    bridge = resize.model(fit, "bridge")
    np.testing.assert_allclose(bridge(data), model(data, training=False), atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 6, 4), (9, 4), (4,), (3, 4, 5, 4)])
def test_one_number_a_channel_at_every_rank(shape: tuple[int, ...]) -> None:
    inputs = keras.Input(shape, name="begin")
    graph = lift(keras.Model(inputs, layers.ReLU(name="end")(inputs)))
    resize = resizing(graph, find_region(graph, "begin->end"))
    weight, bias = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.0, 1.0, -1.0, 2.0])
    data = np.random.default_rng(2).normal(size=(3, *shape)).astype("float32")
    np.testing.assert_allclose(resize.model(Fit(weight, bias, 0.0), "b")(data), data * weight + bias, atol=1e-5)
    scaled = resize.model(Fit(weight, 0 * bias, 0.0), "b")
    assert len(scaled.weights) == 1
    np.testing.assert_allclose(scaled(data), data * weight, atol=1e-5)


def test_channels_first_and_half_precision() -> None:
    inputs = keras.Input((4, 8, 8), name="begin")
    x = layers.Conv2D(6, 3, strides=2, padding="same", data_format="channels_first")(inputs)
    graph = lift(model_of(inputs, layers.ReLU(name="end")(x)))
    region = find_region(graph, "begin->end")
    resize = resizing(graph, region)
    data = np.random.default_rng(3).normal(size=(30, 4, 8, 8)).astype("float32")
    fit = measure(graph, {"it": (region, resize)}, data)["it"].projection(0.0)
    assert fit.weight.shape == (4, 6)
    assert resize.model(fit, "b").output_shape == (None, 6, 4, 4)
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((8, 8, 4), dtype="float16", name="begin")
    graph = lift(keras.Model(inputs, layers.Conv2D(4, 3, padding="same", name="end")(inputs)))
    bridge = resizing(graph, find_region(graph, "begin->end")).model(Fit(np.eye(4), np.zeros(4), 0.0), "b")
    assert bridge.output.dtype == "float16"
    assert bridge.weights[0].dtype == "float32"


def test_open_sizes_follow_the_strides() -> None:
    inputs = keras.Input((None, None, 3), name="begin")
    x = layers.MaxPooling2D(2)(layers.Conv2D(5, 3, strides=2, padding="same")(inputs))
    graph = lift(model_of(inputs, layers.ReLU(name="end")(x)))
    region = find_region(graph, "begin->end")
    resize = resizing(graph, region)
    data = np.random.default_rng(4).normal(size=(10, 16, 24, 3)).astype("float32")
    fit = measure(graph, {"it": (region, resize)}, data)["it"].projection()
    assert resize.model(fit, "b")(data).shape == (10, 4, 6, 5)
    odd = np.random.default_rng(4).normal(size=(10, 14, 24, 3)).astype("float32")
    with pytest.raises(GraphError, match="another size than expected"):
        measure(graph, {"it": (region, resize)}, odd)


def test_what_no_linear_map_can_do_is_refused() -> None:
    def refusal(shape: tuple[int, ...], make: Any, dtype: str = "float32") -> str:
        inputs = keras.Input(shape, name="begin", dtype=dtype)
        graph = lift(keras.Model(inputs, layers.Activation("linear", name="end")(make(inputs))))
        with pytest.raises(GraphError, match="No linear bridge") as caught:
            resizing(graph, find_region(graph, "begin->end"))
        return str(caught.value)

    assert "4 axes, its exit 3" in refusal((4, 4, 3), layers.Reshape((16, 3)))
    assert "not by whole factors" in refusal((4, 4, 3), layers.ZeroPadding2D(1))
    assert "smaller along another" in refusal((4, 8, 3), layers.Reshape((8, 4, 3)))
    assert "no dense tensor of numbers" in refusal((4,), layers.Embedding(5, 3), "int32")


def test_bad_data_has_a_clear_error() -> None:
    _, graph, region = bridged("same")
    wanted = {"it": (region, resizing(graph, region))}
    with pytest.raises(OptionError, match="does not fit"):
        measure(graph, wanted, np.zeros((4, 5, 5, 3), "float32"))
    data = np.zeros((4, 8, 9, 3), "float32")
    data[0] = np.nan
    with pytest.raises(OptionError, match="NaN"):
        measure(graph, wanted, data)
