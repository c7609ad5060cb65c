"""How outputs are compared: each measure against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest

from kerasurgeon.errors import VerificationError
from kerasurgeon.ir import Layer, Weight
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.outputs import relative_difference, require_finite, run_model, tolerance
from tests.zoo import build, sample_inputs

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [2.0, -4.0], 0.25),
        ([0.0, 0.0], [0.5, 0.0], 0.5),  # nothing to be relative to
        ([NAN, 2.0], [NAN, 2.0], 0.0),
        ([NAN, 2.0], [1.0, 2.0], INF),
        ([1.0, 2.0], [NAN, 2.0], INF),
        ([INF, 2.0], [INF, 1.0], 0.5),
        ([1.0, 2.0], [1.0], INF),
        ([], [], 0.0),
    ],
)
def test_relative_difference(one: list[float], other: list[float], difference: float) -> None:
    assert relative_difference([np.array(one)], [np.array(other)]) == difference


def test_the_sign_of_infinity_and_integers_count() -> None:
    assert relative_difference([np.array([INF])], [np.array([-INF])]) > 0
    assert relative_difference([np.array([NAN])], [np.array([INF])]) > 0
    assert relative_difference([np.array([1, 2])], [np.array([1, 2])]) == 0
    assert relative_difference([np.array([1, 2])], [np.array([1, 3])]) == 1
    assert relative_difference([np.array([True])], [np.array([False])]) == 1


def test_the_worst_output_counts() -> None:
    one, other = [np.array([1.0]), np.array([100.0])], [np.array([1.1]), np.array([101.0])]
    assert relative_difference(one, other) == pytest.approx(0.1)


def test_another_number_of_outputs_is_another_model() -> None:
    assert relative_difference([np.array([1.0])], []) == INF


def test_tolerance_follows_the_coarsest_dtype() -> None:
    assert tolerance(lift(build("plain_chain")), 1e-4) == 1e-4
    assert tolerance(lift(build("mixed_float16")), 1e-4) == pytest.approx(1e-2)
    assert tolerance(lift(build("mixed_bfloat16")), 1e-4) == pytest.approx(8e-2)


def test_run_model_widens_and_flattens() -> None:
    model = build("nested_output_structure")
    arrays = run_model(model, sample_inputs(model))
    assert len(arrays) == len(model.outputs)
    assert {array.dtype for array in arrays} == {np.dtype("float64")}


def layer(array: Any) -> dict[str, Layer]:
    return {"dense": Layer("dense", keras.layers.Dense, {}, weights={"kernel": Weight(np.asarray(array))})}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_is_named(dtype: Any, bad: float) -> None:
    with pytest.raises(VerificationError, match=r"NaN or infinite: 1 of them(.|\n)*where: dense.kernel"):
        require_finite(layer(np.array([1.0, bad], dtype)))


def test_infinities_that_cancel_are_found() -> None:
    with pytest.raises(VerificationError):
        require_finite(layer(np.array([INF, -INF], "float32")))


@pytest.mark.parametrize(
    "array", [np.array([60000.0] * 9, "float16"), np.array([3e38] * 9, "float32"), np.array([1, 2])]
)
def test_what_is_large_is_still_finite(array: Any) -> None:
    require_finite(layer(array))
