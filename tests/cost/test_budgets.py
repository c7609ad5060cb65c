"""One meaning of a budget: what a share is of, what is reachable, what is refused and with which words."""

from __future__ import annotations

import random

import pytest

from kerasurgeon.costs import Allowance, LeftOut, check_unreachable, require_counted
from kerasurgeon.errors import BudgetError, OptionError, PassError


def test_up_to_one_a_share_above_a_number() -> None:
    assert Allowance("It", "macs", 0.25, 400.0).amount == 100
    assert Allowance("It", "macs", 1, 400.0).amount == 400
    assert Allowance("It", "macs", 250, 400.0).amount == 250
    assert Allowance("It", "macs", 2.5, 400.0, multiples=100).amount == 1000
    assert Allowance("It", "macs", 101, 400.0, multiples=100).amount == 101


def test_what_is_reachable_is_aimed_at() -> None:
    allowance = Allowance("It", "macs", 0.25, 400.0)
    assert allowance.reachable(100.0) == 100
    assert allowance.reachable(40.0) == 100
    assert allowance.missed(100.0) == ""
    assert allowance.said(99.0) == "MACs 400 -> 99 (24.8%), of 100 asked for"


def test_what_is_unreachable_is_refused_with_the_nearest() -> None:
    with pytest.raises(BudgetError) as caught:
        Allowance("It", "params", 0.2, 3000.0).reachable(1234.0, "because")
    assert str(caught.value) == (
        "It: params=0.2 cannot be reached: the nearest is 1,234 parameters, 41.1% of what there is.\n"
        "  expected: params=0.4114 or more\n"
        "  got: params=0.2, which is 600 of 3,000 parameters\n"
        "  what to do: ask for params=0.4114, or take the nearest with unreachable='nearest'; because"
    )
    assert (caught.value.reachable, caught.value.value) == (1234.0, 0.4114)
    assert isinstance(caught.value, PassError)
    assert isinstance(caught.value, OptionError)
    with pytest.raises(BudgetError, match="params=1234 or more"):
        Allowance("It", "params", 600, 3000.0).reachable(1234.0)
    with pytest.raises(BudgetError, match=r"latency=2\.346 or more"):
        Allowance("It", "latency", 1.5, 5.0).reachable(2.3456)
    with pytest.raises(BudgetError, match=r"ratio=0\.58 or less"):
        Allowance("It", "ratio", 0.1, 100.0, unit="channels", removed=True).reachable(42.0)


def test_the_nearest_is_taken_where_it_will_do() -> None:
    allowance = Allowance("It", "macs", 0.25, 400.0, "nearest")
    assert allowance.reachable(150.0) == 150
    assert allowance.missed(150.0) == (
        "macs=0.25 cannot be reached: 150 MACs are kept, 50 more than the 100 asked for (37.5% instead of 25.0%)"
    )
    assert allowance.said(150.0) == allowance.missed(150.0)


def test_asking_for_what_is_named_is_enough() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        total = rng.choice([rng.uniform(2, 50), rng.uniform(100, 1e12)])
        least = total * rng.random()
        value = least / total * rng.random() * 0.99
        if rng.random() < 0.5 and value * total > 1:
            value *= total
        with pytest.raises(BudgetError) as caught:
            Allowance("It", "bytes", value, total).reachable(least)
        again = Allowance("It", "bytes", caught.value.value or 0.0, total)
        assert again.reachable(least) == again.amount
        assert again.amount <= max(least * 1.001, least + 1)


def left(share: float | None, names: int = 2, open_sizes: int = 0) -> LeftOut:
    return LeftOut(tuple(f"odd_{index}" for index in range(names)), open_sizes, 5, 7, share, 0.1)


def test_up_to_five_percent_may_be_unknown() -> None:
    for share in (0.0, 0.03, 0.05):
        assert require_counted("It", left(share)).share == share
    assert not require_counted("It", LeftOut())
    with pytest.raises(BudgetError) as caught:
        require_counted("It", left(0.0501))
    text = str(caught.value)
    assert "It: MACs cannot be budgeted: they are unknown for 2 calls." in text
    assert "odd_0, odd_1" in text
    assert "at most 5%" in text
    assert "5.01 % of all MACs" in text
    assert "register_rule" in text
    assert "sizes=" not in text


def test_open_sizes_are_not_five_percent_of_anything() -> None:
    with pytest.raises(BudgetError, match=r"unknown for 1 call\.[\s\S]*sizes are open[\s\S]*pass sizes=") as caught:
        require_counted("It", left(None, 1, 1))
    assert "register_rule" not in str(caught.value)
    with pytest.raises(BudgetError, match=r"sizes of 1 of them are open[\s\S]*pass sizes=[\s\S]*register_rule"):
        require_counted("It", left(None, 3, 1))


def test_what_unreachable_may_be() -> None:
    for value in ("refuse", "nearest"):
        check_unreachable("It", value)
    for wrong in ("near", None, True, 3):
        with pytest.raises(OptionError, match="It: option 'unreachable' cannot be used"):
            check_unreachable("It", wrong)
