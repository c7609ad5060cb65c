"""Compress: one budget for pruning and factorising, never worse than the better of the two alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError, PassError
from kerasurgeon.passes import Compress, Factorise, PruneChannels
from tests.generating.test_generate_inputs import network, pictures

layers = keras.layers
Array = np.ndarray[Any, Any]


def of_rank(rank: int | None) -> keras.Model:
    """Three convolutions whose kernels have a low rank, or, without one, whose channels are zero but for few."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 8), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="one")(inputs)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="two")(x)
    model = keras.Model(inputs, layers.Conv2D(8, 3, padding="same", name="three")(x))
    rng = np.random.default_rng(0)
    for layer in model.layers[1:]:
        kernel = np.asarray(layer.kernel)
        if rank is not None:
            left, right = rng.normal(size=(kernel.shape[2], rank)), rng.normal(size=(rank, kernel.shape[3]))
            taps = rng.normal(size=(3, 3, 1, 1))
            kernel = (taps * (left @ right) / np.sqrt(9 * rank * kernel.shape[2])).astype("float32")
        bias = rng.normal(size=layer.filters) * 0.1
        if rank is None and layer.filters == 32:
            bias[np.arange(32) % 4 > 0] = -100  # never above zero, whatever the kernel is
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
    return model


def data(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 8)).astype("float32")


def error(model: keras.Model, other: keras.Model, inputs: Array) -> float:
    one, two = (np.asarray(item(inputs, training=False), np.float64) for item in (model, other))
    return float(np.sqrt(np.mean(np.square(one - two))) / one.std())


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", ["low rank", "zeros"])
def test_it_is_as_good_as_the_better_of_the_two(kind: str) -> None:
    """Where kernels have a low rank factors win by far, where channels are zero pruning does."""
    model = of_rank(4 if kind == "low rank" else None)
    fit, test = data(80, 0), data(40, 1)
    result = ks.Pipeline([Compress(macs=0.35)]).run(model, data=fit)
    pruned = ks.apply_passes(model, [PruneChannels(macs=0.35)], data=fit)
    factorised = ks.apply_passes(model, [Factorise(macs=0.35, minimise="output")], data=fit)
    errors = [error(model, other, test) for other in (pruned, factorised)]
    assert ks.cost(result.model).macs <= 0.35 * ks.cost(model).macs
    assert (errors[0] < 0.8 * errors[1]) == (kind == "zeros"), errors
    assert error(model, result.model, test) <= 1.05 * min(errors) + 1e-6
    said = [site.what for site in result.report.passes[0].sites if "held out" in site.what]
    assert len(said) == 1
    assert "pruning alone" in said[0]
    assert "factorising alone" in said[0]
    if kind == "low rank":
        return
    again = ks.apply_passes(model, [Compress(macs=0.35)], data=iter([fit[:50], fit[50:]]))
    np.testing.assert_allclose(again(test), result.model(test), rtol=1e-3, atol=1e-4)


def test_an_evaluation_decides_where_there_is_one() -> None:
    model = of_rank(4)
    names = []

    def chains(candidate: keras.Model) -> float:
        names.append([layer.name for layer in candidate.layers])
        return -float(len(candidate.layers))

    result = ks.Pipeline([Compress(params=0.5)]).run(model, data=data(16, 0), evaluate=chains)
    assert len(result.model.layers) == len(model.layers)
    assert any(len(several) > len(model.layers) for several in names)
    assert "by the evaluation" in " ".join(site.what for site in result.report.passes[0].sites)


@pytest.mark.sweep  # test_prune_defaults.py generates in every run
@pytest.mark.generates
def test_without_data_inputs_are_generated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerasurgeon.generating.making._LADDER", ((0.25, 10),))
    result = ks.Pipeline([Compress(macs=0.5, generate_seconds=600)]).run(network(pictures(64, 0)))
    said = " ".join(site.what for site in result.report.passes[0].sites)
    assert said.count("inputs were generated") == 1
    assert "data= (some hundred inputs)" in " ".join(result.report.passes[0].notes)


@pytest.mark.parametrize("time", [True, False])
def test_with_neither_weights_decide(time: bool) -> None:
    model = network(pictures(64, 0)) if time else of_rank(4)
    result = ks.Pipeline([Compress(macs=0.5)]).run(model)
    notes = " ".join(result.report.passes[0].notes)
    assert ("no inputs were generated" if time else "no trained batch norm") in notes
    assert "random inputs" in " ".join(site.what for site in result.report.passes[0].sites)
    assert ks.cost(result.model).macs <= 0.5 * ks.cost(model).macs


def test_what_cannot_be_reached() -> None:
    model = of_rank(4)

    def untouched() -> Iterator[Any]:
        raise AssertionError
        yield

    with pytest.raises(BudgetError, match=r"Compress: macs=0\.0001 cannot be reached") as refused:
        ks.apply_passes(model, [Compress(macs=0.0001)], data=untouched())
    least = refused.value.value
    assert least is not None
    small = ks.apply_passes(model, [Compress(macs=least)], data=data(16, 0))
    assert ks.cost(small).macs <= least * ks.cost(model).macs
    nearest = ks.Pipeline([Compress(macs=0.0001, unreachable="nearest")]).run(model, data=data(16, 0))
    assert "cannot be reached" in " ".join(nearest.report.passes[0].notes)
    whole = ks.Pipeline([Compress(macs=1.0)]).run(model)
    assert "there is no more than that" in " ".join(site.what for site in whole.report.passes[0].sites)


def test_layers_that_are_ignored_stay() -> None:
    model = of_rank(4)
    small = ks.apply_passes(model, [Compress(macs=0.6, ignore="one")], data=data(32, 0))
    np.testing.assert_array_equal(small.get_layer("one").kernel, model.get_layer("one").kernel)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one budget"),
        ({"macs": 0.5, "params": 0.5}, "needs one budget"),
        ({"macs": -1}, "macs"),
        ({"macs": 0.5, "round_to": 0}, "round_to"),
        ({"macs": 0.5, "unreachable": "never"}, "unreachable"),
        ({"macs": 0.5, "input_range": (1, 0)}, "upside down"),
        ({"macs": 0.5, "generate_seconds": -1}, "generate_seconds"),
        ({"macs": 0.5, "ignore": 3}, "ignore"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        Compress(**options)
    assert str(caught.value).startswith("Compress")
    assert not any(other in str(caught.value) for other in ("PruneChannels", "Factorise"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 8, 8, 3), "float32"), "does not fit the model's inputs"),
        (np.full((4, 8, 8, 8), np.nan, "float32"), "holds NaN"),
        (np.zeros((0, 8, 8, 8), "float32"), "is empty"),
        (np.ones((6, 8, 8, 8), "float32"), "all samples are the same"),
    ],
)
def test_data_that_cannot_be_used(given: Array, said: str) -> None:
    with pytest.raises(PassError, match=said):
        ks.apply_passes(of_rank(4), [Compress(macs=0.5)], data=given)


def test_one_image_is_too_few_and_integers_are_odd() -> None:
    model = of_rank(4)
    given = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 8), dtype="uint8")
    result = ks.Pipeline([Compress(macs=0.5)]).run(model, data=given)
    notes = result.report.passes[0].notes
    assert sum("the data has 1 sample:" in note for note in notes) == 1
    assert sum("is given integers up to 25" in note for note in notes) == 1
    assert np.isfinite(np.asarray(result.model(data(2, 1)))).all()
    assert ks.cost(result.model).macs <= 0.5 * ks.cost(model).macs
