"""Shares of groups, rounded: each is as near as its widths allow, and together they are what was asked for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import Chooser, Limits, analyse, candidates, groups, sections
from kerasurgeon.channels.importance import Evidence
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.context import Context
from tests.channels.test_selection import net, rising

layers = keras.layers


def chooser(model: keras.Model, scope: Any = "local", **limits: Any) -> Chooser:
    channels = analyse(model)
    options: Any = {"round_to": "auto", **limits}
    found = candidates(groups(channels), Limits(**options), rising, Evidence(channels))
    return Chooser(channels, found, sections(channels, found, scope))


def kept(made: Chooser, counts: Any) -> dict[str, int]:
    return {
        one.group.name: (one.size - int(count)) * one.group.granularity
        for one, count in zip(made.candidates, counts, strict=True)
        if not one.why
    }


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((48, 24, 24), (36, 16, 16)),  # 14.4, 7.2, 7.2: 16, 8, 8 are 32 for 28.8; of 48, 4 are the least share
        ((32, 32), (20, 24)),  # 9.6 twice: 12 and 8 are 20 for 19.2
        ((12, 12, 12, 12), (9, 9, 8, 8)),  # 3.6: four of each are 16 for 14.4
        ((2, 3), (1, 2)),
    ],
)
def test_shares_are_rounded_to_the_nearest_so_that_the_sum_is_right(
    widths: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    made = chooser(net(widths))
    assert tuple(kept(made, made.to_ratio(0.3).counts).values()) == expected


@pytest.mark.parametrize("scope", ["local", "global", "isomorphic"])
@pytest.mark.parametrize("seed", range(12))
def test_a_share_is_met_within_one_per_cent_and_in_no_group_far_off(seed: int, scope: str) -> None:
    rng = np.random.default_rng(seed)
    widths = tuple(rng.integers(2, 90, rng.integers(2, 7)).tolist())
    ratio = float(rng.uniform(0.05, 0.6))
    made = chooser(net(widths), scope)
    found = kept(made, made.to_ratio(ratio).counts)
    target = (1 - ratio) * sum(widths)
    assert abs(sum(found.values()) - target) <= 0.01 * target + 1
    for width, left in zip(widths, found.values(), strict=True) if scope == "local" else ():
        pays = 8 if width >= 64 else 4 if width >= 16 else 1
        assert abs(left - (1 - ratio) * width) < pays


def test_channels_that_go_many_at_a_time_do_not_keep_the_others() -> None:
    """A decoder: 49 channels of the dense layer go with each of its maps, which cost next to nothing."""
    code = keras.Input((4,))
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, activation="relu", name="dense")(code))
    for name, filters in (("wide", 64), ("narrow", 32)):
        x = layers.Conv2DTranspose(filters, 3, 2, "same", activation="relu", name=name)(x)
    model = keras.Model(code, layers.Conv2D(1, 3, padding="same")(x))
    made = chooser(model)
    found = kept(made, made.to_ratio(0.3).counts)
    assert found == {"dense": 49 * 44, "wide": 48, "narrow": 24}
    assert abs(sum(found.values()) - 0.7 * (49 * 64 + 64 + 32)) <= 0.007 * (49 * 64 + 64 + 32) + 49 / 2


def test_of_two_heads_one_goes_where_that_is_nearer_than_none() -> None:
    inputs = keras.Input((6, 16))
    x = layers.MultiHeadAttention(2, 8, name="attention")(inputs, inputs)
    x = layers.Dense(16)(layers.Dense(32, activation="gelu", name="inner")(x))
    model = keras.Model(inputs, x)
    for ratio, heads in ((0.3, 1), (0.2, 2)):
        small = ks.lift(model)
        PruneChannels(ratio=ratio, compensate="none", scope="local").run(small, Context())
        assert small.layers["attention"].config["num_heads"] == heads
        kernel = small.layers["attention"].weights["query/kernel"].array
        assert kernel.shape[1] == heads
        assert abs(kernel.shape[2] - (1 - ratio) * 8) < 1


def test_what_is_held_back_in_one_group_others_make_up_for() -> None:
    made = chooser(net((8, 20)), round_to=1, min_channels=6)
    assert kept(made, made.to_ratio(0.5).counts) == {"conv0": 6, "conv1": 8}


def test_sections_with_shares_of_their_own_are_rounded_by_themselves() -> None:
    made = chooser(net((48, 24, 12)), {"conv[01]": 0.3, "conv2": 0.5})
    found = kept(made, made.by_ratio().counts)
    assert found["conv2"] == 6
    assert abs(found["conv0"] + found["conv1"] - 0.7 * 72) <= 4


def test_the_same_every_time() -> None:
    one, other = (chooser(net((24, 24, 24, 40))).to_ratio(0.3).counts for _ in range(2))
    np.testing.assert_array_equal(one, other)
