"""FoldBatchNorm: where it folds, where it does not and why, and that the result computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.passes import FoldBatchNorm
from kerasurgeon.rewrite.pipeline import Pipeline
from tests.applications import application_inputs, shared_application
from tests.passes.checking import (
    assert_lives,
    changed,
    difference,
    kinds,
    model_of,
    outputs_of,
    reasons,
    rounding_noise,
    run,
    state_of,
)
from tests.zoo import ZOO, build, sample_inputs

Norm = layers.BatchNormalization
Make = Callable[..., Any]

# name: spatial rank of the input, the layer; four channels each.
AFTER: dict[str, tuple[int, Make]] = {
    "conv1d": (1, lambda **k: layers.Conv1D(6, 3, **k)),
    "conv1d_causal_dilated": (1, lambda **k: layers.Conv1D(6, 3, padding="causal", dilation_rate=2, **k)),
    "conv1d_groups": (1, lambda **k: layers.Conv1D(6, 3, groups=2, **k)),
    "conv2d": (2, lambda **k: layers.Conv2D(6, 3, **k)),
    "conv2d_same_strided": (2, lambda **k: layers.Conv2D(6, (3, 2), strides=2, padding="same", **k)),
    "conv2d_groups": (2, lambda **k: layers.Conv2D(6, 3, groups=2, padding="same", **k)),
    "conv2d_dilated": (2, lambda **k: layers.Conv2D(6, 3, dilation_rate=2, **k)),
    "conv2d_1x1": (2, lambda **k: layers.Conv2D(6, 1, padding="same", **k)),
    "conv3d": (3, lambda **k: layers.Conv3D(5, 2, **k)),
    "depthwise1d": (1, lambda **k: layers.DepthwiseConv1D(3, depth_multiplier=2, **k)),
    "depthwise2d": (2, lambda **k: layers.DepthwiseConv2D(3, **k)),
    "depthwise2d_multiplier": (2, lambda **k: layers.DepthwiseConv2D(3, depth_multiplier=3, strides=2, **k)),
    "separable1d": (1, lambda **k: layers.SeparableConv1D(8, 3, depth_multiplier=2, **k)),
    "separable2d": (2, lambda **k: layers.SeparableConv2D(8, 3, depth_multiplier=2, **k)),
    "transposed1d": (1, lambda **k: layers.Conv1DTranspose(5, 3, strides=2, **k)),
    "transposed2d": (2, lambda **k: layers.Conv2DTranspose(5, 3, strides=2, padding="same", **k)),
    "transposed3d": (3, lambda **k: layers.Conv3DTranspose(3, 2, strides=2, **k)),
    "dense": (0, lambda **k: layers.Dense(5, **k)),
    "dense_on_image": (2, lambda **k: layers.Dense(5, **k)),
}
# A batch norm with a shift can only go into those that do not pad and sum over the same taps everywhere.
UNPADDED = [
    name for name in AFTER if not any(word in name for word in ("same", "causal", "conv2d_groups", "transposed"))
]
CHANNELS_FIRST = [name for name in AFTER if "dense" not in name]
NORMS: dict[str, dict[str, Any]] = {
    "no_scale": {"scale": False},
    "no_center": {"center": False},
    "neither": {"scale": False, "center": False},
    "epsilon": {"epsilon": 0.3},
}


def data(rank: int, data_format: str = "channels_last", size: int = 7) -> Any:
    sizes = (size if rank < 3 else 4,) * rank
    return keras.Input((4, *sizes) if data_format == "channels_first" else (*sizes, 4), name="data")


def image(**options: Any) -> Any:
    return keras.Input((8, 8, 4), name="image", **options)


def only_reason(model: keras.Model, name: str = "bn") -> str:
    result = run(FoldBatchNorm(), model)
    assert not changed(result)
    assert list(reasons(result)) == [name]
    return reasons(result)[name]


# ---- rewrites ----------------------------------------------------------------------------------------------------


def test_folds_a_batch_norm_behind_a_convolution() -> None:
    x = image()
    model = model_of(x, layers.ReLU()(Norm(name="bn")(layers.Conv2D(6, 3, use_bias=False, name="conv")(x))))
    result = run(FoldBatchNorm(), model)
    assert changed(result) == {"bn": "folded into 'conv' before it"}
    assert kinds(result.model) == ["Conv2D", "ReLU"]
    assert result.model.get_layer("conv").use_bias
    assert len(result.model.weights) == 2


def test_folds_a_batch_norm_before_a_convolution() -> None:
    x = image()
    model = model_of(x, layers.Conv2D(6, 3, name="conv")(Norm(name="bn")(x)))
    result = run(FoldBatchNorm(), model)
    assert changed(result) == {"bn": "folded into 'conv' behind it"}
    assert kinds(result.model) == ["Conv2D"]


def test_folds_on_both_sides_of_one_layer_and_in_a_row() -> None:
    x = image()
    y = layers.Conv2D(6, 3, name="conv")(Norm(name="before")(x))
    model = model_of(x, Norm(name="second")(Norm(name="first")(y)))
    result = run(FoldBatchNorm(), model)
    assert set(changed(result)) == {"before", "first", "second"}
    assert kinds(result.model) == ["Conv2D"]
    assert difference(model, result.model) < 1e-5


def test_the_layer_takes_the_name_of_an_output() -> None:
    x = image()
    model = model_of(x, Norm(name="result")(layers.Conv2D(6, 3, name="conv")(x)))
    result = run(FoldBatchNorm(), model)
    assert result.model.output_names == ["result"]
    assert kinds(result.model) == ["Conv2D"]


def test_folds_across_the_border_of_a_nested_model() -> None:
    x = image()
    body = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(6, 3, name="conv")], name="body")
    model = model_of(x, layers.ReLU()(Norm(name="bn")(body(x))))
    result = run(FoldBatchNorm(), model)
    assert changed(result) == {"bn": "folded into 'body/conv' before it"}
    assert isinstance(result.model.get_layer("body"), keras.Sequential)
    assert difference(model, result.model) < 1e-5


def test_folds_a_frozen_one_called_in_training_mode() -> None:
    x = image()
    bn = Norm(name="bn", trainable=False)
    model = model_of(x, bn(layers.Conv2D(6, 3)(x), training=True))
    result = run(FoldBatchNorm(), model)
    assert kinds(result.model) == ["Conv2D"]
    assert difference(model, result.model) < 1e-5


def test_flags_and_policies_of_the_layer_stay() -> None:
    x = image()
    conv = layers.Conv2D(6, 3, name="conv", kernel_regularizer="l2", use_bias=False)
    model = model_of(x, layers.ReLU()(Norm()(conv(x))))
    conv.trainable = False
    result = run(FoldBatchNorm(), model).model.get_layer("conv")
    assert not result.trainable
    assert not result.bias.trainable
    assert isinstance(result.kernel_regularizer, keras.regularizers.L2)


# ---- refuses -----------------------------------------------------------------------------------------------------


def test_refuses_training_mode() -> None:
    x = image()
    model = model_of(x, Norm(name="bn")(layers.Conv2D(6, 3)(x), training=True))
    assert only_reason(model) == "it is called in training mode"


def test_refuses_a_nested_model_in_training_mode() -> None:
    x = image()
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(6, 3), Norm(name="bn")], name="body")
    model = model_of(x, inner(x, training=True))
    assert only_reason(model, "body/bn") == "nested model 'body' is called in training mode"


def test_refuses_a_change_of_dtype() -> None:
    x = image()
    y = layers.Conv2D(6, 3, dtype="float16")(x)
    model = model_of(x, Norm(name="bn", dtype="float32")(y))
    assert only_reason(model) == "it turns (?, 6, 6, 6) float16 into (?, 6, 6, 6) float32"


def test_refuses_a_variance_of_zero() -> None:
    x = image()
    model = model_of(x, Norm(name="bn", epsilon=0.0)(layers.Conv2D(6, 3)(x)))
    model.get_layer("bn").moving_variance.assign(np.zeros(6))
    assert only_reason(model) == "it divides by a variance of zero"


def test_refuses_shared_batch_norms() -> None:
    result = run(FoldBatchNorm(), build("shared_batch_norm"))
    assert not changed(result)
    assert all("is shared: it is called 2 times" in reason for reason in reasons(result).values())


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"activation": layers.ReLU(6.0)}])
def test_refuses_an_activation_between(options: dict[str, Any]) -> None:
    x = image()
    model = model_of(x, layers.ReLU()(Norm(name="bn")(layers.Conv2D(6, 3, name="conv", **options)(x))))
    assert "before it: 'conv' has an activation of its own" in only_reason(model)


def test_refuses_an_activity_regulariser_between() -> None:
    x = image()
    conv = layers.Conv2D(6, 3, name="conv", activity_regularizer="l2")
    assert "'conv' has an activity regulariser" in only_reason(model_of(x, layers.ReLU()(Norm(name="bn")(conv(x)))))


def test_refuses_where_there_is_no_linear_layer() -> None:
    x = image()
    model = model_of(x, layers.ReLU(name="relu")(Norm(name="bn")(layers.MaxPooling2D(name="pool")(x))))
    assert only_reason(model) == (
        "before it: 'pool' is MaxPooling2D, not a linear layer; behind it: 'relu' is ReLU, not a linear layer"
    )


def test_refuses_shared_layers() -> None:
    x = image()
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    model = model_of(x, layers.ReLU()(Norm(name="bn")(conv(conv(x)))))
    assert "layer 'conv' is shared: it is called 2 times" in only_reason(model)


def test_refuses_weights_that_are_used_elsewhere() -> None:
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    y = layers.ReLU()(Norm(name="bn")(dense(x)))
    model = model_of(x, keras.ops.matmul(y, dense.kernel))
    assert "the weights of 'dense' are used elsewhere too" in only_reason(model)


def test_refuses_adapters() -> None:
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    model = model_of(x, layers.ReLU()(Norm(name="bn")(dense(x))))
    dense.enable_lora(2)
    assert "'dense' computes with more than a kernel and a bias: lora_kernel_a, lora_kernel_b" in only_reason(model)


def test_refuses_quantised_layers() -> None:
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    model = model_of(x, layers.ReLU()(Norm(name="bn")(dense(x))))
    dense.quantize("int8")
    assert "'dense' computes with more than a kernel and a bias: kernel_scale" in only_reason(model)


def test_refuses_where_keras_adds_the_bias_along_the_wrong_axis() -> None:
    x = keras.Input((4, 8, 8))
    conv = layers.Conv2D(6, 3, data_format="channels_first", name="conv")  # 6 channels, 6 columns
    model = model_of(x, layers.ReLU()(Norm(axis=1, name="bn")(conv(x))))
    assert "Keras adds the bias of 'conv' along the wrong axis" in only_reason(model)


def test_refuses_a_result_that_is_used_elsewhere() -> None:
    x = image()
    y = layers.Conv2D(6, 3, name="conv")(x)
    model = model_of(x, layers.Add(name="add")([layers.ReLU()(Norm(name="bn")(y)), y]))
    assert "before it: conv is also used by 'add'" in only_reason(model)


def test_refuses_a_result_that_is_an_output() -> None:
    x = image()
    y = layers.Conv2D(6, 3, name="conv")(x)
    model = model_of(x, [layers.ReLU()(Norm(name="bn")(y)), y])
    assert "before it: conv is also an output of the model" in only_reason(model)


def test_refuses_when_both_are_outputs() -> None:
    x = image()
    y = layers.Conv2D(6, 3, name="conv")(x)
    model = model_of(x, [Norm(name="bn")(y), y])
    assert only_reason(model) == "the model returns its result and that of 'conv' under two names"


def test_refuses_an_output_whose_name_would_go() -> None:
    x = image()
    body = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(6, 3, name="conv")], name="body")
    model = model_of(x, Norm(name="bn")(body(x)))
    assert "gives an output of the model its name" in only_reason(model)


def test_refuses_what_is_all_of_a_model() -> None:
    x = image()
    assert "all that stands between an input and an output" in only_reason(model_of(x, Norm(name="bn")(x)))


def test_refuses_another_axis() -> None:
    x = image()
    model = model_of(x, layers.ReLU()(Norm(name="bn", axis=1)(layers.Conv2D(6, 3, name="conv")(x))))
    assert "it normalises axis 1, 'conv' has its channels on axis 3" in only_reason(model)


def test_refuses_an_output_before_a_linear_layer() -> None:
    x = image()
    y = Norm(name="bn")(layers.ReLU()(x))
    model = model_of(x, [y, layers.Conv2D(6, 3)(y)])
    assert "behind it: 'bn' is an output of the model" in only_reason(model)


def test_refuses_two_uses_before_linear_layers() -> None:
    x = image()
    y = Norm(name="bn")(x)
    model = model_of(x, [layers.Conv2D(6, 3)(y), layers.Conv2D(6, 3)(y)])
    assert "behind it: 'bn' is used 2 times" in only_reason(model)


def test_refuses_zero_padding_behind_a_shift() -> None:
    x = image()
    model = model_of(x, layers.Conv2D(6, 3, padding="same", name="conv")(Norm(name="bn")(x)))
    assert "'conv' pads with zeros, where the batch norm would give its shift" in only_reason(model)


def test_refuses_a_pooling_before_a_convolution() -> None:
    x = image()
    y = layers.GlobalAveragePooling2D(keepdims=True, name="gap")(Norm(name="bn")(x))
    assert "'gap' comes between it and 'conv'" in only_reason(model_of(x, layers.Conv2D(6, 1, name="conv")(y)))


def test_refuses_a_pooling_over_the_normalised_axis() -> None:
    x = image()
    y = layers.GlobalAveragePooling2D(name="gap")(Norm(name="bn", axis=1)(x))
    assert "'gap' averages over its axis" in only_reason(model_of(x, layers.Dense(3)(y)))


def test_refuses_a_dense_that_reads_another_axis_than_the_pooled_channels() -> None:
    x = image()
    pool = layers.GlobalAveragePooling2D(data_format="channels_first", keepdims=True, name="gap")
    model = model_of(x, layers.Dense(3, name="dense")(pool(Norm(name="bn", axis=1)(x))))
    assert "'dense' does not read the channels that 'gap' leaves on axis 1" in only_reason(model)


# ---- numerics ----------------------------------------------------------------------------------------------------


def check(model: keras.Model, rtol: float = 1e-5) -> None:
    result = run(FoldBatchNorm(), model)
    assert not any(isinstance(layer, Norm) for layer in result.model.operations), reasons(result)
    assert difference(model, result.model) < rtol


@pytest.mark.spread(6)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", AFTER)
def test_after(name: str, use_bias: bool) -> None:
    rank, make = AFTER[name]
    x = data(rank)
    check(model_of(x, Norm()(make(use_bias=use_bias)(x))))


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_after_channels_first(name: str) -> None:
    rank, make = AFTER[name]
    x = data(rank, "channels_first")
    check(model_of(x, Norm(axis=1)(make(data_format="channels_first")(x))))


@pytest.mark.spread(2)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", UNPADDED)
def test_before(name: str, use_bias: bool) -> None:
    rank, make = AFTER[name]
    x = data(rank)
    check(model_of(x, make(use_bias=use_bias)(Norm()(x))))


@pytest.mark.parametrize("name", sorted(set(UNPADDED) & set(CHANNELS_FIRST)))
def test_before_channels_first(name: str) -> None:
    rank, make = AFTER[name]
    x = data(rank, "channels_first")
    check(model_of(x, make(data_format="channels_first")(Norm(axis=1)(x))))


@pytest.mark.parametrize("name", sorted(set(AFTER) - set(UNPADDED)))
def test_before_with_padding_if_nothing_is_shifted(name: str) -> None:
    rank, make = AFTER[name]
    x = data(rank)
    model = model_of(x, make()(Norm(center=False, name="bn")(x)))
    model.get_layer("bn").moving_mean.assign(np.zeros(4))
    check(model)


def test_before_groups_without_padding() -> None:
    x = image()
    check(model_of(x, layers.Conv2D(8, 3, groups=2)(Norm()(x))))


@pytest.mark.parametrize("settings", NORMS)
@pytest.mark.parametrize("before", [True, False])
def test_settings_of_the_batch_norm(settings: str, before: bool) -> None:
    x, norm, conv = image(), Norm(**NORMS[settings]), layers.Conv2D(6, 3)
    check(model_of(x, conv(norm(x)) if before else norm(conv(x))))


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling_between(rank: int, keepdims: bool) -> None:
    x = data(rank)
    pool = getattr(layers, f"GlobalAveragePooling{rank}D")(keepdims=keepdims)
    check(model_of(x, layers.Dense(3)(pool(Norm()(layers.ReLU()(x))))))


def test_pooling_between_channels_first() -> None:
    x = data(2, "channels_first")
    pool = layers.GlobalAveragePooling2D(data_format="channels_first")
    check(model_of(x, layers.Dense(3)(pool(Norm(axis=1)(layers.ReLU()(x))))))


@pytest.mark.parametrize(
    ("policy", "rtol"), [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("float16", 1e-2), ("float64", 1e-12)]
)
def test_dtypes(policy: str, rtol: float) -> None:
    x = image(dtype="float64" if policy == "float64" else "float32")
    y = layers.Conv2D(6, 3, dtype=policy, name="conv")(x)
    y = layers.Conv2D(5, 3, dtype=policy)(layers.ReLU(dtype=policy)(Norm(dtype=policy)(y)))
    model = model_of(x, y)
    check(model, rtol)
    folded = run(FoldBatchNorm(), model).model.get_layer("conv")
    assert folded.dtype_policy.name == policy
    assert folded.bias.dtype == folded.kernel.dtype == model.get_layer("conv").kernel.dtype


def test_statistics_far_from_one() -> None:
    x = image()
    model = model_of(x, Norm(name="bn")(layers.Conv2D(6, 3)(x)))
    model.get_layer("bn").moving_variance.assign(np.logspace(-6, 4, 6))
    model.get_layer("bn").moving_mean.assign(np.linspace(-50, 50, 6))
    check(model)


# ---- contract ----------------------------------------------------------------------------------------------------


def residual() -> keras.Model:
    model = build("residual")
    model.compile("adam", "mse", metrics=["mae"])
    model.layers[1].trainable = False
    return model


def test_the_model_given_is_untouched() -> None:
    model = residual()
    before = state_of(model)
    run(FoldBatchNorm(), model, verify="exact")
    assert state_of(model) == before


def test_the_model_given_is_untouched_when_a_later_pass_fails() -> None:
    model = build("residual")
    before = state_of(model)
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, np.nan))
    poisoned = state_of(model)
    with pytest.raises(Exception, match="NaN"):
        Pipeline([FoldBatchNorm()]).run(model)
    assert state_of(model) == poisoned != before


def test_a_second_run_changes_nothing() -> None:
    once = run(FoldBatchNorm(), residual())
    twice = run(FoldBatchNorm(), once.model)
    assert changed(once)
    assert not changed(twice)
    for one, other in zip(once.model.get_weights(), twice.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_run_gives_the_same_bytes() -> None:
    one, other = (run(FoldBatchNorm(), build("inception")).model for _ in range(2))
    assert [weight.tobytes() for weight in one.get_weights()] == [weight.tobytes() for weight in other.get_weights()]


def test_the_result_lives_and_stays_compiled(tmp_path: Path) -> None:
    result = run(FoldBatchNorm(), residual()).model
    assert result.compiled
    assert_lives(result, tmp_path)


@pytest.mark.spread(20)
@pytest.mark.parametrize("name", [name for name in ZOO if name != "custom_without_config"])
def test_zoo(name: str) -> None:
    model = build(name)
    inputs = sample_inputs(model)
    expected = outputs_of(model, inputs) if "stateful" not in ZOO[name].tags else None
    result = run(FoldBatchNorm(), model).model
    if expected is None:
        return
    allowed = 5e-2 if "low_precision" in ZOO[name].tags else 1e-4
    for one, other in zip(expected, outputs_of(result, inputs), strict=True):
        assert np.abs(one - other).max(initial=0.0) <= allowed * np.abs(one).max(initial=1e-6)


@pytest.mark.sweep
def test_applications(application: str) -> None:
    model = shared_application(application)
    images = application_inputs(model)
    result = run(FoldBatchNorm(), model)
    norms = sum(isinstance(layer, Norm) for layer in model.operations)
    left = sum(isinstance(layer, Norm) for layer in result.model.operations)
    assert len(changed(result)) == norms - left
    assert (norms > 0) == bool(changed(result))
    worst = difference(model, result.model, images)
    # With random weights a few deep ones amplify any rounding; in float64 they agree, see below.
    assert worst < 1e-4 or worst < 4 * rounding_noise(model, images)


@pytest.mark.sweep
def test_applications_in_float64(application: str) -> None:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = shared_application(application)
    result = run(FoldBatchNorm(), model)
    assert difference(model, result.model, application_inputs(model).astype("float64")) < 1e-9
