"""Channels-first layers at the one width at which TensorFlow adds their bias along another axis (Keras 3.15)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.channels import analyse
from kerasurgeon.channels.avoided import kept_for_numbers
from kerasurgeon.passes import Expand, PruneChannels, RemoveDeadChannels

SIZE = 6
FIRST: dict[str, Any] = {"data_format": "channels_first"}


def network(width: int = 12, *, between: Any = None, bias: bool = True) -> keras.Model:
    """A convolution with a bias, over images of six columns, and one that reads it."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((2, 5, SIZE))
    x = layers.Conv2D(width, 3, padding="same", use_bias=bias, bias_initializer="normal", name="late", **FIRST)(inputs)
    x = layers.ReLU()(x)
    x = between(x) if between else x
    return keras.Model(inputs, layers.Conv2D(3, 1, name="head", **FIRST)(x))


def images() -> Any:
    return np.random.default_rng(0).normal(size=(4, 2, 5, SIZE)).astype("float32")


def weight(model: keras.Model, name: str) -> Any:
    return keras.ops.convert_to_numpy(model.get_layer(name).kernel).copy()


def without(model: keras.Model, kept: list[int]) -> Any:
    """What the model gives when what is not kept is not read."""
    kernel = weight(model, "head")
    gone = np.setdiff1d(np.arange(kernel.shape[2]), kept)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernel[:, :, gone] = 0
    twin.get_layer("head").kernel.assign(kernel)
    return np.asarray(twin(images()))


@pytest.mark.parametrize("width", [1, 5, 7, 11])
def test_other_widths_are_cut(width: int) -> None:
    model = network()
    kept = list(range(width))
    small = ks.cut(model, ks.ChannelPlan({"late": kept}))
    assert small.get_layer("late").filters == width
    np.testing.assert_allclose(np.asarray(small(images())), without(model, kept), atol=1e-5)


def test_the_width_itself_is_refused() -> None:
    with pytest.raises(ks.PlanError, match=f"{SIZE} channels, just the number that it may not have(.|\n)*7 or 5"):
        ks.cut(network(), ks.ChannelPlan({"late": range(SIZE)}))
    small = ks.cut(network(bias=False), ks.ChannelPlan({"late": range(SIZE)}))
    assert small.get_layer("late").filters == SIZE


def test_a_layer_of_this_width_stays() -> None:
    assert "along another axis" in ks.groups(network(SIZE))["late"].frozen


@pytest.mark.parametrize("ratio", [0.42, 0.5, 0.58])
def test_pruning_goes_round_it(ratio: float) -> None:
    pruned = ks.apply_passes(network(), [PruneChannels(ratio=ratio, round_to=1, compensate="none", importance="l2")])
    assert pruned.get_layer("late").filters in (5, 7)


def test_a_budget_goes_round_it() -> None:
    model = network()
    half = ks.cost(ks.cut(network(bias=False), ks.ChannelPlan({"late": range(SIZE)}))).macs
    pruned = ks.apply_passes(model, [PruneChannels(macs=half, round_to=1, compensate="none", importance="l2")])
    assert pruned.get_layer("late").filters == 5


def test_where_several_groups_meet_in_it_they_are_left_alone() -> None:
    def joined(x: Any) -> Any:
        other = layers.Conv2D(3, 3, padding="same", use_bias=False, name="other", **FIRST)(x)
        x = layers.Concatenate(1)([x, other])
        return layers.DepthwiseConv2D(3, padding="same", bias_initializer="normal", name="depthwise", **FIRST)(x)

    model = network(4, between=joined)
    result = ks.Pipeline([PruneChannels(ratio=0.3, round_to=1, compensate="none", importance="l2")]).run(model)
    assert result.model.get_layer("late").filters == 4
    assert result.model.get_layer("other").filters == 3
    assert "along another axis" in str(result.report.passes[0].left)
    small = ks.cut(model, ks.ChannelPlan({"late": [0, 1], "other": [0, 2]}))
    kernel = weight(model, "other")
    kernel[:, :, [2, 3]] = 0
    model.get_layer("other").kernel.assign(kernel)
    expected = without(model, [0, 1, 4, 6])
    np.testing.assert_allclose(np.asarray(small(images())), expected, atol=1e-5)
    with pytest.raises(ks.PlanError, match="'depthwise' 6 channels"):
        ks.cut(model, ks.ChannelPlan({"late": [0, 1, 2]}))


def test_one_dead_channel_more_stays() -> None:
    model = network()
    kernel = weight(model, "head")
    kernel[:, :, SIZE:] = 0
    model.get_layer("head").kernel.assign(kernel)
    small = ks.apply_passes(model, [RemoveDeadChannels()])
    assert small.get_layer("late").filters == SIZE + 1
    np.testing.assert_allclose(np.asarray(small(images())), np.asarray(model(images())), atol=1e-5)


def test_what_a_mask_takes_is_one_less() -> None:
    channels = analyse(network())
    gone = np.zeros(channels.units, bool)
    units = channels.unit[channels.sources["late"].ids]
    gone[units[SIZE:]] = True
    kept = kept_for_numbers(channels, gone)
    assert np.flatnonzero(kept).tolist() == [units[-1]]
    assert np.count_nonzero(~gone[units]) == SIZE + 1


def test_growing_to_it_is_refused() -> None:
    with pytest.raises(ks.KerasurgeonError, match="may not have"):
        ks.apply_passes(network(SIZE // 2), [Expand(2.0)])


def attention(heads: int, width: int, steps: int | None, *, bias: bool = True) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((steps, 3))
    x = layers.MultiHeadAttention(heads, width, use_bias=bias, bias_initializer="normal", name="attend")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def by_numpy(model: keras.Model, x: Any, key_dim: int) -> Any:
    """The model in float64: nothing of Keras computes here."""
    held = {weight.path.split("/", 1)[1]: np.asarray(weight, "float64") for weight in model.weights}
    parts = [
        np.einsum("bti,inh->btnh", x, held[f"{name}/kernel"]) + held.get(f"{name}/bias", 0.0)
        for name in ("query", "key", "value")
    ]
    scores = np.einsum("btnh,bsnh->bnts", parts[0], parts[1]) / np.sqrt(key_dim)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("bnts,bsnh->btnh", scores / scores.sum(-1, keepdims=True), parts[2])
    made = np.einsum("btnh,nho->bto", mixed, held["attention_output/kernel"]) + held.get("attention_output/bias", 0.0)
    return made @ held["kernel"] + held["bias"]


@pytest.mark.parametrize("part", ["key_dim", "value_dim"])
def test_projections_of_attention_keep_two_where_heads_may_be_as_many_as_steps(part: str) -> None:
    with pytest.raises(ks.PlanError, match=r"1 channels, just the number(.|\n)*2 channels can be had"):
        ks.cut(attention(3, 4, 2), ks.ChannelPlan({f"attend#{part}": [1]}))
    for model in (attention(3, 4, 5), attention(3, 4, None), attention(3, 4, 2, bias=False)):
        x = np.random.default_rng(1).normal(size=(2, model.input_shape[1] or 2, 3))
        small = ks.cut(model, ks.ChannelPlan({f"attend#{part}": [1]}))
        if part == "value_dim":
            expected = by_numpy(small, x, 4)
            np.testing.assert_allclose(np.asarray(small(x.astype("float32"))), expected, atol=1e-5)
        assert small.get_layer("attend").get_config()[part] == 1


def test_heads_of_one_channel_are_not_made_as_many_as_steps() -> None:
    with pytest.raises(ks.PlanError, match="2 channels, just the number"):
        ks.cut(attention(3, 1, 2), ks.ChannelPlan({"attend#heads": [0, 2]}))
    assert "along another axis" in ks.groups(attention(2, 1, 2))["attend#heads"].frozen


def test_a_dense_layer_of_two_axes_keeps_two_of_the_last() -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4, 3))
    split = layers.EinsumDense("abc,cde->abde", (4, 5, 6), bias_axes="de", bias_initializer="normal", name="split")
    x = layers.ReLU()(split(inputs))
    model = keras.Model(inputs, layers.EinsumDense("abde,def->abf", (4, 2), name="join")(x))
    with pytest.raises(ks.PlanError, match="just the number"):
        ks.cut(model, ks.ChannelPlan({"split#e": [0]}))
    small = ks.cut(model, ks.ChannelPlan({"split#e": [0, 3]}))
    assert small.get_layer("split").kernel.shape == (3, 5, 2)
