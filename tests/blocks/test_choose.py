"""choose_regions: compared with trying every set of regions on small trees."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from kerasurgeon.blocks.choose import choose_regions
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.errors import OptionError


def row(name: str, nodes: range, quotient: float, macs: int, **more: Any) -> Quotient:
    filled = {"method": "drop", "parent": None, "depth": 0, "value": 1 - quotient, "parameters_saved": macs // 2} | more
    return Quotient(
        region=name,
        kind="chain",
        entry=f"{name}_in",
        exit=f"{name}_out",
        nodes=tuple(f"n{index}" for index in nodes),
        quotient=quotient,
        macs_saved=macs,
        **filled,
    )


def quotients(*rows: Quotient, macs: int = 1000) -> Quotients:
    return Quotients("net", 1.0, macs, macs // 2, latency=10.0, rows=rows)


def random_tree(rng: np.random.Generator) -> list[Quotient]:
    """Regions over 12 nodes, nested or apart, some with two methods."""
    rows: list[Quotient] = []

    def grow(start: int, end: int, depth: int) -> None:
        place = start
        while place < end and len(rows) < 13:
            stop = int(rng.integers(place + 1, end + 1))
            if (place, stop) != (start, end) or depth == 0:
                name = f"r{len(rows)}"
                loss = float(np.round(rng.normal(0.15, 0.15), 3))
                rows.append(row(name, range(place, stop), loss, int(rng.integers(-20, 90)) * (stop - place)))
                if rng.random() < 0.3:
                    rows.append(row(name, range(place, stop), loss + 0.1, rows[-1].macs_saved + 30, method="affine"))
                if stop - place > 1 and rng.random() < 0.7:
                    grow(place, stop, depth + 1)
            place = stop + int(rng.integers(0, 2))

    grow(0, 12, 0)
    return rows


def by_trying(rows: list[Quotient], need: float) -> tuple[float, int] | None:
    """The least loss, and of the sets that have it the fewest regions."""
    best: tuple[float, int] | None = None
    for mask in product((False, True), repeat=len(rows)):
        taken = [item for item, chosen in zip(rows, mask, strict=True) if chosen]
        nodes = [node for item in taken for node in item.nodes]
        if len(set(nodes)) != len(nodes) or sum(item.macs_saved for item in taken) < need:
            continue
        outcome = (round(sum(max(item.quotient, 0.0) for item in taken), 9), len(taken))
        best = outcome if best is None else min(best, outcome)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_better_than_what_is_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_tree(rng)
    found = quotients(*rows, macs=2000)
    for kept in (0.99, 0.9, 0.8, 0.6, 0.4, 0.1):
        expected = by_trying(rows, round(2000 * (1 - kept)))
        if expected is None:
            with pytest.raises(OptionError, match="cannot be reached"):
                choose_regions(found, macs=kept)
            continue
        chosen = choose_regions(found, macs=kept)
        assert chosen.loss == pytest.approx(expected[0], abs=1e-9)
        assert len(chosen) == expected[1]
        nodes = [node for item in chosen.rows for node in item.nodes]
        assert len(set(nodes)) == len(nodes)
        assert chosen.kept == pytest.approx(1 - sum(item.macs_saved for item in chosen.rows) / 2000)
        assert chosen.kept <= kept + 1e-9


def test_what_is_inside_a_chosen_region_is_not_chosen_again() -> None:
    found = quotients(
        row("block", range(4), 0.2, 400),
        row("first", range(2), 0.15, 200, parent="block", depth=1),
        row("second", range(2, 4), 0.15, 200, parent="block", depth=1),
    )
    assert choose_regions(found, macs=0.8) == ("first",)
    assert choose_regions(found, macs=0.6) == ("block",)


def test_budgets_are_shares_or_numbers_of_each_cost() -> None:
    found = quotients(
        row("a", range(2), 0.3, 500, parameters_saved=10, latency_saved=1.0),
        row("b", range(2, 4), 0.3, 100, parameters_saved=300, latency_saved=6.0),
    )
    assert choose_regions(found, macs=0.5) == ("a",)
    assert choose_regions(found, macs=500) == ("a",)
    assert choose_regions(found, params=0.5) == ("b",)
    assert choose_regions(found, latency=4.0) == ("b",)
    assert choose_regions(found, macs=1.0) == ()
    assert choose_regions(found, macs=5000) == ()
    assert found.choose(macs=0.4) == ("a", "b")
    assert choose_regions(found, latency=0.3).kept == pytest.approx(0.3)


def test_regions_that_follow_one_another_are_joined_on_request() -> None:
    found = quotients(
        row("a", range(2), 0.0, 200, run=(0, 0)),
        row("b", range(2, 4), 0.0, 200, run=(0, 1)),
        row("c", range(4, 6), 0.9, 200, run=(0, 2)),
        row("d", range(6, 8), 0.0, 200, run=(0, 3)),
    )
    chosen = choose_regions(found, macs=0.4, join=True)
    assert tuple(chosen) == ("a_in->b_out", "d")
    assert [item.region for item in chosen.rows] == ["a", "b", "d"]
    assert chosen.to_dict()["methods"] == {"a": "drop", "b": "drop", "d": "drop"}
    assert "3 regions: 40.0% of the MACs kept" in chosen.summary()


def test_many_regions_take_no_time() -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(f"r{index}", range(3 * index, 3 * index + 3), float(rng.random()), int(rng.integers(1, 10_000)))
        for index in range(120)
    ]
    total = sum(item.macs_saved for item in rows)
    chosen = choose_regions(quotients(*rows, macs=total), macs=0.5)
    # No worse than taking the best ratios first.
    saved, greedy = 0, 0.0
    for item in sorted(rows, key=lambda item: item.quotient / item.macs_saved):
        if saved < total / 2:
            saved, greedy = saved + item.macs_saved, greedy + item.quotient
    assert chosen.kept <= 0.5
    assert chosen.loss <= greedy


def test_mistakes_have_one_clear_error_each() -> None:
    found = quotients(row("a", range(2), 0.1, 300))
    with pytest.raises(OptionError, match="needs one budget"):
        choose_regions(found)
    with pytest.raises(OptionError, match="needs one budget"):
        choose_regions(found, macs=0.5, params=0.5)
    with pytest.raises(OptionError, match=r"a fraction in \(0, 1\], or a number above 1"):
        choose_regions(found, macs=-1)
    with pytest.raises(OptionError, match=r"(?s)nearest is 700 MACs.*macs=0\.7 or more.*got: macs=0\.5"):
        choose_regions(found, macs=0.5)
    with pytest.raises(OptionError, match="was not measured"):
        choose_regions(Quotients("net", 1.0, 100, 100, rows=found.rows), latency=0.5)
    crossing = quotients(row("a", range(3), 0.1, 300), row("b", range(2, 5), 0.1, 300))
    with pytest.raises(OptionError, match="'a' and 'b' overlap"):
        choose_regions(crossing, macs=0.9)
