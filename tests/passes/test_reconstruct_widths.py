"""Networks rebuilt from numbers of channels: MorphNet's own example, and what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError, PlanError
from kerasurgeon.passes import ReconstructWidths
from tests.channels.networks import residual
from tests.passes.checking import assert_lives, changed, difference, run, state_of
from tests.zoo import randomise

# What the README of the MorphNet Model Zoo lists for ResNet50 after optimisation: the stem; per stage its width, and
# the two inner convolutions of every block.
STEM = 13
STAGES = {
    2: (64, [(25, 4), (0, 0), (0, 0)]),
    3: (54, [(13, 7), (0, 0), (0, 0), (0, 0)]),
    4: (69, [(51, 42), (0, 0), (0, 0), (4, 16), (6, 8), (0, 0)]),
    5: (102, [(0, 0), (0, 0), (24, 3)]),
}


def example() -> dict[str, int]:
    counts = {"conv1_conv": STEM}
    for stage, (width, blocks) in STAGES.items():
        counts[f"conv{stage}_block1_0_conv"] = width
        for number, (one, two) in enumerate(blocks, start=1):
            counts |= {
                f"conv{stage}_block{number}_{place}_conv": kept for place, kept in ((1, one), (2, two), (3, width))
            }
    return counts


def resnet() -> keras.Model:
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    randomise(model, 0)
    return model


def conv_macs(model: keras.Model) -> int:
    """Counted by hand: positions times the elements of the kernel."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(np.prod(layer.kernel.shape))
    return total


@pytest.fixture(scope="module")
def original() -> keras.Model:
    return resnet()


@pytest.mark.spread(2)
@pytest.mark.parametrize("weights", ["sliced", "fresh"])
def test_the_example_of_the_model_zoo(original: keras.Model, weights: str, tmp_path: Path) -> None:
    counts = example()
    assert len(counts) == 53
    assert sum(count == 0 for count in counts.values()) == 20
    path = tmp_path / "alive_7000"
    path.write_text(json.dumps({f"{name}/Conv2D": count for name, count in counts.items()}, indent=2, sort_keys=True))
    result = run(ReconstructWidths(path, weights=weights), original, verify="exact")
    small = result.model
    present = {layer.name: layer.filters for layer in small.layers if isinstance(layer, layers.Conv2D)}
    # Convolutions of branches without channels are gone; all others have exactly their numbers.
    for name, count in counts.items():
        branch = name[: name.rindex("_block") + 7] if "_block" in name else name
        gone = "_0_" not in name and counts.get(f"{branch}_1_conv", 1) == 0
        assert (name not in present) if gone else (present[name] == count), name
    assert len(present) == 53 - 30
    assert conv_macs(original) == pytest.approx(78.7e6, rel=0.01)
    assert conv_macs(small) == pytest.approx(0.863e6, rel=0.01)
    assert np.isfinite(np.asarray(small(np.ones((1, 32, 32, 3), "float32")))).all()
    assert sum("branch is gone" in what for what in changed(result).values()) == 10


def test_sliced_weights_are_those_of_the_largest_filters() -> None:
    model = residual()
    small = run(ReconstructWidths({"b1": 3}), model).model
    kernel = np.asarray(model.get_layer("b1").kernel)
    kept = np.sort(np.argsort(-np.square(kernel).sum(axis=(0, 1, 2)))[:3])
    np.testing.assert_array_equal(np.asarray(small.get_layer("b1").kernel), kernel[..., kept])
    np.testing.assert_array_equal(
        np.asarray(small.get_layer("b2").kernel), np.asarray(model.get_layer("b2").kernel)[:, :, kept]
    )


def test_a_vanished_branch_leaves_its_constant_in_a_bias() -> None:
    """By hand: without channels of a1, what is left of the branch is what a2 and bn2 make of relu1 of nothing."""
    model = residual()
    result = run(ReconstructWidths({"a1": 0}), model, verify="exact")
    assert result.report.passes[0].difference is not None
    names = {layer.name for layer in result.model.layers}
    assert not {"a1", "bn1", "relu1", "a2", "bn2", "sum1"} & names
    bn2 = model.get_layer("bn2")
    weights = [np.asarray(weight, "float64") for weight in (bn2.gamma, bn2.beta, bn2.moving_mean, bn2.moving_variance)]
    gamma, beta, mean, variance = weights
    constant = (np.asarray(model.get_layer("a2").bias) - mean) / np.sqrt(variance + bn2.epsilon) * gamma + beta
    inputs = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
    twin = keras.Model(model.input, model.get_layer("stem").output)
    x = np.asarray(twin(inputs)) + constant
    y = model.get_layer("b2")(model.get_layer("b1")(x.astype("float32")))
    expected = model.get_layer("head")(np.asarray(x + np.asarray(y)).mean(axis=(1, 2)).astype("float32"))
    np.testing.assert_allclose(np.asarray(result.model(inputs)), np.asarray(expected), rtol=1e-4, atol=1e-5)


def test_fresh_weights_drop_what_vanished_and_start_anew(tmp_path: Path) -> None:
    model = residual()
    before = state_of(model)
    one = ks.Pipeline([ReconstructWidths({"a1": 0, "b1": 2, "stem": 5}, weights="fresh")]).run(model, seed=3).model
    two = ks.Pipeline([ReconstructWidths({"a1": 0, "b1": 2, "stem": 5}, weights="fresh")]).run(model, seed=3).model
    assert state_of(model) == before
    assert difference(one, two) == 0
    assert not np.asarray(one.get_layer("stem").bias).any()
    assert one.get_layer("b1").kernel.shape == (3, 3, 5, 2)
    assert_lives(one, tmp_path)


def test_fresh_weights_drop_a_gate_as_a_whole() -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1, name="stem")(inputs)
    gate = layers.Conv2D(2, 1, name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="head")(layers.Multiply()([x, gate])))
    small = run(ReconstructWidths({"squeeze": 0}, weights="fresh"), model).model
    assert [layer.name for layer in small.layers if isinstance(layer, layers.Conv2D)] == ["stem", "head"]


def test_names_as_tensorflow_1_writes_them() -> None:
    small = run(ReconstructWidths({"model/residual/b1/Conv2D": 3, "a1/Conv2D": 4}), residual()).model
    assert (small.get_layer("b1").filters, small.get_layer("a1").filters) == (3, 4)


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ({"a11": 3, "stem": 8}, ["no layer 'a11'", "did you mean 'a1'"]),
        ({"conv2_block1_1_conv": 3}, ["no layer", "structure of another model"]),
        ({"a1": 9}, ["more channels than it has", "at most 6", "9"]),
        ({"stem": 3, "a2": 4}, ["shares channels with 'stem'"]),
        ({"a1": 3, "net/a1/Conv2D": 4}, ["names 'a1' twice"]),
        ({"head": 2}, ["output of the model"]),
        ({"stem": 0, "a2": 0, "b2": 0}, ["no longer depend"]),
    ],
)
def test_numbers_that_cannot_be_had(counts: dict[str, int], parts: list[str]) -> None:
    with pytest.raises((PlanError, PassError)) as caught:
        run(ReconstructWidths(counts), residual())
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"structure": {"a1": 2.5}}, PlanError, "a number of channels from 0"),
        ({"structure": {"a1": -1}}, PlanError, "a number of channels from 0"),
        ({"structure": 3}, OptionError, "the path of a JSON file"),
        ({"structure": {"a1": 2}, "weights": "slcied"}, OptionError, "did you mean 'sliced'"),
        ({"structure": {"a1": 2}, "importance": "l3"}, OptionError, "l2"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ReconstructWidths(**options)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PassError, match="cannot be read"):
        run(ReconstructWidths(tmp_path / "missing.json"), residual())
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(PassError, match="not valid JSON"):
        run(ReconstructWidths(broken), residual())
    broken.write_text("[1]")
    with pytest.raises(PassError, match="an object of layer names"):
        run(ReconstructWidths(broken), residual())
