"""The loop of the paper, with training that is played."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError, PlanError
from kerasurgeon.morphnet.loop import shrink_and_expand
from kerasurgeon.passes import MorphNetShrink
from tests.channels.networks import residual
from tests.passes.checking import difference, state_of


def weaken(model: keras.Model, name: str, share: float) -> None:
    """As a regulariser would: the last filters of a layer become small."""
    layer = model.get_layer(name)
    kernel = np.asarray(layer.kernel).copy()
    kernel[..., round(kernel.shape[-1] * (1 - share)) :] *= 1e-6
    layer.kernel.assign(kernel)


def test_widths_move_to_where_they_count() -> None:
    model = residual()
    before, seen = state_of(model), []

    def train(current: keras.Model, number: int) -> None:
        seen.append((number, current.get_layer("a1").filters, current.get_layer("b1").filters))
        weaken(current, "a1", 0.7)

    loop = shrink_and_expand(model, train, rounds=2)
    assert state_of(model) == before
    budget = ks.cost(model).macs
    assert loop.budget == budget
    assert [entry.number for entry in loop.rounds] == [1, 2]
    assert seen[0] == (1, 6, 5)
    assert seen[1] == (2, loop.rounds[0].widths["a1"], loop.rounds[0].widths["b1"])
    for entry in loop.rounds:
        assert entry.shrunk <= entry.cost <= budget
        assert entry.width > 1
    assert loop.rounds[0].shrunk < loop.rounds[0].cost
    final = loop.rounds[-1].widths
    assert final["a1"] < 6
    assert final["b1"] > 5
    assert ks.cost(loop.model).macs == loop.rounds[-1].cost


def test_net2wider_keeps_what_the_shrunk_model_computes() -> None:
    shrunk: list[Any] = []
    plan = ks.ChannelPlan({"a1": [0, 2], "b1": [1, 2, 4]})

    def train(current: keras.Model, number: int) -> ks.ChannelPlan:
        shrunk.append(ks.apply_passes(current, [MorphNetShrink(plan)]))
        return plan

    loop = shrink_and_expand(residual(), train)
    assert difference(shrunk[0], loop.model) < 1e-5
    assert loop.rounds[0].plan.kept["a1"] == (0, 2)


def test_fresh_weights_parameters_and_a_finish() -> None:
    finished: list[Any] = []

    def train(current: keras.Model, number: int) -> keras.Model:
        weaken(current, "b1", 0.6)
        return current

    loop = shrink_and_expand(residual(), train, params=900, weights="fresh", finish=finished.append, seed=1)
    assert finished == [loop.model]
    assert loop.model.count_params() <= 900
    assert loop.rounds[0].cost == loop.model.count_params()


def test_widths_are_rounded_as_expand_does() -> None:
    def train(current: keras.Model, number: int) -> None:
        weaken(current, "b1", 0.6)

    loop = shrink_and_expand(residual(), train, macs=3.0, round_to=4)
    assert {loop.rounds[0].widths[name] % 4 for name in ("stem", "a1", "a2", "b1", "b2")} == {0}
    assert loop.rounds[0].cost <= loop.budget


def test_what_cannot_be_used() -> None:
    def nothing(current: keras.Model, number: int) -> None:
        return None

    for options, message in (
        ({"rounds": 0}, "a whole number from 1"),
        ({"weights": "old"}, "net2wider"),
        ({"round_to": "tflit"}, "did you mean 'tflite'"),
        ({"macs": 1.0, "params": 2.0}, "one budget"),
        ({"macs": -3.0}, "a number above 0"),
    ):
        with pytest.raises(OptionError, match=message):
            shrink_and_expand(residual(), nothing, **options)
    with pytest.raises(OptionError, match="nothing, a Keras model or a ChannelPlan"):
        shrink_and_expand(residual(), lambda model, number: 3)
    with pytest.raises(OptionError, match="a function of a model"):
        shrink_and_expand(residual(), None)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="cannot be reached"):
        shrink_and_expand(residual(), nothing, macs=1000)
    with pytest.raises(PlanError, match="cuts the network in two"):
        shrink_and_expand(residual(), nothing, threshold=1e9)
