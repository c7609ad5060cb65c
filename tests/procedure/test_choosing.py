"""Where shunts go for a budget, against every set of places tried out."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError
from kerasurgeon.passes import ReplaceWithShunt
from kerasurgeon.workflows.procedure.choosing import regions_for_shunts
from tests.procedure.tiny import small_shunt

BLOCKS = 4
LOSSES = (0.02, 0.2, 0.01, 0.05)


def wide_shunt(entry: Any, exit: Any) -> keras.Model:
    """One that costs more than a block, and less than two."""
    x = keras.Input(batch_shape=entry.shape)
    return keras.Model(x, keras.layers.Conv2D(exit.shape[-1], 4, padding="same")(x))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    for number in range(BLOCKS):
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        x = layers.Add(name=f"add{number}")([x, y])
    return keras.Model(inputs, layers.Dense(3, name="scores")(layers.Flatten()(x)), name="net")


@pytest.fixture(scope="module")
def quotients(model: keras.Model) -> ks.Quotients:
    """As if each block lost what ``LOSSES`` says."""

    def value(changed: keras.Model) -> float:
        there = {layer.name for layer in changed.layers}
        return 1.0 - sum(loss for number, loss in enumerate(LOSSES) if f"conv{number}" not in there)

    return ks.knowledge_quotients(model, evaluate=value, which=tuple(f"conv{i}..add{i}" for i in range(BLOCKS)))


def all_choices() -> list[list[tuple[int, int]]]:
    """Every set of runs of blocks that do not overlap, neighbouring runs apart too."""
    found = []
    for ends in itertools.product((0, 1, 2), repeat=BLOCKS):  # not replaced; begins a run; goes on with the one before
        runs: list[list[int]] = []
        for block, kind in enumerate(ends):
            if kind == 1:
                runs.append([block, block])
            elif kind == 2:
                if not runs or runs[-1][1] != block - 1:
                    break
                runs[-1][1] = block
        else:
            found.append([(first, last) for first, last in runs])
    return found


@pytest.mark.spread(3)
@pytest.mark.parametrize("arch", [small_shunt, wide_shunt])
@pytest.mark.parametrize("macs", [0.9, 0.7, 0.5])
def test_the_least_loss_that_meets_the_budget(
    model: keras.Model, quotients: ks.Quotients, arch: Any, macs: float
) -> None:
    assert [round(row.quotient, 6) for row in quotients.rows] == list(LOSSES)
    total = ks.cost(model).macs
    best = float("inf")
    for runs in all_choices():
        kept = total
        for first, last in runs:
            kept -= (last - first + 1) * 6 * 6 * 9 * 16 - 6 * 6 * 16 * (1 if arch is small_shunt else 16)
        if runs and kept <= macs * total:
            best = min(best, sum(LOSSES[block] for first, last in runs for block in range(first, last + 1)))
    if best == float("inf"):
        with pytest.raises(BudgetError, match="cannot be reached"):
            regions_for_shunts(ks.lift(model), quotients, {"macs": macs}, arch)
        return
    places, said = regions_for_shunts(ks.lift(model), quotients, {"macs": macs}, arch)
    small = ks.apply_passes(model, [ReplaceWithShunt(places, arch)])
    gone = [number for number in range(BLOCKS) if f"conv{number}" not in {layer.name for layer in small.layers}]
    assert np.isclose(sum(LOSSES[number] for number in gone), best)
    kept = ks.cost(small).macs
    assert kept <= macs * total
    assert f"{kept / total:.1%} of the MACs kept, shunts included" in said


def test_out_of_reach_and_nothing_to_do(model: keras.Model, quotients: ks.Quotients) -> None:
    graph = ks.lift(model)
    with pytest.raises(BudgetError, match="the nearest is") as raised:
        regions_for_shunts(graph, quotients, {"macs": 0.01}, small_shunt)
    nearest = raised.value.reachable
    places, said = regions_for_shunts(graph, quotients, {"macs": 0.01, "unreachable": "nearest"}, small_shunt)
    assert ks.cost(ks.apply_passes(model, [ReplaceWithShunt(places, small_shunt)])).macs == nearest
    assert "cannot be reached" in said
    with pytest.raises(OptionError, match="No region gives way"):
        regions_for_shunts(graph, quotients, {"macs": 1.0}, small_shunt)


def test_open_sizes_are_those_that_the_network_is_costed_for() -> None:
    layers = keras.layers

    def made(size: int | None) -> tuple[keras.Model, Any]:
        x = inputs = keras.Input((size, size, 2))
        x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
        for number in range(2):
            x = layers.Add(name=f"add{number}")([x, layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)])
        net = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
        which, sizes = ("conv0..add0", "conv1..add1"), None if size else (6, 6, 2)
        found = ks.knowledge_quotients(net, evaluate=lambda changed: 1.0, which=which, sizes=sizes)
        return net, regions_for_shunts(ks.lift(net), found, {"macs": 0.7}, small_shunt, sizes=sizes)

    (_, fixed), (free, chosen) = made(6), made(None)
    assert chosen == fixed
    small = ks.apply_passes(free, [ReplaceWithShunt(chosen[0], small_shunt)])
    before, after = (ks.cost(each, sizes=(6, 6, 2)).macs for each in (free, small))
    assert after <= 0.7 * before
    assert f"{after / before:.1%} of the MACs kept" in chosen[1]
