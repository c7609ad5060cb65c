"""Structures of zeros against plain loops over the definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasurgeon.errors import OptionError
from kerasurgeon.sparsity.structures import STRUCTURES, Structure, kept_masks

Array = np.ndarray[Any, Any]


def groups_by_hand(name: str, shape: tuple[int, ...], block: tuple[int, int]) -> list[list[tuple[int, ...]]]:
    """The entries of every group, by the words of the definition."""
    found: dict[Any, list[tuple[int, ...]]] = {}
    for index in itertools.product(*map(range, shape)):
        *positions, c, n = index
        key = {
            "unstructured": index,
            "channel": (*positions, n),
            "filter": (*positions, c),
            "block": (*positions, c // block[0], n // block[1]),
            "output_channel": n,
            "input_channel": c,
        }[name]
        found.setdefault(key, []).append(index)
    return list(found.values())


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("shape", [(3, 2, 4, 6), (8, 4)])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_the_groups_with_the_lowest_means_go(name: str, shape: tuple[int, ...], sparsity: float) -> None:
    block = (2, 2)
    importance = np.random.default_rng(1).random(shape)
    structure = Structure.parse(name, block if name == "block" else None)
    assert structure.refusal(shape) == ""
    mask = kept_masks([importance], structure, sparsity, together=False)[0]
    groups = groups_by_hand(name, shape, block)
    means = [float(np.mean([importance[index] for index in group])) for group in groups]
    count = round(sparsity * len(groups))
    if "_" in name:
        count = min(count, len(groups) - 1)
    gone = {index for place in np.argsort(means)[:count] for index in groups[place]}
    for index in itertools.product(*map(range, shape)):
        assert bool(mask[index]) == (index not in gone)


@given(seed=st.integers(0, 100), n=st.integers(1, 3), taps=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_n_of_m_along_the_input_axis(seed: int, n: int, taps: int) -> None:
    importance = np.random.default_rng(seed).random((taps, 8, 3))
    mask = kept_masks([importance], Structure.parse(f"{n}:4"), 0.0, together=False)[0]
    for tap, start, out in itertools.product(range(taps), (0, 4), range(3)):
        row = importance[tap, start : start + 4, out]
        assert set(np.flatnonzero(mask[tap, start : start + 4, out])) == set(np.argsort(row)[4 - n :])


def test_equal_importances_keep_n_of_m() -> None:
    mask = kept_masks([np.zeros((8, 5))], Structure.parse("2:4"), 0.0, together=False)[0]
    assert (mask.reshape(2, 4, 5).sum(axis=1) == 2).all()


@pytest.mark.parametrize("name", ["unstructured", "output_channel", "filter"])
def test_one_ranking_of_all_kernels(name: str) -> None:
    rng = np.random.default_rng(2)
    several = [rng.random((3, 3, 4, 6)), 0.3 * rng.random((1, 1, 6, 10)), 0.5 + rng.random((5, 2))]
    masks = kept_masks(several, Structure.parse(name), 0.4, together=True)
    total = sum(array.size for array in several)
    zeros = sum(int((~mask).sum()) for mask in masks)
    assert abs(zeros - 0.4 * total) <= max(array.size // 2 for array in several)
    kept: list[float] = []
    gone: list[float] = []
    for array, mask in zip(several, masks, strict=True):
        for group in groups_by_hand(name, array.shape, (1, 1)):
            inside = {bool(mask[index]) for index in group}
            assert len(inside) == 1
            (kept if inside.pop() else gone).append(float(np.mean([array[index] for index in group])))
    if "_" not in name:
        assert max(gone) <= min(kept)
    else:
        assert all(mask.any() for mask in masks)
    assert (~masks[1]).mean() > (~masks[0]).mean() > (~masks[2]).mean() - 1e-9


def test_what_cannot_be_divided_is_refused() -> None:
    assert "do not divide" in Structure.parse("block", (4, 4)).refusal((3, 3, 6, 8))
    assert "no multiple of 4" in Structure.parse("2:4").refusal((3, 3, 6, 8))
    assert "one output channel" in Structure.parse("output_channel").refusal((8, 1))


@pytest.mark.parametrize(
    ("name", "block"),
    [("blocks", None), ("4:2", None), ("0:4", None), ("block", None), ("block", (0, 2)), ("filter", (2, 2)), (3, None)],
)
def test_bad_structures(name: Any, block: Any) -> None:
    with pytest.raises(OptionError):
        Structure.parse(name, block)
