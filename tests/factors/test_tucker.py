"""The Tucker decomposition: against tensorly, against its own definition, and at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tensorly.decomposition import partial_tucker

from kerasurgeon.factors import METHODS, Ranks, Shape, Stage, one_blas_thread
from tests.factors.kernels import by_definition, decaying, white

Array = np.ndarray[Any, Any]
TUCKER = METHODS["tucker"]


@pytest.fixture(autouse=True)
def _quick_blas() -> Iterator[None]:
    with one_blas_thread():
        yield


def error(kernel: Array, shape: Shape, ranks: Ranks, sweeps: int = 1) -> float:
    """The relative error, by the definition of the chain."""
    factors = TUCKER.prepare(kernel, shape).factors(ranks, sweeps=sweeps)
    exact = kernel.astype("float64")
    return float(np.linalg.norm(exact - by_definition(factors)) / np.linalg.norm(exact))


def tensorly_error(kernel: Array, ranks: tuple[int, int]) -> float:
    """The relative error of tensorly's factors of the first group, at its defaults."""
    exact = kernel[0].astype("float64")
    (core, factors), _ = partial_tucker(exact, rank=list(ranks), modes=[exact.ndim - 2, exact.ndim - 1])
    rebuilt = np.einsum("...rq,cr,nq->...cn", core, *factors)
    return float(np.linalg.norm(exact - rebuilt) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("shape", "ranks"),
    [
        (Shape((3, 3), 32, 48), (8, 12)),
        (Shape((3, 3), 48, 32), (24, 24)),
        (Shape((1, 5), 24, 24), (20, 10)),
        (Shape((5,), 16, 40), (8, 30)),
        (Shape((3, 3), 144, 136), (36, 48)),
    ],
    ids=str,
)
@pytest.mark.parametrize("power", [0.6, 1.2])
def test_one_sweep_is_within_a_thousandth_of_tensorly(shape: Shape, ranks: tuple[int, int], power: float) -> None:
    kernel = decaying(shape, power, dtype="float32")
    assert error(kernel, shape, ranks) <= 1.001 * tensorly_error(kernel, ranks)


def test_white_kernels_come_close_after_one_sweep_and_closer_after_more() -> None:
    shape = Shape((3, 3), 40, 40)
    kernel = white(shape, seed=1)
    reference = tensorly_error(kernel, (10, 10))
    errors = [error(kernel, shape, (10, 10), sweeps) for sweeps in (0, 1, 2, 5, 50)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] <= 1.02 * reference
    assert errors[-1] <= 1.001 * reference


def test_large_kernels_are_decomposed_in_float32() -> None:
    shape = Shape((3, 3), 144, 136)
    kernel = decaying(shape, dtype="float32")
    prepared = TUCKER.prepare(kernel, shape)
    factors = prepared.factors((40, 48), sweeps=0)
    assert {array.dtype for array in factors.kernels} == {np.dtype("float32")}
    lost = float(np.sum((kernel.astype("float64") - by_definition(factors)) ** 2))
    assert prepared.squared_errors(np.array([[40, 48]]))[0] == pytest.approx(lost, rel=1e-4)
    # What rounding leaves at full rank.
    assert error(kernel, shape, (144, 136)) < 1e-5
    assert prepared.squared_errors(np.array([[144, 136]]))[0] == 0.0


@pytest.mark.parametrize("ranks", [(7, 5), (None, 5), (7, None), (None, None), (20, 30)])
@pytest.mark.parametrize("sweeps", [0, 1])
def test_factors_are_a_projection_onto_orthonormal_bases(ranks: Ranks, sweeps: int) -> None:
    shape = Shape((3, 2), 20, 30, groups=2)
    kernel = decaying(shape)
    factors = TUCKER.prepare(kernel, shape).factors(ranks, sweeps=sweeps)
    parts = dict(zip((stage.role for stage in factors.stages), factors.kernels, strict=True))
    assert ("in" in parts, "out" in parts) == (ranks[0] is not None, ranks[1] is not None)
    for group in range(2):
        u_in = parts["in"][group, 0, 0] if "in" in parts else np.eye(20)
        u_out = parts["out"][group, 0, 0].T if "out" in parts else np.eye(30)
        for basis in (u_in, u_out):
            np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
        np.testing.assert_allclose(
            parts["core"][group], np.einsum("xycn,cr,nq->xyrq", kernel[group], u_in, u_out), atol=1e-9
        )


def test_stages() -> None:
    shape = Shape((3, 3), 20, 30)
    first, core, last = Stage("in", (), 20, 7), Stage("core", (0, 1), 7, 5), Stage("out", (), 5, 30)
    assert TUCKER.stages(shape, (7, 5)) == (first, core, last)
    assert TUCKER.stages(shape, (None, 5)) == (Stage("core", (0, 1), 20, 5), last)
    assert TUCKER.stages(shape, (7, None)) == (first, Stage("core", (0, 1), 7, 30))
    assert TUCKER.stages(shape, (None, None)) == (Stage("core", (0, 1), 20, 30),)


@pytest.mark.parametrize("axis", [-2, -1])
def test_one_mode_alone_is_a_truncated_svd(axis: int) -> None:
    shape = Shape((3, 3), 18, 14)
    kernel = decaying(shape)
    unfolded = np.moveaxis(kernel[0], axis, 0).reshape(kernel.shape[axis], -1)
    singular = np.linalg.svd(unfolded, compute_uv=False)
    best = np.linalg.norm(singular[6:]) / np.linalg.norm(singular)
    ranks: Ranks = (6, None) if axis == -2 else (None, 6)
    assert error(kernel, shape, ranks) == pytest.approx(best, rel=1e-9)
    full = (6, 14) if axis == -2 else (18, 6)
    claimed = TUCKER.prepare(kernel, shape).squared_errors(np.array([full]))[0]
    assert claimed == pytest.approx(float(np.sum(singular[6:] ** 2)), rel=1e-9)


def test_energy_is_counted_by_mode_and_over_all_groups() -> None:
    rng = np.random.default_rng(0)
    shape = Shape((3, 3), 24, 32, groups=2)
    parts = [rng.standard_normal(size) for size in ((2, 3, 3, 4, 6), (2, 24, 4), (2, 32, 6))]
    kernel = np.einsum("gxyrq,gcr,gnq->gxycn", *parts)
    prepared = TUCKER.prepare(kernel, shape)
    assert prepared.for_energy(1 - 1e-9) == (4, 6)
    np.testing.assert_allclose(by_definition(prepared.factors((4, 6))), kernel, atol=1e-10)
    for energy in (0.5, 0.9):
        expected = []
        for axis in (-2, -1):
            unfolded = np.moveaxis(kernel, axis, 1).reshape(2, kernel.shape[axis], -1)
            values = np.sum(np.linalg.svd(unfolded, compute_uv=False) ** 2, axis=0)
            expected.append(int(np.argmax(np.cumsum(values) >= energy * values.sum())) + 1)
        assert prepared.for_energy(energy) == tuple(expected)


def test_noise_leaves_the_planted_ranks() -> None:
    rng = np.random.default_rng(0)
    shape = Shape((3, 3), 48, 64)
    parts = [rng.standard_normal(size) for size in ((1, 3, 3, 5, 9), (1, 48, 5), (1, 64, 9))]
    kernel = np.einsum("gxyrq,gcr,gnq->gxycn", *parts)
    kernel += 0.3 * kernel.std() * rng.standard_normal(kernel.shape)
    assert TUCKER.prepare(kernel, shape).for_noise() == (5, 9)


def test_signs_are_chosen_not_left_to_lapack() -> None:
    shape = Shape((3, 3), 24, 24)
    kernel = decaying(shape)
    one, negative = (TUCKER.prepare(array, shape).factors((6, 7)) for array in (kernel, -kernel))
    np.testing.assert_array_equal(one.kernels[0], negative.kernels[0])
    np.testing.assert_array_equal(one.kernels[1], -negative.kernels[1])
    np.testing.assert_array_equal(one.kernels[2], negative.kernels[2])
