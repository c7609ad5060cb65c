"""RemoveDeadChannels: widths go down by exactly what was killed, outputs stay, and what must stay is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.passes import RemoveDeadChannels
from kerasurgeon.rewrite.outputs import tolerance
from kerasurgeon.testing import assert_pass
from tests.applications import application_inputs, build_application
from tests.passes.checking import assert_lives, changed, difference, model_of, reasons, run
from tests.zoo import ZOO, build, flatten_layers, sample_inputs

layers = keras.layers


def image(size: int = 9, channels: int = 3) -> Any:
    return keras.Input((size, size, channels), name="image")


def zero(model: keras.Model, name: str, key: str, where: Any, value: float = 0.0) -> None:
    """Set ``weight[where]`` of one layer."""
    variable = getattr(model.get_layer(name), key)
    array = np.array(keras.ops.convert_to_numpy(variable))
    array[where] = value
    variable.assign(array)


def kernel_shape(model: keras.Model, name: str) -> tuple[int, ...]:
    return tuple(model.get_layer(name).kernel.shape)


def chain(padding: str = "valid", activation: str = "relu", use_bias: bool = True, kernel: int = 3) -> keras.Model:
    """Two convolutions and a classifier."""
    inputs = image()
    x = layers.Conv2D(8, 3, padding="same", name="one")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Activation(activation, name="act")(x)
    x = layers.Conv2D(6, kernel, padding=padding, use_bias=use_bias, name="two")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu")(x))
    return model_of(inputs, layers.Dense(4, name="scores")(x))


FILTERS = (slice(None), slice(None), slice(None), [1, 4, 5])


@pytest.mark.parametrize("use_bias", [True, False])
def test_constants_of_zero_filters_go_into_the_bias(use_bias: bool) -> None:
    model = chain(activation="sigmoid", use_bias=use_bias)
    zero(model, "one", "kernel", FILTERS)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "one") == (3, 3, 3, 5)
    assert kernel_shape(result.model, "two") == (3, 3, 5, 6)
    assert changed(result)["one"] == "3 of 8 channels had no effect: 5 left"
    # By hand: what the constants gave is what the bias has gained.
    norm = [np.asarray(weight, "float64")[[1, 4, 5]] for weight in model.get_layer("norm").get_weights()]
    gamma, beta, mean, variance = norm
    bias = np.asarray(model.get_layer("one").bias, "float64")[[1, 4, 5]]
    constants = 1 / (1 + np.exp(-(gamma * (bias - mean) / np.sqrt(variance + 1e-3) + beta)))
    gained = np.einsum("hwio,i->o", np.asarray(model.get_layer("two").kernel, "float64")[:, :, [1, 4, 5]], constants)
    before = np.asarray(model.get_layer("two").bias, "float64") if use_bias else 0.0
    np.testing.assert_allclose(np.asarray(result.model.get_layer("two").bias), before + gained, rtol=1e-5)


def test_no_bias_but_a_batch_norm_takes_the_constant() -> None:
    inputs = image()
    x = layers.Conv2D(8, 3, activation="sigmoid", name="one")(inputs)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, use_bias=False, name="two")(x))
    model = model_of(inputs, layers.Dense(4)(layers.Flatten()(x)))
    zero(model, "one", "kernel", FILTERS)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "two") == (3, 3, 5, 6)
    assert not result.model.get_layer("two").use_bias
    assert result.model.count_params() < model.count_params()


def test_padding_sees_a_constant_that_is_not_zero() -> None:
    model = chain(padding="same", activation="sigmoid")
    zero(model, "one", "kernel", FILTERS)
    result = assert_pass(RemoveDeadChannels(), model, changes=0, left=["'two' reads them: it pads with zeros"])
    assert reasons(result)["one"].startswith("3 channels look dead")


@pytest.mark.parametrize(("padding", "kernel"), [("same", 3), ("same", 1), ("valid", 3)])
def test_zero_scales_with_negative_shifts_are_zero_behind_relu(padding: str, kernel: int) -> None:
    model = chain(padding=padding, kernel=kernel)
    zero(model, "norm", "gamma", [0, 2])
    zero(model, "norm", "beta", [0, 2], -0.5)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "one")[-1] == 6
    assert kernel_shape(result.model, "two")[-2:] == (6, 6)


def test_a_pointwise_convolution_pads_nothing() -> None:
    model = chain(padding="same", kernel=1, activation="sigmoid")
    zero(model, "norm", "gamma", [0, 2])
    assert kernel_shape(assert_pass(RemoveDeadChannels(), model, rtol=1e-5).model, "one")[-1] == 6


def test_what_nothing_reads_goes() -> None:
    model = chain(padding="same")
    zero(model, "two", "kernel", (slice(None), slice(None), [0, 3, 7]))
    zero(model, "scores", "kernel", [2])
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "two") == (3, 3, 5, 5)
    assert difference(model, result.model) < 1e-5


def test_what_only_feeds_dead_channels_goes_too() -> None:
    """The last batch norm of a branch has scales of zero, but its channels belong to the sum."""
    inputs = image()
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(5, 3, padding="same", activation="relu", name="inner")(x)
    y = layers.Conv2D(6, 3, padding="same", name="outer")(y)
    y = layers.BatchNormalization(name="norm")(y)
    x = layers.Add(name="sum")([x, y])
    model = model_of(inputs, layers.Dense(3, name="scores")(layers.GlobalMaxPooling2D()(x)))
    zero(model, "norm", "gamma", [0, 1, 2, 3, 4])
    zero(model, "outer", "kernel", (slice(None), slice(None), [1, 3], 5))
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    # Channels 1 and 3 of the branch are read only for results that the batch norm multiplies by zero.
    assert kernel_shape(result.model, "inner")[-1] == 3
    assert kernel_shape(result.model, "outer") == (3, 3, 3, 6)
    assert "added or tied" in reasons(result)["stem"]


def test_a_branch_of_zeros_is_removed() -> None:
    inputs = image()
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(5, 3, padding="same", activation="relu", name="inner")(x)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="outer")(y))
    x = layers.Add(name="sum")([x, y])
    model = model_of(inputs, layers.Dense(3, name="scores")(layers.GlobalMaxPooling2D()(x)))
    zero(model, "norm", "gamma", slice(None))
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert {"inner", "outer", "norm", "sum"}.isdisjoint(layer.name for layer in result.model.layers)
    assert "the branch is gone" in changed(result)["sum"]


def test_nothing_left_on_the_way_to_the_output(tmp_path: Path) -> None:
    model = chain(padding="same")
    zero(model, "one", "kernel", slice(None))
    zero(model, "norm", "beta", slice(None), -3.0)
    zero(model, "norm", "gamma", slice(None))
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5, left=["nothing would be left"])
    assert kernel_shape(result.model, "one")[-1] == 1
    assert_lives(result.model, tmp_path)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_through_depthwise_convolutions_and_gates(multiplier: int) -> None:
    inputs = image()
    x = layers.Conv2D(8, 1, use_bias=False, name="one")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier, name="depth")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8 * multiplier, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="product")([x, gate])
    x = layers.Concatenate()([x, layers.ReLU()(x)])
    model = model_of(inputs, layers.Dense(3, name="scores")(layers.Flatten()(layers.AveragePooling2D(3)(x))))
    zero(model, "one", "kernel", (slice(None), slice(None), slice(None), [0, 3]))
    zero(model, "depth", "kernel", (slice(None), slice(None), [6]))
    kept = [channel for channel in range(8 * multiplier) if channel // multiplier in (0, 3, 6)]
    zero(model, "depth", "bias", kept)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "depth") == (3, 3, 5, multiplier)
    assert kernel_shape(result.model, "gate")[-1] == 5 * multiplier


def test_only_zeros_go_in_front_of_other_kernels() -> None:
    inputs = keras.Input((7, 4), name="steps")
    x = layers.Dense(8, activation="relu", name="one")(inputs)
    model = model_of(inputs, layers.Dense(2)(layers.LSTM(5, name="memory")(x)))
    zero(model, "one", "kernel", (slice(None), [1, 2, 6]))
    zero(model, "one", "bias", [1, 2], -1.0)
    zero(model, "one", "bias", [6], 1.0)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5, left=["'memory' (LSTM)"])
    assert kernel_shape(result.model, "one") == (4, 6)


@pytest.mark.spread(3)
@pytest.mark.parametrize("function", ["exp", "cosh", "i0", "expm1", "sinh", "exp2", "square"])
def test_what_overflows_where_it_is_tried_is_not_constant(function: str) -> None:
    inputs = keras.Input((6,), name="steps")
    x = getattr(keras.ops, function)(layers.Dense(5, name="one")(inputs))
    model = model_of(inputs, layers.Dense(2)(layers.Dense(4, name="two")(x)))
    zero(model, "one", "kernel", (slice(None), [1, 3]))
    zero(model, "one", "bias", [1], 0.0)
    result = assert_pass(RemoveDeadChannels(), model, rtol=1e-5)
    assert kernel_shape(result.model, "one") == (6, 3)
    assert kernel_shape(result.model, "two") == (3, 4)


def test_shared_layers_and_normalised_channels_are_named() -> None:
    inputs = image()
    one = layers.Conv2D(6, 3, activation="sigmoid", name="one")(inputs)
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Add()([shared(one), shared(layers.ReLU()(one))])
    y = layers.LayerNormalization(name="ln")(layers.Conv2D(5, 3, name="two")(inputs))
    model = model_of(inputs, [layers.Flatten()(x), layers.Dense(2)(y)])
    zero(model, "one", "kernel", (slice(None), slice(None), slice(None), [0]))
    zero(model, "two", "kernel", (slice(None), slice(None), slice(None), [0]))
    assert_pass(RemoveDeadChannels(), model, changes=0, left=["used several times", "normalised over its axis (ln)"])


def test_small_weights_count_as_zero_on_request() -> None:
    model = chain()
    zero(model, "one", "kernel", FILTERS, 1e-9)
    assert not changed(run(RemoveDeadChannels(), model))
    result = assert_pass(RemoveDeadChannels(atol=1e-8), model)
    assert kernel_shape(result.model, "one")[-1] == 5
    for wrong in (-1.0, float("nan"), "a", True):
        with pytest.raises(OptionError, match="atol"):
            RemoveDeadChannels(atol=wrong)  # type: ignore[arg-type]


def kill(model: keras.Model, seed: int, ratio: float) -> None:
    """Zero random filters, kernel rows, scales and shifts."""
    rng = np.random.default_rng(seed)
    for layer in flatten_layers(model):
        for key in ("kernel", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "bias"):
            variable = getattr(layer, key, None)
            if variable is None or not hasattr(variable, "assign") or rng.random() < 0.3:
                continue
            array = np.array(keras.ops.convert_to_numpy(variable))
            axis = -2 if array.ndim > 1 and rng.random() < 0.3 else -1
            dead = rng.random(array.shape[axis]) < ratio
            np.moveaxis(array, axis, 0)[dead] = 0
            variable.assign(array)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "custom_without_config"])
@pytest.mark.sweep
def test_zoo_with_dead_channels(name: str) -> None:
    for seed in range(3):
        model = build(name)
        kill(model, seed, 0.4)
        result = run(RemoveDeadChannels(), model)
        assert difference(model, result.model, sample_inputs(model)) < tolerance(result.graph, 1e-4)


@pytest.mark.sweep
def test_an_application_with_dead_channels() -> None:
    _check_application("MobileNetV3Small", 0)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "name", ["ResNet50", "MobileNetV2", "EfficientNetB0", "DenseNet121", "NASNetMobile", "InceptionV3", "Xception"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_more_applications_with_dead_channels(name: str, seed: int) -> None:
    _check_application(name, seed)


def _check_application(name: str, seed: int) -> None:
    model = build_application(name)
    kill(model, seed, 0.2)
    result = ks.Pipeline([RemoveDeadChannels()]).run(model, verify="types")
    assert result.model.count_params() < 0.95 * model.count_params()
    assert difference(model, result.model, application_inputs(model)) < 1e-4
