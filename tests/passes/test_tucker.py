"""The decomposition: against tensorly, against its own definition, and at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.decomposition import partial_tucker

from kerasurgeon.passes.tucker import ChannelModes, Tucker2, largest_entries, one_blas_thread, rank_for_energy

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _quick_blas() -> Iterator[None]:
    with one_blas_thread():
        yield


def decaying(*shape: int, power: float = 0.6, seed: int = 0, dtype: str = "float32") -> Array:
    """A kernel whose channel modes have decaying spectra in a random basis."""
    rng = np.random.default_rng(seed)
    inputs, outputs = shape[-2:]
    scale = np.outer(np.arange(1, inputs + 1) ** -power, np.arange(1, outputs + 1) ** -power)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (inputs, outputs))
    kernel: Array = left @ (rng.standard_normal(shape) * scale) @ right
    return kernel.astype(dtype)


def reconstructed(factors: Tucker2) -> Array:
    """The kernel of factors, by the definition."""
    u_in = np.eye(factors.core.shape[-2]) if factors.u_in is None else factors.u_in
    u_out = np.eye(factors.core.shape[-1]) if factors.u_out is None else factors.u_out
    return np.asarray(np.einsum("...rq,cr,nq->...cn", factors.core.astype("float64"), u_in, u_out))


def relative_error(kernel: Array, factors: Tucker2) -> float:
    exact = kernel.astype("float64")
    return float(np.linalg.norm(exact - reconstructed(factors)) / np.linalg.norm(exact))


def tensorly_error(kernel: Array, rank_in: int, rank_out: int) -> float:
    exact = kernel.astype("float64")
    (core, _), _ = partial_tucker(exact, rank=[rank_in, rank_out], modes=[kernel.ndim - 2, kernel.ndim - 1])
    lost = float(np.linalg.norm(exact)) ** 2 - float(np.linalg.norm(core)) ** 2
    return float(max(lost, 0.0) ** 0.5 / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("shape", "ranks"),
    [((3, 3, 32, 48), (8, 12)), ((3, 3, 48, 32), (24, 24)), ((1, 5, 24, 24), (20, 10)), ((5, 16, 40), (8, 30))],
)
@pytest.mark.parametrize("power", [0.3, 0.6, 1.2])
def test_the_error_is_that_of_tensorly(shape: tuple[int, ...], ranks: tuple[int, int], power: float) -> None:
    kernel = decaying(*shape, power=power)
    assert ChannelModes(kernel).decompose(*ranks).error <= 1.005 * tensorly_error(kernel, *ranks)


def test_large_kernels_are_decomposed_in_float32_to_the_same_error() -> None:
    kernel = decaying(3, 3, 144, 136)
    factors = ChannelModes(kernel).decompose(40, 48)
    assert factors.core.dtype == np.float32
    assert factors.error <= 1.005 * tensorly_error(kernel, 40, 48)
    assert factors.error == pytest.approx(relative_error(kernel, factors), rel=1e-4)


def test_white_kernels_come_close_after_one_sweep_and_closer_after_more() -> None:
    kernel = np.random.default_rng(1).standard_normal((3, 3, 40, 40))
    modes, reference = ChannelModes(kernel), tensorly_error(kernel, 10, 10)
    errors = [modes.decompose(10, 10, sweeps=sweeps).error for sweeps in (0, 1, 2, 5, 50)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] <= 1.02 * reference
    assert errors[-1] <= 1.001 * reference


@pytest.mark.parametrize("ranks", [(7, 5), (None, 5), (7, None), (None, None), (20, 30)])
def test_factors_are_a_projection_onto_orthonormal_bases(ranks: tuple[int | None, int | None]) -> None:
    kernel = decaying(3, 2, 20, 30)
    factors = ChannelModes(kernel).decompose(*ranks)
    for basis, rank in ((factors.u_in, ranks[0]), (factors.u_out, ranks[1])):
        assert (basis is None) == (rank is None)
        if basis is not None:
            np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
    u_in = np.eye(20) if factors.u_in is None else factors.u_in
    u_out = np.eye(30) if factors.u_out is None else factors.u_out
    np.testing.assert_allclose(factors.core, np.einsum("xycn,cr,nq->xyrq", kernel, u_in, u_out), atol=1e-6)
    np.testing.assert_allclose(factors.reconstruct(), reconstructed(factors), atol=1e-6)
    assert factors.error == pytest.approx(relative_error(kernel, factors), abs=1e-7)


@pytest.mark.parametrize("axis", [-2, -1])
def test_one_mode_alone_is_a_truncated_svd(axis: int) -> None:
    kernel = decaying(3, 3, 18, 14)
    unfolded = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1).astype("float64")
    singular = np.linalg.svd(unfolded, compute_uv=False)
    best = np.linalg.norm(singular[6:]) / np.linalg.norm(singular)
    factors = ChannelModes(kernel).decompose(*((6, None) if axis == -2 else (None, 6)))
    assert factors.error == pytest.approx(best, rel=1e-6)


def test_the_error_falls_with_the_rank_to_nothing() -> None:
    modes = ChannelModes(decaying(3, 3, 16, 20))
    errors = [modes.decompose(rank, rank + 4).error for rank in range(1, 17)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= 1e-7


def test_a_kernel_of_low_rank_is_found_whole() -> None:
    rng = np.random.default_rng(0)
    kernel = np.einsum("xyrq,cr,nq->xycn", *(rng.standard_normal(shape) for shape in ((3, 3, 4, 6), (24, 4), (32, 6))))
    modes = ChannelModes(kernel)
    assert rank_for_energy(modes.inputs.values, 1 - 1e-9) == 4
    assert rank_for_energy(modes.outputs.values, 1 - 1e-9) == 6
    np.testing.assert_allclose(reconstructed(modes.decompose(4, 6)), kernel, atol=1e-10)


def test_spectra_are_those_of_the_unfoldings() -> None:
    kernel = decaying(2, 3, 12, 9)
    modes = ChannelModes(kernel)
    for spectrum, axis in ((modes.inputs, -2), (modes.outputs, -1)):
        unfolded = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1).astype("float64")
        np.testing.assert_allclose(spectrum.values, np.linalg.svd(unfolded, compute_uv=False) ** 2, rtol=1e-6)
    assert modes.squared_norm == pytest.approx(float(np.sum(kernel.astype("float64") ** 2)))


def test_equal_kernels_have_equal_factors() -> None:
    kernel = decaying(3, 3, 24, 24)
    one, other = (ChannelModes(array).decompose(6, 7) for array in (kernel, kernel.copy()))
    np.testing.assert_array_equal(one.core, other.core)
    negative = ChannelModes(-kernel).decompose(6, 7)
    for basis, twin in ((one.u_in, negative.u_in), (one.u_out, negative.u_out)):
        assert basis is not None
        assert twin is not None
        np.testing.assert_array_equal(basis, twin)  # the sign of a singular vector is chosen, not left to LAPACK
        assert (np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[None], axis=0) > 0).all()


def test_a_kernel_of_zeros_has_no_error() -> None:
    factors = ChannelModes(np.zeros((3, 3, 4, 5), "float32")).decompose(2, 2)
    assert factors.error == 0.0
    assert not factors.reconstruct().any()


@pytest.mark.parametrize("ranks", [(0, 2), (5, 2), (2, 6), (2, -1)])
def test_ranks_out_of_range_are_refused(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is not between 1 and"):
        ChannelModes(np.ones((3, 3, 4, 5))).decompose(*ranks)


def test_the_kernel_is_not_written_into() -> None:
    kernel = decaying(3, 3, 8, 8)
    kernel.flags.writeable = False
    before = kernel.copy()
    ChannelModes(kernel).decompose(3, 3).reconstruct()
    np.testing.assert_array_equal(kernel, before)


@given(
    st.lists(st.floats(0.0, 1e3), min_size=1, max_size=20),
    st.floats(0.01, 1.0),
)
@settings(deadline=None, derandomize=True)
def test_the_rank_for_an_energy_is_the_smallest_that_keeps_it(values: list[float], energy: float) -> None:
    spectrum = np.sort(np.asarray(values))[::-1]
    rank = rank_for_energy(spectrum, energy)
    total = spectrum.sum()
    assert 1 <= rank <= len(values)
    assert spectrum[rank:].sum() <= (1 - energy) * total * (1 + 1e-12) + 1e-300
    if rank > 1:
        assert spectrum[rank - 1 :].sum() > (1 - energy) * total * (1 - 1e-12)


@given(st.integers(1, 60), st.floats(0.001, 1.0), st.integers(0, 5))
@settings(deadline=None, derandomize=True)
def test_the_largest_entries_are_kept(size: int, fraction: float, seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal(size).reshape(1, size)
    kept = largest_entries(array, fraction)
    keep = int(np.ceil(fraction * size))
    assert np.count_nonzero(kept) == keep
    threshold = np.sort(np.abs(array).ravel())[-keep]
    np.testing.assert_array_equal(kept, np.where(np.abs(array) >= threshold, array, 0.0))
