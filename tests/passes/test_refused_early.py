"""What cannot be had is refused before inputs are generated, and before data is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, KerasurgeonError, PassError
from kerasurgeon.factors import run
from kerasurgeon.generating import standing_in
from kerasurgeon.passes import Factorise, PruneChannels
from tests.generating.test_generate_inputs import network, pictures


class LookedAtError(Exception):
    pass


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Iterator[Any]]:
    """Data, and inputs to be generated, of which nothing may be seen."""

    def never(*args: Any, **options: Any) -> Any:
        raise LookedAtError

    def data() -> Iterator[Any]:
        never()
        yield

    monkeypatch.setattr(standing_in, "made_inputs", never)
    monkeypatch.setattr(run, "measure_inputs", never)
    return data


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"macs": 0.001}, "macs=0.001 cannot be reached"),
        ({"params": 20}, "params=20 cannot be reached"),
        ({"ratio": 0.99}, "ratio=0.99 cannot be reached"),
        ({"ratio": {"one": 0.99}, "round_to": 4}, "cannot be reached"),
        ({"macs": 0.5, "ignore": "nothing_*"}, "nothing_"),
        ({"ratio": {"nothing_*": 0.5}}, "nothing_"),
        ({"ratio": 0.5, "scope": ("nothing_*",)}, "nothing_"),
        ({"threshold": {"nothing_*": 0.5}}, "nothing_"),
        ({"macs": 0.5, "input_range": {"nothing": (0, 1)}}, "nothing"),
    ],
)
def test_of_pruning(untouched: Callable[[], Iterator[Any]], options: dict[str, Any], said: str) -> None:
    model = network(pictures(16, 0))
    for data in (None, untouched()):
        if data is not None and "input_range" in options:
            continue
        with pytest.raises(KerasurgeonError, match=said):
            ks.apply_passes(model, [PruneChannels(**options)], data=data)


def test_what_can_be_had_is_begun(untouched: Callable[[], Iterator[Any]]) -> None:
    model = network(pictures(16, 0))
    with pytest.raises(PassError, match="LookedAtError"):
        ks.apply_passes(model, [PruneChannels(macs=0.5)])


@pytest.mark.parametrize("options", [{"macs": 0.01}, {"compression_factor": 0.001}, {"params": 10}])
@pytest.mark.parametrize("also", [{}, {"sparsity": 0.05}])
def test_of_factorising(untouched: Callable[[], Iterator[Any]], options: dict[str, Any], also: dict[str, Any]) -> None:
    """The oracle is the refusal by the errors of kernels, for which all of them are decomposed first."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 8))
    x = keras.layers.Conv2D(24, 3, activation="relu", name="one")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(16, 1, name="two")(x))
    with pytest.raises(BudgetError) as late:
        ks.apply_passes(model, [Factorise(**options, **also)])
    with pytest.raises(BudgetError) as early:
        ks.apply_passes(model, [Factorise(minimise="output", **options, **also)], data=untouched())
    assert early.value.reachable == late.value.reachable
    assert str(early.value) == str(late.value)


def test_the_nearest_of_factorising() -> None:
    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, keras.layers.Conv2D(16, 3, name="one")(inputs))
    images = np.random.default_rng(0).random((16, 8, 8, 8), dtype="float32")
    result = ks.Pipeline([Factorise(macs=0.001, minimise="output", unreachable="nearest")]).run(model, data=images)
    assert "cannot be reached" in " ".join(str(result.report).split())
