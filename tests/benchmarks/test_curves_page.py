"""What the page of pruning curves says of two sides, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from curves_page import difference


def _cell(test: float, samples: int) -> dict[str, Any]:
    return {"tuned": {"test": test, "samples": samples}}


def test_one_seed_has_the_error_of_its_samples() -> None:
    """0.9 and 0.8 of 1,000: variances of 0.09 and 0.16 thousandths, together a deviation of 1.58 points."""
    found = difference({"0": _cell(0.9, 1000)}, {"0": _cell(0.8, 1000)})
    assert found == pytest.approx((10.0, 1.5811, 1), rel=1e-3)


def test_several_seeds_have_what_they_differ_by_where_that_is_more() -> None:
    """Differences of 0, 3 and 6 points: a standard deviation of 3, over the root of three."""
    ours = {str(seed): _cell(value, 10**6) for seed, value in enumerate((0.90, 0.93, 0.96))}
    theirs = {str(seed): _cell(0.90, 10**6) for seed in range(3)}
    assert difference(ours, theirs) == pytest.approx((3.0, 3 / 3**0.5, 3))


def test_only_seeds_that_both_have_count() -> None:
    found = difference({"0": _cell(0.9, 100), "1": {"tuned": None}}, {"0": _cell(0.9, 100), "1": _cell(0.5, 100)})
    assert found is not None
    assert found[0] == pytest.approx(0.0)
    assert found[2] == 1
    assert difference({"1": {"tuned": None}}, {"1": _cell(0.5, 100)}) is None
