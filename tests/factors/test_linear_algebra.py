"""Spectra, terms and tails, against numpy's singular value decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasurgeon.factors.kernels.linear_algebra import (
    oriented,
    rank_for_energy,
    ranked_terms,
    spectrum,
    squared_norm,
    tails,
    working_copy,
)
from kerasurgeon.factors.kernels.modes import lost_outside

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("size", [(7, 12), (12, 7), (6, 6), (1, 5)])
def test_terms_are_singular_value_decompositions(size: tuple[int, int]) -> None:
    matrices = np.random.default_rng(0).standard_normal((3, *size))
    terms = ranked_terms(matrices)
    u, values, v = np.linalg.svd(matrices, full_matrices=False)
    np.testing.assert_allclose(terms.energies, values**2, rtol=1e-9)
    for rank in range(1, min(size) + 1):
        best = (u[..., :rank] * values[:, None, :rank]) @ v[:, :rank]
        np.testing.assert_allclose(terms.left[..., :rank] @ terms.right[:, :rank], best, atol=1e-9)


def test_spectra_come_largest_first_and_never_below_zero() -> None:
    matrix = np.random.default_rng(0).standard_normal((2, 9, 3))
    found = spectrum(matrix @ matrix.swapaxes(-1, -2))
    assert (found.values >= 0).all()
    np.testing.assert_allclose(found.values[:, :3], np.linalg.svd(matrix, compute_uv=False) ** 2, rtol=1e-9)
    np.testing.assert_allclose(found.vectors.swapaxes(-1, -2) @ found.vectors, np.tile(np.eye(9), (2, 1, 1)), atol=1e-9)


def test_oriented_columns_have_a_positive_largest_entry() -> None:
    columns = np.random.default_rng(0).standard_normal((2, 5, 4))
    found = oriented(columns)
    np.testing.assert_array_equal(found, oriented(-columns))
    np.testing.assert_array_equal(np.abs(found), np.abs(columns))
    assert (found.max(axis=-2) >= -found.min(axis=-2)).all()


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=20), st.floats(0.01, 1.0))
@settings(deadline=None, derandomize=True)
def test_the_rank_for_an_energy_is_the_smallest_that_keeps_it(values: list[float], energy: float) -> None:
    energies = np.sort(np.asarray(values))[::-1]
    rank = rank_for_energy(energies, energy)
    total = energies.sum()
    assert 1 <= rank <= len(values)
    assert energies[rank:].sum() <= (1 - energy) * total * (1 + 1e-12) + 1e-300
    if rank > 1:
        assert energies[rank - 1 :].sum() > (1 - energy) * total * (1 - 1e-12)


def test_tails_keep_what_is_far_below_the_sum() -> None:
    np.testing.assert_array_equal(tails(np.array([1e9, 1.0, 1e-9])), [1e9 + 1.0, 1.0 + 1e-9, 1e-9, 0.0])


def test_lost_outside_by_its_definition() -> None:
    table = np.random.default_rng(0).uniform(size=(5, 7)) * np.logspace(0, -16, 7)
    found = lost_outside(table)
    for rows in range(6):
        for columns in range(8):
            mask = np.ones((5, 7), bool)
            mask[:rows, :columns] = False
            assert found[rows, columns] == pytest.approx(table[mask].sum(), rel=1e-9)


def test_precision() -> None:
    assert working_copy(np.ones((1, 3, 128, 8), "float32")).dtype == np.float64
    assert working_copy(np.ones((1, 3, 129, 8), "float32")).dtype == np.float32
    assert working_copy(np.ones((1, 3, 129, 8))).dtype == np.float64
    assert squared_norm(np.full(2**20, 1e-3, "float32")) == pytest.approx(2**20 * 1e-6, rel=1e-7)
