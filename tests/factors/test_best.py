"""The closed forms against what an optimiser or an exhaustive decomposition finds, and against other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from tensorly.decomposition import parafac

from kerasurgeon.errors import MissingExtraError
from kerasurgeon.factors import METHODS, Factors, Inputs, Shape
from tests.factors.kernels import by_definition, decaying, measured, output_error, patches, white

Array = np.ndarray[Any, Any]


def descended(factors: Factors, kernel: Array, samples: Array | None) -> float:
    """The squared error that a quasi-Newton method reaches from random starts over the kernels of the same chain."""
    shape, rng = factors.shape, np.random.default_rng(0)
    sizes = [array.shape for array in factors.kernels]
    flat_target = kernel.reshape(shape.groups, -1, shape.outputs)
    root = np.eye(flat_target.shape[1])[None]
    if samples is not None:
        root = np.stack([np.linalg.cholesky(np.cov(group, rowvar=False, bias=True)).T for group in samples])

    def split(vector: Array) -> list[Array]:
        parts, start = [], 0
        for size in sizes:
            parts.append(vector[start : start + int(np.prod(size))].reshape(size))
            start += int(np.prod(size))
        return parts

    def rebuilt(parts: list[Array]) -> Array:
        first, second = parts
        if factors.method == "svd":
            return np.asarray(np.einsum("gxycr,gxyrn->gxycn", first, second))
        if factors.method == "spatial":
            return np.asarray(np.einsum("gxzcr,gzyrn->gxycn", first, second))
        second = second.reshape(1, 1, 1, *first.shape[-2:], -1)
        return np.asarray(np.einsum("gxycm,gabcmn->gxycn", first, second))

    def loss(vector: Array) -> float:
        missed = (kernel - rebuilt(split(vector))).reshape(flat_target.shape)
        return float(np.sum((root @ missed) ** 2))

    total = sum(int(np.prod(size)) for size in sizes)
    return min(float(minimize(loss, rng.standard_normal(total), method="L-BFGS-B").fun) for _ in range(3))


@pytest.mark.parametrize(
    ("name", "shape", "rank"),
    [
        ("svd", Shape((1, 1), 4, 3), 2),
        ("spatial", Shape((2, 2), 2, 3), 2),
        ("separable", Shape((2, 2), 2, 3), 1),
    ],
)
def test_nothing_of_the_same_form_is_better(name: str, shape: Shape, rank: int) -> None:
    kernel = white(shape)
    factors = METHODS[name].prepare(kernel, shape).factors((rank,))
    error = float(np.sum((kernel - by_definition(factors)) ** 2))
    assert error == pytest.approx(descended(factors, kernel, None), rel=1e-4)


@pytest.mark.parametrize("rank", [1, 2])
def test_svd_with_inputs_is_the_best_for_the_output(rank: int) -> None:
    shape = Shape((1, 1), 4, 3)
    kernel, samples = white(shape), patches(shape, samples=50)
    factors = METHODS["svd"].prepare(kernel, shape, measured(shape, samples)).factors((rank,))
    error = output_error(shape, kernel - by_definition(factors), samples)
    assert error == pytest.approx(descended(factors, kernel, samples), rel=1e-3)


@pytest.mark.parametrize("name", ["tucker", "spatial", "separable", "cp"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inputs_make_the_error_of_the_output_smaller(name: str, seed: int) -> None:
    shape = Shape((3, 3), 6, 8)
    kernel, samples = decaying(shape, seed=seed), patches(shape, seed=seed)
    method = METHODS[name]
    ranks = (3, 4) if name == "tucker" else tuple(max(1, limit // 3) for limit in method.limits(shape))
    errors = [
        output_error(shape, kernel - by_definition(method.prepare(kernel, shape, inputs).factors(ranks)), samples)
        for inputs in (None, measured(shape, samples))
    ]
    assert errors[1] < 0.8 * errors[0]


def test_tucker_falls_back_where_whitening_misleads() -> None:
    """The kernel reads one position; the channels that vary most there are not those that vary most at the other."""
    shape, rng = Shape((2,), 4, 4), np.random.default_rng(0)
    kernel = np.zeros((1, 2, 4, 4))
    kernel[0, 0] = np.diag([1.0, 1.0, 0.6, 0.6])
    deviations = np.array([[1.0, 1.0, 0.1, 0.1], [0.1, 0.1, 9.0, 9.0]]).reshape(-1)
    samples = rng.standard_normal((1, 4000, 8)) * deviations
    inputs = measured(shape, samples)
    method = METHODS["tucker"]
    weighted, plain = (method.prepare(kernel, shape, given).factors((2, 2)) for given in (inputs, None))
    lost = [output_error(shape, kernel - by_definition(one), samples) for one in (weighted, plain)]
    assert lost[0] <= lost[1] * (1 + 1e-3)
    assert lost[0] <= 0.01 * output_error(shape, kernel, samples)


def test_the_ridge_keeps_what_dead_channels_do() -> None:
    """A channel that is zero in all samples must not get entries out of proportion, whatever the rank."""
    shape = Shape((3, 3), 6, 8)
    samples = patches(shape)
    samples[..., ::6] = 0.0  # channel 0 at every position
    kernel = white(shape)
    for name in ("tucker", "spatial", "separable", "cp"):
        ranks = (3, 4) if name == "tucker" else (2,)
        found = by_definition(METHODS[name].prepare(kernel, shape, measured(shape, samples)).factors(ranks))
        assert np.abs(found[..., 0, :]).max() < 10 * np.abs(kernel).max()


def test_cp_is_as_good_as_tensorly_by_itself() -> None:
    shape = Shape((3, 3), 12, 10)
    kernel = decaying(shape, power=1.0)
    prepared = METHODS["cp"].prepare(kernel, shape)
    for rank in (4, 16):
        weights, factors = parafac(kernel.reshape(9, 12, 10), rank, init="random", random_state=0, n_iter_max=200)
        other = float(np.sum((kernel.reshape(9, 12, 10) - np.einsum("r,tr,cr,nr->tcn", weights, *factors)) ** 2))
        assert prepared.squared_errors(np.array([[rank]]))[0] <= 1.1 * other


def test_cp_finds_a_kernel_of_low_rank_and_survives_more_terms_than_it_has() -> None:
    rng = np.random.default_rng(0)
    shape = Shape((3, 3), 15, 12)
    kernel = np.einsum("tr,cr,nr->tcn", *(rng.standard_normal((side, 2)) for side in (9, 15, 12)))
    kernel = kernel.reshape(1, 3, 3, 15, 12)
    prepared = METHODS["cp"].prepare(kernel, shape)
    errors = prepared.squared_errors(np.array([[1], [2], [7], [40]])) / prepared.squared_norm
    assert errors[0] > 0.1
    assert (errors[1:] < 1e-6).all()
    assert prepared.for_energy(1 - 1e-5) == (2,)
    assert prepared.for_noise() == (2,)


def test_cp_without_tensorly_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorly.decomposition", None)
    shape = Shape((3, 3), 4, 4)
    with pytest.raises(MissingExtraError, match=r"kerasurgeon\[cp\]"):
        METHODS["cp"].prepare(white(shape), shape)


def test_inputs_are_plain_arrays() -> None:
    shape = Shape((3,), 2, 2)
    found = measured(shape, patches(shape))
    assert isinstance(found, Inputs)
    assert found.covariance.shape == (1, 6, 6)
