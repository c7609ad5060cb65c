"""Branches that lose all channels: removed with what they gave, or one channel stays, or it is an error."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

import kerasurgeon as ks
from kerasurgeon.channels import CutReport, cut_channels
from tests.channels.networks import conv, residual
from tests.channels.oracle import outputs
from tests.zoo.sampling import randomise

IMAGES = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype("float32")


def cut_and_check(model: keras.Model, kept: dict[str, Any]) -> tuple[CutReport, keras.Model]:
    plan = ks.ChannelPlan(kept)
    graph = ks.lift(model)
    report = cut_channels(graph, plan)
    small = ks.emit(graph)
    if not report.kept:
        expected = outputs(ks.masked(model, plan), IMAGES)
        for one, other in zip(expected, outputs(small, IMAGES), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())
    return report, small


def names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


def test_a_residual_branch_with_its_batch_norms() -> None:
    """What is left of it, a constant per channel, goes into the bias of the other branch."""
    report, small = cut_and_check(residual(), {"a1": []})
    assert names(small) & {"a1", "bn1", "relu1", "a2", "bn2", "sum1"} == set()
    assert set(report.removed) == {"sum1"}
    assert report.widths["a1"] == (6, 0)


def test_two_branches_and_other_channels_at_once() -> None:
    report, small = cut_and_check(residual(), {"a1": [], "b1": [], "stem": [1, 2, 7]})
    assert names(small) == {"image", "stem", "pool", "head"}
    assert set(report.removed) == {"sum1", "sum2"}


def test_a_constant_that_a_border_breaks_keeps_one_channel() -> None:
    """A bias before a padded convolution: near the border fewer of it are summed."""
    inputs = keras.Input((12, 12, 3))
    stem = conv(4, name="stem")(inputs)
    x = conv(4, name="two")(conv(5, name="one")(conv(3, name="zero")(stem)))
    model = keras.Model(inputs, layers.Flatten()(layers.Add(name="sum")([stem, x])))
    randomise(model, 0)
    report, small = cut_and_check(model, {"zero": []})
    assert "padding" in report.kept["zero"]
    assert small.get_layer("zero").filters == 1
    valid = keras.Input((12, 12, 3))
    stem = conv(4, 5, name="stem", padding="valid")(valid)
    x = conv(3, name="zero", padding="valid")(valid)
    x = conv(4, name="two", padding="valid")(x)
    model = keras.Model(valid, layers.Flatten()(layers.Add(name="sum")([stem, x])))
    randomise(model, 0)
    report, small = cut_and_check(model, {"zero": []})
    assert "two" not in names(small)


def test_a_branch_of_a_concatenation() -> None:
    inputs = keras.Input((12, 12, 3))
    parts = [conv(4, name=f"part{index}")(inputs) for index in range(3)]
    x = layers.BatchNormalization(name="norm")(layers.Concatenate(name="join")(parts))
    model = keras.Model(inputs, conv(2, name="last")(x))
    randomise(model, 0)
    report, small = cut_and_check(model, {"part1": []})
    assert set(report.removed) == {"join"}
    assert "part1" not in names(small)
    _, smaller = cut_and_check(model, {"part1": [], "part0": [], "part2": [1, 3]})
    assert names(smaller) & {"join", "part0", "part1"} == set()


@pytest.mark.parametrize("gone", [["a", "c"], ["a", "b"], ["b", "c"]])
def test_branches_of_a_concatenation_of_concatenations(gone: list[str]) -> None:
    """What is left of one may be a single tensor, which the next one joins."""
    inputs = keras.Input((12, 12, 3))
    parts = {name: conv(4, name=name)(inputs) for name in "abc"}
    first = layers.Concatenate(name="first")([parts["a"], parts["b"]])
    second = layers.Concatenate(name="second")([first, parts["c"]])
    model = keras.Model(inputs, conv(2, name="last")(second))
    randomise(model, 0)
    _, small = cut_and_check(model, {name: [] for name in gone})
    assert names(small) & {*gone, "first", "second"} == set()


def joined_by(join: Any, *, branch_first: bool = False) -> keras.Model:
    inputs = keras.Input((12, 12, 3))
    stem = conv(4, name="stem")(inputs)
    branch = conv(4, 1, name="two")(conv(3, name="one")(stem))
    model = keras.Model(inputs, conv(2, name="last")(join([branch, stem] if branch_first else [stem, branch])))
    randomise(model, 0)
    return model


@pytest.mark.parametrize("join", [layers.Subtract(), CustomScaleLayer(0.3), lambda pair: keras.ops.subtract(*pair)])
def test_sums_with_factors(join: Any) -> None:
    model = joined_by(join)
    report, small = cut_and_check(model, {"one": []})
    assert not report.kept
    assert len(report.removed) == 1
    assert names(small) & {"one", "two"} == set()
    # The other way round what is left would have to be scaled.
    report, small = cut_and_check(joined_by(join, branch_first=True), {"one": []})
    assert "only scale what is left" in report.kept["one"]
    assert small.get_layer("one").filters == 1


@pytest.mark.parametrize(("join", "why"), [(layers.Average(), "only scale"), (layers.Maximum(), "in place of this")])
def test_what_is_no_sum_of_the_rest_keeps_one_channel(join: Any, why: str) -> None:
    report, small = cut_and_check(joined_by(join), {"one": []})
    assert why in report.kept["one"]
    assert small.get_layer("one").filters == 1


def test_a_gate_becomes_a_constant_factor() -> None:
    inputs = keras.Input((12, 12, 3))
    x = conv(6, name="stem")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = conv(2, 1, name="squeeze", activation="relu")(gate)
    gate = conv(6, 1, name="excite", activation="sigmoid")(gate)
    model = keras.Model(inputs, conv(2, name="last")(layers.Multiply(name="gated")([x, gate])))
    randomise(model, 0)
    report, small = cut_and_check(model, {"squeeze": []})
    assert set(report.removed) == {"gated"}
    assert names(small) & {"squeeze", "excite"} == set()


def test_nested_models_lose_branches_too() -> None:
    inner = residual()
    outer_inputs = keras.Input((12, 12, 3))
    model = keras.Model(outer_inputs, layers.Dense(2, name="top")(inner(outer_inputs)))
    randomise(model, 1)
    _, small = cut_and_check(model, {"residual/a1": [], "residual/b1": [0, 2]})
    assert small.get_layer("residual").get_layer("b1").filters == 2


def test_a_network_cut_in_two() -> None:
    with pytest.raises(ks.PlanError, match="cuts the network in two"):
        ks.cut(residual(), ks.ChannelPlan({"stem": []}))


def test_the_result_trains_and_loads(tmp_path: Any) -> None:
    _, small = cut_and_check(residual(), {"a1": [], "b1": [1, 2], "stem": [0, 1, 2, 3]})
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(outputs(loaded, IMAGES)[0], outputs(small, IMAGES)[0], rtol=1e-6)
    loaded.compile("sgd", "mse", run_eagerly=True)
    before = loaded.evaluate(IMAGES, np.zeros((3, 4)), verbose=0)
    loaded.fit(IMAGES, np.zeros((3, 4)), epochs=1, verbose=0)
    assert np.isfinite(before)


def test_a_part_that_nobody_reads_may_be_left_empty() -> None:
    """Its channels stand along two axes, of which one alone becomes nothing."""
    inputs = keras.Input((5,))
    grid = layers.Reshape((3, 3))(layers.Dense(9, name="wide")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(keras.ops.split(grid, [1], axis=-1)[1]))
    randomise(model, 0)
    small = ks.cut(model, ks.ChannelPlan({"wide": [index for index in range(9) if index % 3]}))
    assert small.get_layer("wide").units == 6
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    np.testing.assert_allclose(small(vectors), model(vectors), rtol=1e-5, atol=1e-6)
