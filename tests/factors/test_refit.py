"""Chains are fitted in the order of the network, each behind the chains before it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import PassError
from kerasurgeon.factors import run
from kerasurgeon.passes import ApplyFactors, Factorise, PruneChannels

layers = keras.layers
Array = np.ndarray[Any, Any]


def network(groups: int = 1) -> keras.Model:
    """Three layers; a batch norm behind one without a bias, strides, and groups."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((9, 9, 6), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(16, 3, groups=groups, activation="relu", name="two")(x)
    return keras.Model(inputs, layers.Dense(12, name="three")(layers.Flatten()(x)))


def images(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0.3, 1.0, (count, 9, 9, 6)).astype("float32")


@pytest.mark.parametrize("groups", [1, 2])
def test_what_chains_before_lose_is_made_up_for(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, test = network(groups), images(128, 0), images(64, 1)
    result = ks.Pipeline([Factorise(ratio=0.4, minimise="output")]).run(model, data=data)
    wanted, given = (np.asarray(item(data), np.float64) for item in (model, result.model))
    # All positions of the last layer are looked at, so that its bias is exact: the mean error of every output is 0.
    np.testing.assert_allclose(given.mean(axis=0), wanted.mean(axis=0), atol=1e-4 * wanted.std())
    with monkeypatch.context() as patch:
        patch.setattr(run, "refitted", lambda whole, graph, made, *rest: made)
        apart = ks.apply_passes(model, [Factorise(ratio=0.4, minimise="output")], data=data)

    def error(other: keras.Model) -> float:
        return float(np.sqrt(np.mean(np.square(np.asarray(other(test)) - np.asarray(model(test))))))

    assert error(result.model) < 0.97 * error(apart)
    # The plan has the kernels as they are in the end.
    again = ks.apply_passes(model, [ApplyFactors(result.report.passes[0].plans[0])])
    np.testing.assert_allclose(again(test), result.model(test), rtol=1e-4, atol=1e-5)


def test_by_default_data_is_used_where_there_is_some() -> None:
    model, data = network(), images(32, 0)
    for given, explicit in ((data, "output"), (None, "kernel")):
        one = ks.apply_passes(model, [Factorise(macs=0.6)], data=given)
        other = ks.apply_passes(model, [Factorise(macs=0.6, minimise=explicit)], data=given)
        for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("item", [Factorise(macs=0.6), PruneChannels(macs=0.6)])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 9, 9, 3), "float32"), "does not fit the model's inputs"),
        (np.zeros((4, 9, 9), "float32"), "does not fit the model's inputs"),
        (np.full((4, 9, 9, 6), np.nan, "float32"), "holds NaN"),
        (np.zeros((0, 9, 9, 6), "float32"), "is empty"),
        (np.full((9, 9, 9, 6), 0.5, "float32"), "all samples are the same"),
        ("images.npy", "does not fit the model's inputs"),
    ],
)
def test_data_that_cannot_be_used(item: Any, given: Any, said: str) -> None:
    with pytest.raises(PassError, match=said):
        ks.apply_passes(network(), [item], data=given)


@pytest.mark.parametrize("item", [Factorise(macs=0.6), PruneChannels(macs=0.6)])
def test_data_that_says_little(item: Any) -> None:
    one = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 6), dtype="uint8")
    notes = " ".join(ks.Pipeline([item]).run(network(), data=one).report.passes[0].notes)
    assert "the data has 1 sample:" in notes
    assert "input 'image' is given integers up to 25" in notes
    plain = ks.Pipeline([item]).run(network(), data=images(16, 0)).report.passes[0].notes
    assert plain == ()


def test_labels_that_taylor_needs() -> None:
    taylor = PruneChannels(macs=0.6, importance="taylor")
    with pytest.raises(PassError, match="labels"):
        ks.apply_passes(network(), [taylor], data=images(8, 0))
