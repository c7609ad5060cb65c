"""Criteria on weights, reductions and normalisers, against numpy written here."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.channels import Channels, Evidence, Group, analyse, criterion_for, groups, known_criteria, score
from kerasurgeon.channels.importance import NORMALISERS, REDUCTIONS
from kerasurgeon.channels.importance_weights import Magnitude
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.passes import Skip
from tests.passes.checking import model_of

layers = keras.layers
Array = np.ndarray[Any, Any]


def chain() -> keras.Model:
    """One convolution, with a norm, read by another."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    return model_of(inputs, layers.Conv2D(2, 1, name="end")(x))


def shortcut() -> keras.Model:
    """Two convolutions whose channels are added."""
    inputs = keras.Input((6, 6, 3))
    one, two = (layers.Conv2D(5, 3, padding="same", name=name)(inputs) for name in ("one", "two"))
    return model_of(inputs, layers.Conv2D(2, 1, name="end")(layers.Add()([one, two])))


def kernel(model: keras.Model, name: str) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer(name).kernel), "float64")


def found(model: keras.Model, name: str, importance: Any, normalise: str | None = "none", **options: Any) -> Array:
    channels = analyse(model)
    return score(groups(channels)[name], criterion_for(importance), Evidence(channels, **options), normalise)


def test_norms_are_those_of_the_filters() -> None:
    model = chain()
    weights = kernel(model, "conv")
    np.testing.assert_allclose(found(model, "conv", "l1"), np.abs(weights).sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found(model, "conv", "l2"), np.sqrt((weights**2).sum((0, 1, 2))), rtol=1e-5)
    reads = np.abs(kernel(model, "end")).sum((0, 1, 3))
    both = found(model, "conv", Magnitude(1, "kernels"), reduction="sum")
    np.testing.assert_allclose(both, np.abs(weights).sum((0, 1, 2)) + reads, rtol=1e-5)
    norm = model.get_layer("norm")
    vectors = [model.get_layer("conv").bias, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance]
    rest = sum(np.abs(np.asarray(keras.ops.convert_to_numpy(vector))) for vector in vectors)
    everything = found(model, "conv", Magnitude(1, "all"), reduction="sum")
    np.testing.assert_allclose(everything, np.abs(weights).sum((0, 1, 2)) + reads + rest, rtol=1e-5)


def test_fpgm_sums_distances_between_filters() -> None:
    model = chain()
    filters = kernel(model, "conv").reshape(-1, 8).T
    expected = [float(sum(np.linalg.norm(one - other) for other in filters)) for one in filters]
    np.testing.assert_allclose(found(model, "conv", "fpgm"), expected, rtol=1e-5)


def test_lamp_is_the_share_of_what_is_at_least_as_large() -> None:
    model = chain()
    squares = (kernel(model, "conv") ** 2).sum((0, 1, 2))
    expected = [one / squares[squares >= one].sum() for one in squares]
    np.testing.assert_allclose(found(model, "conv", "lamp"), expected, rtol=1e-5)


def test_batch_norm_scale() -> None:
    model = chain()
    gamma = np.asarray(keras.ops.convert_to_numpy(model.get_layer("norm").gamma))
    np.testing.assert_allclose(found(model, "conv", "batch_norm"), np.abs(gamma), rtol=1e-6)
    with pytest.raises(Skip, match="no batch normalisation"):
        found(shortcut(), "one", "batch_norm")


def test_random_follows_the_seed() -> None:
    model = chain()
    draws = [found(model, "conv", "random", rng=np.random.default_rng(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()


@pytest.mark.parametrize("reduction", sorted(REDUCTIONS))
def test_reductions(reduction: str) -> None:
    model = shortcut()
    one, two = (np.abs(kernel(model, name)).sum((0, 1, 2)) for name in ("one", "two"))
    expected = {
        "sum": one + two,
        "mean": (one + two) / 2,
        "max": np.maximum(one, two),
        "product": one * two,
        "first": one,
    }[reduction]
    np.testing.assert_allclose(found(model, "one", "l1", reduction=reduction), expected, rtol=1e-5)


def test_members_that_hold_some_of_the_units_count_for_these() -> None:
    inputs = keras.Input((4, 4, 3))
    parts = [layers.Conv2D(3, 1, name=name)(inputs) for name in ("left", "right")]
    whole = layers.Conv2D(6, 1, name="whole")(inputs)
    model = model_of(inputs, layers.Conv2D(2, 1)(layers.Add()([layers.Concatenate()(parts), whole])))
    sums = {name: np.abs(kernel(model, name)).sum((0, 1, 2)) for name in ("left", "right", "whole")}
    expected = np.concatenate([sums["left"], sums["right"]]) + sums["whole"]
    channels = analyse(model)
    group = groups(channels)["whole"]
    scores = score(group, criterion_for("l1"), Evidence(channels, reduction="sum"), "none")
    positions = np.searchsorted(group.units, channels.unit[channels.sources["whole"].ids])
    np.testing.assert_allclose(scores[positions], expected, rtol=1e-5)


@pytest.mark.parametrize("normalise", sorted(NORMALISERS))
def test_normalisers(normalise: str) -> None:
    model = chain()
    raw = np.abs(kernel(model, "conv")).sum((0, 1, 2))
    expected = {
        "none": raw,
        "sum": raw / raw.sum(),
        "mean": raw / raw.mean(),
        "max": raw / raw.max(),
        "l2": raw / np.sqrt((raw**2).sum()),
        "standardise": (raw - raw.mean()) / raw.std(),
    }[normalise]
    np.testing.assert_allclose(found(model, "conv", "l1", normalise), expected, rtol=1e-5)
    flat = NORMALISERS[normalise](np.zeros(3))
    np.testing.assert_array_equal(flat, np.zeros(3))


def test_heads_are_scored_whole() -> None:
    inputs = keras.Input((5, 12))
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    model = model_of(inputs, layers.Dense(2)(attention(inputs, inputs)))
    channels = analyse(model)
    if "attention#heads" not in channels.sources:
        pytest.skip("attention has no rule yet")
    group = groups(channels)["attention#heads"]
    scores = score(group, criterion_for("l2"), Evidence(channels))
    assert scores.shape == (group.size,)


def test_own_criteria_and_what_they_may_not_return() -> None:
    model = chain()
    np.testing.assert_array_equal(found(model, "conv", lambda group, evidence: np.arange(group.size)), np.arange(8))
    with pytest.raises(OptionError, match=r"(?s)does not give one score per unit.*\(8,\).*\(3,\)"):
        found(model, "conv", lambda group, evidence: np.ones(3))
    with pytest.raises(OptionError, match="one score per unit"):
        found(model, "conv", lambda group, evidence: "many")

    def broken(group: Group, evidence: Evidence) -> Array:
        return np.full(group.size, np.nan)

    with pytest.raises(OptionError, match=r"(?s)'broken' gives scores that are NaN.*8 of 8"):
        found(model, "conv", broken)


def test_unknown_criteria() -> None:
    with pytest.raises(OptionError, match="did you mean 'taylor'"):
        criterion_for("tailor")
    with pytest.raises(OptionError, match="cannot be used"):
        criterion_for(Magnitude)  # type: ignore[arg-type]  # a class is no criterion
    with pytest.raises(OptionError, match="members='none'"):
        Magnitude(1, "none")
    wanted = {"l1", "l2", "fpgm", "lamp", "batch_norm", "random", "taylor", "taylor_rectified", "hessian", "apoz"}
    assert wanted | {"mean_activation"} <= set(known_criteria())


def test_the_evidence_holds_the_graph() -> None:
    channels: Channels = analyse(chain())
    assert Evidence(channels).graph is channels.graph
