"""What is kept aside of labelled data, and what a loss there says of new data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerasurgeon.rewrite.held_out import FEWEST, kept_aside, loss_bound


def test_samples_are_in_one_part_each() -> None:
    inputs = {"a": np.arange(400), "b": np.arange(400)[:, None] * 2}
    rest, aside = kept_aside((inputs, list(range(400))), 0.25)
    for part, count in ((rest, 300), (aside, 100)):
        assert len(part[1]) == count
        np.testing.assert_array_equal(part[0]["a"], part[1])
        np.testing.assert_array_equal(part[0]["b"][:, 0], 2 * part[1])
    assert sorted([*rest[1], *aside[1]]) == list(range(400))
    assert not np.array_equal(aside[1], np.arange(100))
    np.testing.assert_array_equal(aside[1], kept_aside((inputs, np.arange(400)), 0.25)[1][1])


def test_batches_are_in_one_part_each() -> None:
    batches = [(np.full(32, place), np.full(32, place)) for place in range(12)]
    rest, aside = kept_aside(batches, 0.25)
    assert [int(batch[1][0]) for batch in aside] == [3, 7, 11]
    assert [int(batch[1][0]) for batch in rest] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert len(list(rest)) == 9  # again


@pytest.mark.parametrize(
    "data",
    [
        (np.zeros((4 * FEWEST - 4, 2)), np.zeros(4 * FEWEST - 4)),
        (np.zeros((400, 2)), np.zeros(300)),
        [(np.zeros((8, 2)), np.zeros(8))] * 4,
        np.zeros((400, 2)),
        [np.zeros((400, 2))] * 8,
        iter([(np.zeros((400, 2)), np.zeros(400))] * 8),
    ],
    ids=["few", "not as many", "few batches", "no labels", "batches without", "once"],
)
def test_none_is_kept_where_it_cannot_be(data: Any) -> None:
    assert kept_aside(data, 0.25) == (data, None)
    assert kept_aside((np.zeros((400, 2)), np.zeros(400)), 0)[1] is None


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    assert loss_bound(np.array([1.0, 0, 0, -1, 0, 1]), 0.5) == pytest.approx(1 / 6)
    for worse, better in ((0.03, 0.01), (0.2, 0.05), (0.002, 0.0)):
        held = [
            loss_bound(rng.choice([1.0, 0.0, -1.0], 250, p=[worse, 1 - worse - better, better]), 0.95) >= worse - better
            for _ in range(2000)
        ]
        assert np.mean(held) > 0.93
