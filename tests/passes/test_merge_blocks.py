"""MergeBlocks: which pairs become one, that they compute the same, and why others are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.passes import MergeBlocks
from tests.applications import application_inputs, shared_application
from tests.passes.checking import (
    assert_lives,
    changed,
    difference,
    kinds,
    model_of,
    outputs_of,
    reasons,
    run,
    state_of,
)
from tests.zoo import ZOO, build, sample_inputs

Make = Callable[..., Any]
WIDE = 40  # between the layers: one layer is then always cheaper

# name: spatial rank, first layer, second layer.
PAIRS: dict[str, tuple[int, Make, Make]] = {
    "dense_dense": (0, lambda: layers.Dense(WIDE), lambda: layers.Dense(5)),
    "dense_dense_on_images": (2, lambda: layers.Dense(WIDE), lambda: layers.Dense(5)),
    "pointwise_pointwise": (2, lambda: layers.Conv2D(WIDE, 1), lambda: layers.Conv2D(5, 1, padding="same")),
    "pointwise_strides": (2, lambda: layers.Conv2D(WIDE, 1, strides=2), lambda: layers.Conv2D(5, 1, strides=(1, 2))),
    "pointwise_window": (2, lambda: layers.Conv2D(WIDE, 1), lambda: layers.Conv2D(7, (3, 2), strides=2)),
    "pointwise_same": (2, lambda: layers.Conv2D(WIDE, 1, use_bias=False), lambda: layers.Conv2D(5, 3, padding="same")),
    "pointwise_dilated": (2, lambda: layers.Conv2D(WIDE, 1), lambda: layers.Conv2D(5, 3, dilation_rate=2)),
    "window_pointwise": (2, lambda: layers.Conv2D(WIDE, 3, padding="same"), lambda: layers.Conv2D(5, 1)),
    "window_pointwise_stride": (2, lambda: layers.Conv2D(WIDE, 3, strides=2), lambda: layers.Conv2D(5, 1, strides=2)),
    "strided_window": (2, lambda: layers.Conv2D(WIDE, 1, strides=2), lambda: layers.Conv2D(7, 2, use_bias=False)),
    "window_window": (2, lambda: layers.Conv2D(WIDE, (1, 3)), lambda: layers.Conv2D(5, (2, 1))),
    "window_window_2d": (2, lambda: layers.Conv2D(WIDE, 2), lambda: layers.Conv2D(5, 2)),
    "groups": (2, lambda: layers.Conv2D(WIDE, 1, groups=2), lambda: layers.Conv2D(8, 3, groups=4)),
    "scale_pointwise": (2, lambda: layers.DepthwiseConv2D(1), lambda: layers.Conv2D(5, 1)),
    "scale_window": (2, lambda: layers.DepthwiseConv2D(1), lambda: layers.Conv2D(5, 3)),
    "window_scale": (2, lambda: layers.Conv2D(6, 3, padding="same"), lambda: layers.DepthwiseConv2D(1)),
    "depthwise_scale": (2, lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), lambda: layers.DepthwiseConv2D(1)),
    "scale_depthwise": (2, lambda: layers.DepthwiseConv2D(1), lambda: layers.DepthwiseConv2D(3, depth_multiplier=3)),
    "multipliers": (
        2,
        lambda: layers.DepthwiseConv2D(1, depth_multiplier=2),
        lambda: layers.DepthwiseConv2D(1, depth_multiplier=2),
    ),
    "dense_conv": (2, lambda: layers.Dense(WIDE), lambda: layers.Conv2D(5, 3)),
    "conv_dense": (2, lambda: layers.Conv2D(WIDE, 3, padding="same", strides=2), lambda: layers.Dense(5)),
    "causal_dense": (1, lambda: layers.Conv1D(WIDE, 3, padding="causal"), lambda: layers.Dense(5)),
    "conv1d": (1, lambda: layers.Conv1D(WIDE, 3, dilation_rate=2), lambda: layers.Conv1D(7, 1)),
    "conv3d": (3, lambda: layers.Conv3D(WIDE, 1), lambda: layers.Conv3D(5, 2)),
}
CHANNELS_FIRST = [name for name in PAIRS if "dense" not in name and "causal" not in name]


def pair(name: str, data_format: str = "channels_last") -> keras.Model:
    rank, first, second = PAIRS[name]
    keras.config.set_image_data_format(data_format)
    sizes = (9, 11, 10)[:rank]
    x = keras.Input((4, *sizes) if data_format == "channels_first" else (*sizes, 4), name="data")
    y = first()(x)
    return model_of(x, layers.ReLU(name="out")(second()(y)))


def image() -> Any:
    return keras.Input((8, 8, 4), name="image")


def only_reason(first: Any, second: Any, x: Any = None) -> str:
    x = image() if x is None else x
    result = run(MergeBlocks(), model_of(x, second(first(x))))
    assert not changed(result)
    return reasons(result)[second.name]


@pytest.mark.parametrize("name", PAIRS)
def test_two_layers_become_one_that_computes_the_same(name: str) -> None:
    model = pair(name)
    before = state_of(model)
    result = run(MergeBlocks(), model)
    assert len(changed(result)) == 1
    assert len(kinds(result.model)) == 2
    assert result.model.count_params() < model.count_params()
    assert difference(model, result.model) < 1e-5
    assert state_of(model) == before


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first(name: str) -> None:
    model = pair(name, "channels_first")
    result = run(MergeBlocks(), model)
    assert len(changed(result)) == 1
    assert difference(model, result.model) < 1e-5


def test_a_whole_chain_becomes_one_layer() -> None:
    x = keras.Input((6,))
    y = layers.Dense(30, name="a")(x)
    y = layers.Dense(30, name="b", use_bias=False)(y)
    model = model_of(x, layers.Dense(4, name="scores", activation="softmax")(y))
    result = run(MergeBlocks(), model, verify="exact")
    assert [layer.name for layer in result.model.layers][1:] == ["scores"]
    assert result.model.get_layer("scores").activation is keras.activations.softmax
    kernels = [model.get_layer(name).get_weights()[0].astype("float64") for name in ("a", "b", "scores")]
    bias = (model.get_layer("a").get_weights()[1] @ kernels[1]) @ kernels[2] + model.get_layer("scores").get_weights()[
        1
    ]
    kernel, new_bias = result.model.get_layer("scores").get_weights()
    np.testing.assert_allclose(kernel, kernels[0] @ kernels[1] @ kernels[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(new_bias, bias, rtol=1e-5, atol=1e-5)


def test_mixed_precision_and_frozen_layers() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    x = image()
    y = layers.Conv2D(WIDE, 1, trainable=False, name="frozen")(x)
    model = model_of(x, layers.Conv2D(5, 3, name="conv")(y))
    result = run(MergeBlocks(), model)
    merged = result.model.get_layer("conv")
    assert merged.dtype_policy.name == "mixed_float16"
    assert merged.trainable
    assert difference(model, result.model) < 0.02


def test_the_result_lives(tmp_path: Path) -> None:
    assert_lives(run(MergeBlocks(), pair("conv_dense")).model, tmp_path)


def test_what_would_cost_more_is_left() -> None:
    assert "one layer would take" in only_reason(layers.Dense(2), layers.Dense(50, name="b"), keras.Input((60,)))
    reason = only_reason(layers.DepthwiseConv2D(3), layers.Conv2D(8, 1, name="b"))
    assert "288 MACs a position" in reason
    assert "take 68" in reason


def test_a_bias_in_front_of_padding_is_left() -> None:
    reason = only_reason(layers.Conv2D(WIDE, 1, name="a"), layers.Conv2D(5, 3, padding="same", name="b"))
    assert reason == "it pads with zeros, where 'a' would give its bias"


def test_windows_that_pad_are_left() -> None:
    first, second = layers.Conv2D(WIDE, 3, padding="same"), layers.Conv2D(5, 3, name="b")
    assert "a layer with a window pads" in only_reason(first, second)
    first, second = layers.Conv2D(WIDE, 3, padding="same"), layers.Conv2D(5, 1, strides=2, name="b")
    assert "pads elsewhere" in only_reason(first, second)
    first = layers.Conv2D(WIDE, 1, strides=2, use_bias=False)
    assert "which has a stride" in only_reason(first, layers.Conv2D(5, 3, padding="same", name="b"))


def test_an_activation_between_is_left() -> None:
    reason = only_reason(layers.Conv2D(WIDE, 1, activation="relu", name="a"), layers.Conv2D(5, 1, name="b"))
    assert reason == "'a' has an activation of its own"
    reason = only_reason(layers.Dense(WIDE, activity_regularizer="l2"), layers.Dense(5, name="b"))
    assert "activity regulariser" in reason


def test_a_result_used_twice_and_shared_layers_are_left() -> None:
    x = image()
    first, second = layers.Conv2D(4, 1, name="a"), layers.Conv2D(4, 1, name="b")
    y = first(x)
    model = model_of(x, layers.Add()([second(y), y]))
    assert "used 2 times" in reasons(run(MergeBlocks(), model))["b"]
    x = image()
    model = model_of(x, second(first(first(x))))
    assert "is shared" in reasons(run(MergeBlocks(), model))["b"]


def test_other_precisions_and_axes_are_left() -> None:
    reason = only_reason(layers.Conv2D(WIDE, 1, dtype="mixed_float16"), layers.Conv2D(5, 1, name="b", dtype="float32"))
    assert "another precision" in reason
    x = keras.Input((6, 8, 8))
    first = layers.Conv2D(WIDE, 1, data_format="channels_first")
    assert "another axis" in only_reason(first, layers.Dense(5, name="b"), x)


def test_a_quantised_layer_is_left() -> None:
    x = keras.Input((16,))
    model = model_of(x, layers.Dense(4, name="b")(layers.Dense(64, name="a")(x)))
    model.get_layer("a").enable_lora(2)
    assert "more than a kernel and a bias" in reasons(run(MergeBlocks(), model))["b"]


@pytest.mark.spread(30)
@pytest.mark.parametrize("name", [name for name in ZOO if name != "custom_without_config"])
def test_zoo(name: str) -> None:
    model = build(name)
    inputs = sample_inputs(model)
    expected = outputs_of(model, inputs) if "stateful" not in ZOO[name].tags else None
    result = run(MergeBlocks(), model).model
    if expected is None:
        return
    allowed = 5e-2 if "low_precision" in ZOO[name].tags else 1e-5
    for one, other in zip(expected, outputs_of(result, inputs), strict=True):
        assert np.abs(one - other).max(initial=0.0) <= allowed * np.abs(one).max(initial=1e-6)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["MobileNetV2", "ConvNeXtTiny"])
def test_small_applications(name: str) -> None:
    model = shared_application(name)
    result = run(MergeBlocks(), model)
    assert difference(model, result.model, application_inputs(model)) < 1e-5


@pytest.mark.sweep
def test_applications(application: str) -> None:
    model = shared_application(application)
    result = run(MergeBlocks(), model)
    assert difference(model, result.model, application_inputs(model)) < 1e-4
