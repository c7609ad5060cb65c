"""Chains with a sparse residual: what is kept, that it is exact there, and that it is never worse than one after it."""

from __future__ import annotations

import itertools
from math import floor
from typing import Any

import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.factors import METHODS, Shape
from kerasurgeon.factors.kernels.residual import RESIDUALS, Improves, residual_errors, residual_mask, with_residual
from kerasurgeon.factors.kernels.residual_metrics import OutputError
from kerasurgeon.sparsity.structures import Structure
from tests.factors.kernels import by_definition, decaying, measured, output_error, patches, white

Array = np.ndarray[Any, Any]

SHAPES = [Shape((3, 3), 12, 8), Shape((5,), 8, 12, groups=2), Shape((2, 3, 2), 4, 8), Shape((3, 3), 8, 8, 1, True)]
TUCKER = METHODS["tucker"]


def structure_of(name: str) -> Structure:
    return Structure.parse(name, (2, 4) if name == "block" else None)


def squared_sums(name: str, error: Array) -> Array:
    """The squared errors of all groups, by their definition."""
    squares = np.square(error)
    if name == "block":
        *front, inputs, outputs = squares.shape
        sums = squares.reshape(*front, inputs // 2, 2, outputs // 4, 4).sum(axis=(-3, -1))
    else:
        sums = {"unstructured": squares, "channel": squares.sum(axis=-2), "filter": squares.sum(axis=-1)}[name]
    return np.asarray(sums).ravel()


def left_after(name: str, error: Array, sparsity: float) -> float:
    """The squared error besides the largest groups."""
    sums = np.sort(squared_sums(name, error))
    return float(sums[: len(sums) - floor(sparsity * len(sums) + 1e-9)].sum())


@pytest.mark.parametrize("name", RESIDUALS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sparsity", [0.05, 0.3])
def test_masked_entries_are_exact_and_no_more_are_kept_than_asked_for(name: str, shape: Shape, sparsity: float) -> None:
    kernel = decaying(shape, dtype="float32")
    ranks = (shape.inputs // 2, shape.outputs // 2)
    found = with_residual(TUCKER, kernel, shape, ranks, sparsity=sparsity, structure=structure_of(name))
    assert found.residual is not None
    kept = found.residual != 0
    assert 0 < found.kept <= sparsity * kernel.size
    np.testing.assert_allclose(found.reconstruct()[kept], kernel[kept], rtol=1e-6, atol=1e-6 * np.abs(kernel).max())
    np.testing.assert_allclose((by_definition(found) + found.residual)[kept], kernel[kept], rtol=1e-5, atol=1e-6)
    groups = squared_sums(name, kept.astype(float))
    assert set(np.unique(groups)) == {0.0, kernel.size / len(groups)}  # kept as wholes


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", RESIDUALS)
@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
@pytest.mark.parametrize("make", [white, decaying])
def test_it_is_never_worse_than_the_same_residual_afterwards(name: str, method: Any, make: Any) -> None:
    shape = Shape((), 16, 24) if method.name == "svd" else Shape((3, 3), 16, 8)
    kernel = make(shape)
    ranks = tuple(limit // 2 for limit in method.limits(shape))
    plain = method.prepare(kernel, shape).factors(ranks)
    for sparsity in (0.02, 0.1, 0.5):
        found = with_residual(method, kernel, shape, ranks, sparsity=sparsity, structure=structure_of(name))
        after = left_after(name, kernel - by_definition(plain), sparsity)
        assert np.sum((kernel - found.reconstruct()) ** 2) <= after * (1 + 1e-9)
        again = with_residual(
            method, kernel, shape, ranks, sparsity=sparsity, structure=structure_of(name), start=plain, iterations=0
        )
        assert np.sum((kernel - again.reconstruct()) ** 2) == pytest.approx(after)


@pytest.mark.parametrize("name", ["unstructured", "block"])
def test_it_is_no_worse_than_an_iteration_to_its_end_with_the_residual_afterwards(name: str) -> None:
    shape = Shape((3, 3), 32, 24)
    for kernel in (white(shape), decaying(shape)):
        ended = TUCKER.prepare(kernel, shape).factors((12, 8), sweeps=100)
        found = with_residual(TUCKER, kernel, shape, (12, 8), sparsity=0.05, structure=structure_of(name))
        assert np.sum((kernel - found.reconstruct()) ** 2) < left_after(name, kernel - by_definition(ended), 0.05)


@pytest.mark.parametrize("name", RESIDUALS)
def test_every_step_lowers_the_error(name: str) -> None:
    shape = Shape((3, 3), 16, 12, groups=2)
    kernel = decaying(shape)
    left = []
    for steps in range(8):
        found = with_residual(
            TUCKER, kernel, shape, (6, 5), sparsity=0.1, structure=structure_of(name), iterations=steps, tolerance=0
        )
        left.append(np.sum((kernel - found.reconstruct()) ** 2))
    assert all(later < sooner for sooner, later in itertools.pairwise(left))


def test_planted_outliers_do_not_disturb_the_chain() -> None:
    """A kernel of low rank plus a few large entries: the iteration separates them, a residual afterwards does not."""
    shape = Shape((3, 3), 24, 24)
    low = TUCKER.prepare(white(shape), shape).factors((4, 4)).reconstruct()
    rng = np.random.default_rng(1)
    planted = rng.random(low.shape) < 0.02
    kernel = low + np.where(planted, 20 * low.std() * rng.choice([-1, 1], low.shape), 0)
    found = with_residual(
        TUCKER, kernel, shape, (4, 4), sparsity=0.03, structure=structure_of("unstructured"), tolerance=1e-6
    )
    after = left_after("unstructured", kernel - TUCKER.prepare(kernel, shape).factors((4, 4)).reconstruct(), 0.03)
    assert np.sum((kernel - found.reconstruct()) ** 2) < 1e-3 * after
    np.testing.assert_allclose(by_definition(found), low, atol=0.05 * low.std())


@pytest.mark.parametrize("name", RESIDUALS)
def test_the_mask_is_the_best_of_all(name: str) -> None:
    error = np.random.default_rng(2).standard_normal((2, 2, 8))
    structure = structure_of(name)
    groups = squared_sums(name, error)
    for sparsity in (0.1, 0.25, 0.5):
        mask = residual_mask(error, structure, sparsity)
        count = floor(sparsity * len(groups) + 1e-9)
        if len(groups) <= 16:
            best = max(sum(groups[list(chosen)]) for chosen in itertools.combinations(range(len(groups)), count))
        else:
            best = np.sort(groups)[len(groups) - count :].sum()
        assert mask.sum() * len(groups) == count * error.size
        assert np.square(error[mask]).sum() == pytest.approx(best)


@pytest.mark.parametrize("name", RESIDUALS)
def test_errors_for_many_sparsities_at_once(name: str) -> None:
    error = np.random.default_rng(3).standard_normal((1, 3, 8, 12)).astype(np.float32)
    shares = np.array([1.0, 0.0, 0.29, 0.5, 0.01, 0.999])
    found = residual_errors(error, structure_of(name), shares)
    np.testing.assert_allclose(found, [left_after(name, error.astype(float), share) for share in shares], rtol=1e-5)
    assert found[0] == 0


@pytest.mark.parametrize("name", RESIDUALS)
def test_with_inputs_the_error_of_the_output_counts(name: str) -> None:
    shape = Shape((3,), 6, 8, groups=2)
    kernel, samples = white(shape), patches(shape)
    inputs = measured(shape, samples)
    ranks, structure = (4, 5), structure_of(name)
    plain = TUCKER.prepare(kernel, shape, inputs).factors(ranks)
    start = with_residual(
        TUCKER, kernel, shape, ranks, sparsity=0.2, structure=structure, inputs=inputs, iterations=0, start=plain
    )
    found = with_residual(TUCKER, kernel, shape, ranks, sparsity=0.2, structure=structure, inputs=inputs)
    blind = with_residual(TUCKER, kernel, shape, ranks, sparsity=0.2, structure=structure)
    assert 0 < found.kept <= 0.2 * kernel.size
    errors = [output_error(shape, kernel - factors.reconstruct(), samples) for factors in (plain, start, found, blind)]
    assert errors[2] <= errors[1] < 0.9 * errors[0]
    assert errors[2] < errors[3]
    missed = (kernel - found.reconstruct()).reshape(2, -1, 8)
    assert found.bias is not None
    np.testing.assert_allclose(found.bias, (samples @ missed).mean(axis=1).ravel(), rtol=1e-6, atol=1e-9)


def test_entries_of_a_residual_for_an_output_are_those_of_least_squares() -> None:
    shape = Shape((2,), 3, 4)
    error, samples = white(shape), patches(shape)
    mask = np.asarray(np.random.default_rng(5).random(error.shape) < 0.5)
    found = OutputError(measured(shape, samples)).residual(error, mask).reshape(6, 4)
    centred = samples[0] - samples[0].mean(axis=0)
    for channel, where in enumerate(mask.reshape(6, 4).T):
        target = centred @ error.reshape(6, 4)[:, channel]
        solved = np.linalg.lstsq(centred[:, where], target, rcond=None)[0]
        np.testing.assert_allclose(centred @ found[:, channel], centred[:, where] @ solved, atol=1e-2 * target.std())
        assert not found[~where, channel].any()


def test_without_room_for_a_group_there_is_no_residual() -> None:
    shape = SHAPES[0]
    kernel = white(shape)
    found = with_residual(TUCKER, kernel, shape, (4, 4), sparsity=0.0, structure=structure_of("unstructured"))
    assert found.residual is None
    assert found.kept == 0
    few = with_residual(TUCKER, kernel, shape, (4, 4), sparsity=0.99 / 72, structure=structure_of("channel"))
    assert few.residual is None
    one = with_residual(TUCKER, kernel, shape, (4, 4), sparsity=1 / 72, structure=structure_of("channel"))
    assert one.kept == 12
    whole = with_residual(TUCKER, kernel, shape, (4, 4), sparsity=1.0, structure=structure_of("channel"))
    np.testing.assert_allclose(whole.reconstruct(), kernel, rtol=1e-9)


def test_a_tucker_sweep_from_given_factors_descends() -> None:
    shape = Shape((3, 3), 16, 12, groups=2)
    kernel, other = white(shape), white(shape, seed=9)
    assert isinstance(TUCKER, Improves)
    factors = TUCKER.prepare(other, shape).factors((5, 4))
    errors = []
    for _ in range(60):
        errors.append(np.sum((kernel - by_definition(factors)) ** 2))
        factors = TUCKER.improve(kernel, factors)
    assert all(later <= sooner * (1 + 1e-12) for sooner, later in itertools.pairwise(errors[1:]))
    ended = TUCKER.prepare(kernel, shape).factors((5, 4), sweeps=100)
    assert errors[-1] <= 1.01 * np.sum((kernel - by_definition(ended)) ** 2)


def test_residuals_that_cannot_be_had_are_refused() -> None:
    shape = SHAPES[0]
    kernel = white(shape)

    def ask(structure: Structure, sparsity: float = 0.1) -> None:
        with_residual(TUCKER, kernel, shape, (4, 4), sparsity=sparsity, structure=structure)

    with pytest.raises(OptionError, match="'output_channel'"):
        ask(Structure.parse("output_channel"))
    with pytest.raises(OptionError, match="2:4"):
        ask(Structure.parse("2:4"))
    with pytest.raises(OptionError, match="blocks of 5 x 4"):
        ask(Structure.parse("block", (5, 4)))
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="no share"):
            ask(Structure.parse("filter"), wrong)
    with pytest.raises(OptionError, match="no share"):
        residual_errors(kernel, Structure.parse("filter"), [0.1, 2.0])
