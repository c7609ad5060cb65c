"""What every method promises: exact at the limit, errors as claimed, ranks checked, refusals with a way out."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.factors import METHODS, Ranks, Shape
from tests.factors.kernels import by_definition, decaying, measured, output_error, patches, white

Array = np.ndarray[Any, Any]

SHAPES = [
    ("tucker", Shape((3, 3), 6, 8)),
    ("tucker", Shape((3, 2), 5, 4, groups=3)),
    ("tucker", Shape((3,), 4, 9)),
    ("tucker", Shape((2, 3, 2), 4, 3, transposed=True)),
    ("svd", Shape((), 9, 6)),
    ("svd", Shape((1, 1), 5, 8, groups=2)),
    ("svd", Shape((1,), 5, 5, transposed=True)),
    ("spatial", Shape((3, 3), 4, 5)),
    ("spatial", Shape((5, 2), 6, 3, groups=2)),
    ("spatial", Shape((1, 3, 2), 3, 4, transposed=True)),
    ("spatial", Shape((2, 3, 3), 3, 2)),
    ("separable", Shape((3, 3), 4, 12)),
    ("separable", Shape((3, 3), 4, 5)),
    ("separable", Shape((5,), 6, 7)),
    ("cp", Shape((3, 2), 3, 4)),
    ("cp", Shape((3,), 4, 5, groups=2)),
    ("cp", Shape((3, 3), 3, 2)),
]
every_shape = pytest.mark.parametrize(("name", "shape"), SHAPES, ids=str)


def some_ranks(name: str, shape: Shape) -> list[tuple[int, ...]]:
    """Ranks from the smallest to the limits."""
    limits = METHODS[name].limits(shape)
    if name == "cp":
        return [(1,), (3,), limits]
    return list(product(*(sorted({1, 2, limit // 2, limit - 1, limit}) for limit in limits)))


def squared(array: Array) -> float:
    return float(np.sum(np.square(array)))


def test_names() -> None:
    assert list(METHODS) == ["tucker", "svd", "spatial", "separable", "cp"]
    assert all(method.name == name for name, method in METHODS.items())


@every_shape
@pytest.mark.parametrize("with_inputs", [False, True])
def test_exact_at_the_limits(name: str, shape: Shape, with_inputs: bool) -> None:
    method, kernel = METHODS[name], white(shape)
    inputs = measured(shape, patches(shape)) if with_inputs else None
    prepared = method.prepare(kernel, shape, inputs)
    limits = method.limits(shape)
    factors = prepared.factors(limits)
    np.testing.assert_allclose(by_definition(factors), kernel, atol=1e-8)
    np.testing.assert_allclose(factors.reconstruct(), kernel, atol=1e-8)
    assert prepared.squared_errors(np.array([limits]))[0] <= 1e-12 * prepared.squared_norm
    if factors.bias is not None:
        np.testing.assert_allclose(factors.bias, 0.0, atol=1e-7)


@every_shape
def test_errors_are_those_of_the_factors(name: str, shape: Shape) -> None:
    kernel = decaying(shape)
    prepared = METHODS[name].prepare(kernel, shape)
    ranks = some_ranks(name, shape)
    claimed = prepared.squared_errors(np.array(ranks))
    assert prepared.squared_norm == pytest.approx(squared(kernel))
    assert claimed.shape == (len(ranks),)
    for one, error in zip(ranks, claimed, strict=True):
        factors = prepared.factors(one, sweeps=0)
        assert factors.ranks == one
        assert factors.method == name
        assert factors.bias is None
        assert error == pytest.approx(squared(kernel - by_definition(factors)), abs=1e-12 * prepared.squared_norm)


@every_shape
def test_errors_of_the_output_are_at_most_those_claimed(name: str, shape: Shape) -> None:
    kernel, samples = decaying(shape), patches(shape)
    prepared = METHODS[name].prepare(kernel, shape, measured(shape, samples))
    plain = METHODS[name].prepare(kernel, shape)
    ranks = some_ranks(name, shape)
    norm = output_error(shape, kernel, samples)
    # The ridge on the covariance adds a few parts in 100,000.
    assert prepared.squared_norm == pytest.approx(norm, rel=1e-3)
    for one, claimed in zip(ranks, prepared.squared_errors(np.array(ranks)), strict=True):
        factors = prepared.factors(one)
        missed = kernel - by_definition(factors)
        error = output_error(shape, missed, samples)
        assert error <= claimed * (1 + 1e-6) + 1e-10 * norm
        if name != "tucker":
            assert error == pytest.approx(claimed, rel=2e-3, abs=1e-4 * norm)
        if name in ("tucker", "svd"):
            other = output_error(shape, kernel - by_definition(plain.factors(one)), samples)
            assert error <= other + 1e-5 * norm
        # The mean of the output stays.
        flat = missed.reshape(shape.groups, -1, shape.outputs)
        assert factors.bias is not None
        np.testing.assert_allclose(factors.bias, (samples @ flat).mean(axis=1).reshape(-1), atol=1e-8)


@pytest.mark.spread(3)
@every_shape
@pytest.mark.parametrize("energy", [0.3, 0.9, 1.0])
def test_ranks_for_an_energy_are_within_the_limits_and_grow(name: str, shape: Shape, energy: float) -> None:
    method = METHODS[name]
    prepared = method.prepare(decaying(shape), shape)
    ranks = prepared.for_energy(energy)
    method.stages(shape, ranks)
    lower = prepared.for_energy(energy / 2)
    assert all(low is not None and high is not None and low <= high for low, high in zip(lower, ranks, strict=True))
    if len(ranks) == 1:
        error = prepared.squared_errors(np.array([ranks]))[0]
        assert error <= (1 - energy) * prepared.squared_norm * (1 + 1e-9) + 1e-12


@every_shape
def test_ranks_for_noise_are_within_the_limits(name: str, shape: Shape) -> None:
    method = METHODS[name]
    for inputs in (None, measured(shape, patches(shape))):
        method.stages(shape, method.prepare(decaying(shape, power=1.5), shape, inputs).for_noise())


@every_shape
def test_errors_fall_with_the_rank(name: str, shape: Shape) -> None:
    method = METHODS[name]
    if name == "cp":
        pytest.skip("alternating least squares promises no such thing")
    for inputs in (None, measured(shape, patches(shape))):
        prepared = method.prepare(decaying(shape), shape, inputs)
        for position, limit in enumerate(method.limits(shape)):
            ranks = np.tile(method.limits(shape), (limit, 1)) // 2 + 1
            ranks = np.minimum(ranks, method.limits(shape))
            ranks[:, position] = np.arange(1, limit + 1)
            errors = prepared.squared_errors(ranks)
            assert all(one >= other for one, other in pairwise(errors))


@every_shape
def test_ranks_out_of_range_are_errors(name: str, shape: Shape) -> None:
    method = METHODS[name]
    limits = method.limits(shape)
    prepared = method.prepare(white(shape), shape)
    for wrong in (0, -1, limits[0] + 1):
        ranks = (wrong, *limits[1:])
        with pytest.raises(OptionError, match=rf"expected: a whole number from 1 to {limits[0]}"):
            prepared.factors(ranks)
        with pytest.raises(OptionError, match="cannot be used"):
            method.stages(shape, ranks)
        with pytest.raises(OptionError, match="cannot be used"):
            prepared.squared_errors(np.array([ranks, limits]))
    misfits: tuple[Any, ...] = ((), (1, 1, 1), (1.5, *limits[1:]), 1)
    for misfit in misfits:
        with pytest.raises(OptionError, match=method.name):
            method.stages(shape, misfit)
    if len(limits) == 1:
        with pytest.raises(OptionError, match="got: None"):
            prepared.factors((None,))


@every_shape
def test_stages_of_many_ranks_at_once(name: str, shape: Shape) -> None:
    method = METHODS[name]
    arrays = tuple(np.arange(1, min(method.limits(shape)) + 1) for _ in method.limits(shape))
    for index in range(len(arrays[0])):
        ranks: Ranks = tuple(int(array[index]) for array in arrays)
        for one, many in zip(method.stages(shape, ranks), method.stages(shape, arrays), strict=True):
            for side in ("inputs", "outputs"):
                value = np.broadcast_to(getattr(many, side), arrays[0].shape)[index]
                assert value == getattr(one, side)


@every_shape
def test_the_kernel_is_not_written_into_and_equal_kernels_have_equal_factors(name: str, shape: Shape) -> None:
    kernel = decaying(shape)
    kernel.flags.writeable = False
    before = kernel.copy()
    ranks = tuple(max(1, limit // 2) for limit in METHODS[name].limits(shape))
    one, other = (METHODS[name].prepare(array, shape).factors(ranks) for array in (kernel, before.copy()))
    np.testing.assert_array_equal(kernel, before)
    for array, twin in zip(one.kernels, other.kernels, strict=True):
        np.testing.assert_array_equal(array, twin)


@every_shape
@pytest.mark.parametrize("dead", ["kernel", "inputs", "half of the inputs"])
def test_zeros(name: str, shape: Shape, dead: str) -> None:
    kernel, samples = white(shape), patches(shape)
    if dead == "kernel":
        kernel = np.zeros_like(kernel)
    samples[..., :: 1 if dead == "inputs" else 2] *= 0.0 if dead != "kernel" else 1.0
    for inputs in (None, measured(shape, samples)):
        prepared = METHODS[name].prepare(kernel, shape, inputs)
        ranks = tuple(min(2, limit) for limit in METHODS[name].limits(shape))
        factors = prepared.factors(ranks)
        found = by_definition(factors)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 100 * np.abs(kernel).max()
        assert np.isfinite(prepared.squared_errors(np.array([ranks]))).all()
        if dead == "kernel":
            assert not found.any()
            assert prepared.squared_norm == 0.0
            assert prepared.for_energy(0.9) == (1,) * len(ranks)
            assert prepared.for_noise() == (1,) * len(ranks)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("tucker", Shape((1, 1), 4, 4), "use svd"),
        ("tucker", Shape((), 4, 4), "use svd"),
        ("svd", Shape((3, 1), 4, 4), "use tucker or spatial"),
        ("spatial", Shape((3,), 4, 4), "use tucker"),
        ("spatial", Shape((1, 3), 4, 4), "use tucker"),
        ("spatial", Shape((1, 1), 4, 4), "use svd"),
        ("separable", Shape((3, 3), 4, 4, groups=2), "2 groups"),
        ("separable", Shape((3, 3, 3), 4, 4), "three axes"),
        ("separable", Shape((3, 3), 4, 4, transposed=True), "transposed"),
        ("separable", Shape((1, 1), 4, 4), "use svd"),
        ("cp", Shape((3, 3, 3), 4, 4), "three axes"),
        ("cp", Shape((3, 3), 4, 4, transposed=True), "transposed"),
        ("cp", Shape((), 4, 4), "use svd"),
    ],
)
def test_refusals_name_the_way_out(name: str, shape: Shape, reason: str) -> None:
    assert reason in METHODS[name].refusal(shape)


@every_shape
def test_what_is_tested_here_is_not_refused(name: str, shape: Shape) -> None:
    assert METHODS[name].refusal(shape) == ""


def test_inputs_of_another_layer_are_an_error() -> None:
    shape = Shape((3, 3), 4, 4)
    other = Shape((3, 3), 5, 4)
    inputs = measured(other, patches(other))
    for name in ("tucker", "spatial", "separable", "cp"):
        with pytest.raises(OptionError, match="does not belong to its kernel"):
            METHODS[name].prepare(white(shape), shape, inputs)
