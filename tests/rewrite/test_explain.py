"""explain: what a pass would do, without doing it."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from kerasurgeon.errors import PassError
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.explain import explain
from kerasurgeon.rewrite.pipeline import Pipeline
from tests.ir.making import picture
from tests.keras_io.facts import difference, state
from tests.rewrite.own_passes import DropRelu, Endless, SayNothing


@pytest.fixture
def model() -> Any:
    x = inputs = keras.Input((4,), name="x")
    x = layers.ReLU(name="first")(x)
    x = layers.ReLU(name="kept")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


def test_it_says_what_the_run_then_does(model: Any) -> None:
    before = state(model)
    told = explain(DropRelu(), model)
    (report,) = Pipeline([DropRelu()]).run(model).report.passes
    assert told.sites == report.sites
    assert told.name == "DropRelu"
    assert difference(before, state(model)) is None


def test_a_graph_is_only_read(model: Any) -> None:
    graph = lift(model)
    before = picture(graph)
    assert [site.node for site in explain(DropRelu(), graph).sites if site.changed] == ["first"]
    assert picture(graph) == before


def test_as_text(model: Any) -> None:
    text = str(explain(DropRelu(), model))
    lines = [line for line in text.splitlines() if "first" in line or "kept" in line]
    assert "changed" in lines[0]
    assert "removed" in lines[0]
    assert "left alone" in lines[1]
    assert "it is to be kept" in lines[1]
    assert str(explain(SayNothing(), model)) == "SayNothing: no site to look at"


def test_a_pass_that_fails_says_so(model: Any) -> None:
    with pytest.raises(PassError, match="does not come to an end"):
        explain(Endless(), model)
