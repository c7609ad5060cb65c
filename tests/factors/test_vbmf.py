"""Ranks out of noise: planted ones are found, and the noise variance is a minimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerasurgeon.factors.kernels.vbmf import free_energy, noise_rank, noise_variance

Array = np.ndarray[Any, Any]


def planted(rows: int, columns: int, rank: int, noise: float, seed: int = 0) -> Array:
    """Squared singular values of a matrix of some rank, with unit entries on the average, in noise; a stack of one."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns)) / rank**0.5
    matrix = signal + noise * rng.standard_normal((rows, columns))
    return np.asarray(np.linalg.svd(matrix, compute_uv=False)[None] ** 2)


@pytest.mark.parametrize(("rows", "columns"), [(60, 60), (48, 400), (400, 48), (96, 500)])
@pytest.mark.parametrize("rank", [1, 4, 8])
@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_planted_ranks_are_found(rows: int, columns: int, rank: int, noise: float) -> None:
    squared = planted(rows, columns, rank, noise)
    assert noise_rank(squared, rows, columns) == rank
    assert noise_variance(squared, rows, columns) == pytest.approx(noise**2, rel=0.15)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_rank_does_not_depend_on_the_scale(scale: float) -> None:
    assert noise_rank(scale**2 * planted(60, 90, 7, 0.3), 60, 90) == 7


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "noise"), [(60, 60, 5, 0.3), (48, 400, 16, 0.5), (30, 200, 3, 0.1)]
)
def test_the_free_energy_is_lowest_at_the_noise_variance(rows: int, columns: int, rank: int, noise: float) -> None:
    squared = planted(rows, columns, rank, noise)
    energy, found = free_energy(squared, rows, columns), noise_variance(squared, rows, columns)
    least = energy(found)
    for factor in (0.5, 0.8, 0.95, 0.99, 1.01, 1.05, 1.2, 2.0):
        assert energy(factor * found) > least
    top = float(squared.sum()) / (rows * columns)
    # Nowhere over ten decades is it lower.
    assert all(energy(variance) >= least - 1e-9 for variance in np.geomspace(1e-9 * top, 10 * top, 500))


def test_noise_alone_has_no_rank() -> None:
    assert noise_rank(planted(80, 300, 1, 1e4), 80, 300) == 1


def test_zeros_and_single_values() -> None:
    assert noise_rank(np.zeros((1, 5)), 5, 9) == 1
    assert noise_variance(np.zeros((1, 5)), 5, 9) == 0.0
    assert noise_rank(np.ones((1, 1)), 1, 9) == 1
    assert noise_rank(np.ones((2, 1)), 1, 1) == 1


def test_a_matrix_without_noise() -> None:
    assert noise_rank(planted(40, 50, 6, 0.0), 40, 50) == 6


def test_several_matrices_have_one_noise_and_one_rank() -> None:
    stack = np.concatenate([planted(48, 400, rank, 0.3, seed) for seed, rank in enumerate((4, 8, 6))])
    assert noise_rank(stack, 48, 400) == 6
    assert noise_variance(stack, 48, 400) == pytest.approx(0.09, rel=0.05)


def test_more_values_than_the_shorter_side_and_any_order() -> None:
    squared = planted(20, 90, 3, 0.2)
    longer = np.concatenate([np.zeros((1, 70)), squared[:, ::-1]], axis=1)
    assert noise_rank(longer, 90, 20) == 3
