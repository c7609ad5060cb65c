"""The error of outputs minimised on inputs of few directions, of little variation about a large mean, or all alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.blocks.moments import Moments
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.factors import Inputs
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.factors.kernels.shape import Shape
from kerasurgeon.passes import Factorise

Array = np.ndarray[Any, Any]
ROWS = 600


def one_hot(rng: np.random.Generator, taps: int, channels: int) -> Array:
    return np.eye(channels)[rng.integers(0, channels, (ROWS, taps))]


def bordered(rng: np.random.Generator, taps: int, channels: int) -> Array:
    """Near the border of the image a patch is padded with zeros, far from the mean."""
    x = 300 + 1e-2 * rng.normal(size=(ROWS, taps, channels))
    x[: ROWS // 50, 0] = 0
    return x


PATCHES: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "white": lambda rng, taps, channels: rng.normal(size=(ROWS, taps, channels)),
    "of three directions": lambda rng, taps, channels: (
        rng.normal(size=(ROWS, 3)) @ rng.normal(size=(3, taps * channels))
    ),
    "one-hot": one_hot,
    "little variation about a large mean": lambda rng, taps, channels: (
        300 + 1e-2 * rng.normal(size=(ROWS, taps, channels))
    ),
    "and zeros at borders": bordered,
    "constant": lambda rng, taps, channels: np.full((ROWS, taps, channels), 3.0),
    "fewer samples than directions": lambda rng, taps, channels: rng.normal(size=(5, taps, channels)),
    "tiny": lambda rng, taps, channels: 1e-18 * rng.normal(size=(ROWS, taps, channels)),
    "huge": lambda rng, taps, channels: 1e15 * rng.normal(size=(ROWS, taps, channels)),
    "all channels but one dead": lambda rng, taps, channels: (
        rng.normal(size=(ROWS, taps, channels)) * (np.arange(channels) == 1)
    ),
}


def measured(rows: Array, taps: int) -> Inputs:
    """As layers are measured: products in float32, results in float32."""
    rows = rows.astype("float32")
    shift = rows.mean(axis=0)
    centred = rows - shift
    mean = centred.mean(axis=0, dtype="float64")
    covariance = (centred.T @ centred).astype("float64") / len(rows) - np.outer(mean, mean)
    split = covariance.reshape(taps, rows.shape[1] // taps, taps, -1)
    channels = np.einsum("titj->ij", split) / taps
    return Inputs(*(part[None].astype("float32") for part in (mean + shift, covariance, channels)))


def squared_error(rows: Array, missed: Array, bias: Array) -> float:
    """The oracle: in float64, row by row."""
    wrong = rows.astype("float32").astype("float64") @ missed.astype("float64") - bias
    return float(np.mean(np.square(wrong)))


@pytest.mark.spread(9)
@pytest.mark.parametrize("kind", PATCHES)
@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_no_worse_than_with_the_error_of_kernels(kind: str, method: str) -> None:
    if method == "cp":
        pytest.importorskip("tensorly")
    rng = np.random.default_rng(0)
    chosen = METHODS[method]
    for sizes, inputs, outputs in (((1, 1), 12, 10), ((3, 3), 6, 8), ((7,), 8, 8)):
        shape, taps = Shape(sizes, inputs, outputs), int(np.prod(sizes))
        if chosen.refusal(shape):
            continue
        kernel = rng.normal(size=(1, *sizes, inputs, outputs)).astype("float32")
        rows = PATCHES[kind](rng, taps, inputs).reshape(-1, taps * inputs)
        flat, mean = kernel.reshape(-1, outputs), rows.astype("float32").mean(axis=0, dtype="float64")
        varying = squared_error(rows, flat, mean @ flat)
        plain, weighted = chosen.prepare(kernel, shape), chosen.prepare(kernel, shape, measured(rows, taps))
        for share in (0.3, 0.7, 1.0):
            ranks = tuple(max(1, int(share * limit)) for limit in chosen.limits(shape))
            missed = flat - plain.factors(ranks).reconstruct().reshape(-1, outputs)
            wanted = squared_error(rows, missed, mean @ missed)
            factors = weighted.factors(ranks)
            assert factors.bias is not None
            assert all(np.isfinite(part).all() for part in factors.kernels)
            missed = flat - factors.reconstruct().reshape(-1, outputs)
            error = squared_error(rows, missed, factors.bias)
            # Rounding to float32 of the mean, times the kernel, is all that may be added.
            rounding = (1e-6 * np.abs(mean).max() * np.abs(flat).sum(axis=0).max()) ** 2
            assert error <= 1.001 * wanted + 1e-6 * varying + rounding, (sizes, ranks)


@pytest.mark.parametrize("mean", [0.0, 30.0, 300.0])
def test_a_network_on_one_hot_inputs(mean: float) -> None:
    """The second layer reads four different vectors, and zeros at the ends."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((200, 4))
    x = layers.Conv1D(24, 1, bias_initializer=keras.initializers.Constant(mean), name="first")(inputs)
    x = layers.Conv1D(24, 7, padding="same", name="trained")(x)
    model = keras.Model(inputs, layers.Conv1D(3, 1, name="last")(x))
    data = np.eye(4, dtype="float32")[np.random.default_rng(0).integers(0, 4, (4, 200))]
    wanted = np.asarray(model(data))

    def lost(**options: Any) -> float:
        made = ks.Pipeline([Factorise(macs=0.5, **options)]).run(model, data=data).model
        return float(np.mean(np.square(np.asarray(made(data)) - wanted)))

    assert lost(minimise="output") <= 1.01 * lost(minimise="kernel") + 1e-8 * float(np.mean(np.square(wanted)))


@pytest.mark.parametrize("ridge", [None, 0.0, 1e-2])
def test_least_squares_of_columns_that_depend_on_one_another(ridge: float | None) -> None:
    """Compensation: what the rows show is fitted, and the smallest solution is taken of what they do not."""
    rng = np.random.default_rng(0)
    rows = 50 + rng.normal(size=(400, 3)) @ rng.normal(size=(3, 8))
    rows[:, 5] = 7.0
    wanted = rows @ rng.normal(size=(8, 2))
    held_out = np.arange(400) >= 300
    mean, solution = fitted(rows, wanted, held_out, ridge)
    found = (rows - mean) @ solution
    centred = wanted - wanted.mean(axis=0)
    assert np.abs(solution).max() < 10
    assert np.mean(np.square(found - centred)) <= (1e-12 if ridge == 0 else 1e-2) * np.mean(np.square(centred))
    if ridge == 0:
        oracle = np.linalg.pinv(rows - rows.mean(axis=0), rcond=1e-8) @ centred
        np.testing.assert_allclose(solution, oracle, atol=1e-9)


def test_projections_without_a_ridge_take_the_smallest_solution() -> None:
    """Blocks: the same for the map from one tensor to another."""
    rng = np.random.default_rng(1)
    x = 300 + 1e-2 * rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6))
    y = x @ rng.normal(size=(6, 3))
    moments = Moments()
    for part in np.split(np.arange(500), 5):
        moments.add(x[part], y[part])
    fit = moments.projection(0.0)
    oracle = np.linalg.pinv(x - x.mean(axis=0), rcond=1e-6) @ (y - y.mean(axis=0))
    np.testing.assert_allclose(fit.weight, oracle, atol=1e-6)
    np.testing.assert_allclose(x @ fit.weight + fit.bias, y, atol=1e-8)
