"""What Factorise does where nobody says whose error counts: with data, without, and where inputs can be generated."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import Factorise, PruneChannels, TuckerSplit
from tests.generating.test_generate_inputs import network, pictures
from tests.passes.test_prune_defaults import error

layers = keras.layers
QUICK: dict[str, Any] = {"generate_seconds": 600.0}  # far more than it takes, on any machine


def factorised(model: keras.Model, data: Any = None, **options: Any) -> tuple[keras.Model, str]:
    """The result, and what is said of it."""
    result = ks.Pipeline([Factorise(**{"macs": 0.5, **options})]).run(model, data=data)
    (report,) = result.report.passes
    return result.model, " ".join([*(site.what for site in report.sites), *report.notes])


@pytest.mark.sweep  # test_prune_defaults.py generates in every run
@pytest.mark.generates
def test_without_data_inputs_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    data, test = pictures(128, 0), pictures(64, 1)
    model = network(data)
    monkeypatch.setattr("kerasurgeon.generating.making._LADDER", ((0.25, 30),))
    made, said = factorised(model, **QUICK)
    assert "64 inputs were generated" in said
    assert "kernels were fitted on generated inputs; data= (some hundred inputs)" in said
    by_kernels, quiet = factorised(model, minimise="kernel")
    assert "generated" not in quiet
    by_data, _ = factorised(model, data)
    assert error(model, by_data, test) < error(model, made, test) < 0.8 * error(model, by_kernels, test)
    again, _ = factorised(model, minimise="generated", **QUICK)
    assert error(made, again, test) < 1e-5


@pytest.mark.generates
def test_a_run_generates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerasurgeon.generating.making._LADDER", ((0.25, 2),))
    passes = [TuckerSplit(macs=0.8, **QUICK), PruneChannels(macs=0.8, **QUICK)]
    first, second = ks.Pipeline(passes).run(network(pictures(64, 0))).report.passes
    said = [" ".join(site.what for site in report.sites) for report in (first, second)]
    assert ["inputs were generated" in one for one in said] == [True, False]
    assert all("on generated inputs" in " ".join(report.notes) for report in (first, second))


def test_too_little_time_means_kernels() -> None:
    model = network(pictures(64, 0))
    made, said = factorised(model, generate_seconds=0)
    explicit, _ = factorised(model, minimise="kernel")
    assert "kernels are factorised by their own error" in said
    assert "generate_seconds= gives more time" in said
    assert error(made, explicit, pictures(8, 1)) < 1e-6


@pytest.mark.generates
@pytest.mark.parametrize(
    "options",
    [
        {"minimise": "kernel"},
        {"macs": None, "max_accuracy_loss": 0.9},
        {"macs": None, "ranks": {"*": 1000}, "only_if_cheaper": False},
    ],
)
def test_what_needs_none_waits_for_none(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("inputs are generated")

    monkeypatch.setattr("kerasurgeon.generating.standing_in.made_inputs", refuse)
    model = network(pictures(8, 0))
    ks.Pipeline([Factorise(**{"macs": 0.5, **options})]).run(model, evaluate=lambda candidate: 1.0)


def test_what_was_asked_for_is_not_replaced() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(8, 3)(inputs))
    with pytest.raises(PassError, match="no layer of the model holds statistics"):
        factorised(model, minimise="generated")
    assert "generated" not in factorised(model)[1]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"input_range": (1, 0)}, "upside down"),
        ({"generate_seconds": np.nan}, "generate_seconds"),
        ({"minimise": "best"}, "'generated'"),
    ]
    for options, said in wrong:
        with pytest.raises(OptionError, match=said):
            Factorise(macs=0.5, **options)
