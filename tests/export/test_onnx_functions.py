"""Functions of the elements at one place, as ONNX writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import layers, ops

from tests.export.single_layers import Case, In, both, check, together

POSITIVE = (In((4, 5, 3), low=0.1, high=3.0),)
UNIT = (In((4, 5, 3), low=-0.99, high=0.99),)
ABOVE_ONE = (In((4, 5, 3), low=1.01, high=4.0),)
TINY = (In((4, 5, 3), low=-1e-4, high=1e-4),)
TWO = (In((4, 5, 3)), In((1, 5, 3)))
WHOLE = (In((4, 5, 3), "int32", -9, 9),)
WHOLES = (In((4, 5, 3), "int32", -9, 9), In((1, 5, 3), values=[-3, -2, 1, 2, 4], dtype="int32"))
TRUTHS = (In((4, 5, 3), "bool"), In((1, 5, 3), "bool"))
ODD = (In((4, 5, 3), values=[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5]),)
ODD_TWO = (*ODD, In((1, 5, 3), values=[np.nan, 0.0, 1.5, -2.5]))

REAL = (
    "abs absolute ceil cos cosh erf erfc exp exp2 expm1 fabs floor negative sign sin sinc sinh square tan tanh arctan "
    "arcsinh cbrt deg2rad rad2deg trunc round reciprocal real conj conjugate imag angle isreal"
)
ROOTS = "log log2 log10 log1p sqrt rsqrt"
SHARES = "arccos arcsin arctanh erfinv i0"
ODD_ONES = "isfinite isinf isnan isneginf isposinf nan_to_num signbit"
OF_INTS = "abs sign square negative exp sin ceil floor round trunc isnan isfinite"
MERGING = "Add Subtract Multiply Average Maximum Minimum"
OF_TRUTHS = "logical_and logical_or logical_xor equal not_equal"
PAIRS = (
    "add subtract multiply divide true_divide maximum minimum arctan2 hypot heaviside logaddexp logaddexp2 mod fmod "
    "floor_divide equal not_equal greater greater_equal less less_equal isclose divide_no_nan fmax fmin ldexp"
)
OF_WHOLES = (
    "add subtract multiply divide maximum minimum mod fmod floor_divide equal not_equal greater less less_equal "
    "greater_equal fmax fmin"
)


def _op(name: str) -> Any:
    return getattr(ops, name)


def _ldexp(x: Any, y: Any) -> Any:
    return ops.ldexp(x, ops.cast(ops.round(y), "int32"))


CASES = [
    *both("functions", together({name: _op(name) for name in REAL.split()}), rtol=2e-6),
    *both("functions of positive numbers", together({name: _op(name) for name in ROOTS.split()}), POSITIVE),
    *both("functions of shares", together({name: _op(name) for name in SHARES.split()}), UNIT),
    *both("arccosh", ops.arccosh, ABOVE_ONE),
    Case("functions of odd numbers", together({name: _op(name) for name in ODD_ONES.split()}), ODD),
    *both(
        "functions of two", together({name: _ldexp if name == "ldexp" else _op(name) for name in PAIRS.split()}), TWO
    ),
    Case("functions of two ints", together({name: _op(name) for name in OF_WHOLES.split()}), WHOLES),
    Case("functions of ints", together({name: _op(name) for name in OF_INTS.split()}), WHOLE),
    Case("functions of truths", together({name: _op(name) for name in OF_TRUTHS.split()}), TRUTHS),
    Case("power of ints", lambda x: ops.power(x, 3), WHOLE),
    *both("logical_not", ops.logical_not),
    *both("logical_and of floats", lambda x: ops.logical_and(x > 0, x)),
    Case(
        "functions of two odd numbers",
        together({name: _op(name) for name in ("fmax", "fmin", "divide_no_nan", "isclose")}),
        ODD_TWO,
        reference=False,
    ),
    Case("functions of tiny numbers", lambda x: [ops.expm1(x), ops.log1p(x)], TINY),
    *both("power", ops.power, (In((4, 5, 3), low=0.1, high=2.0), In((1, 5, 3)))),
    *both("power of a number", lambda x: 2.0**x),
    *both("constants", lambda x: (3.0 - x) * np.arange(15, dtype="float32").reshape(5, 3) / 2.0 + 1),
    *both("a constant of one axis", lambda x: x + np.arange(3, dtype="float32")),
    *both("scalars on the left", lambda x: ops.maximum(0.5, ops.subtract(1, x))),
    *both("longer constant", lambda x: ops.add(x, np.ones((2, 1, 4, 5, 3), "float32"))),
    *both("clip", lambda x: ops.clip(x, -0.5, 0.7)),
    Case("clip of ints", lambda x: ops.clip(x, -3, 4), WHOLE),
    *both("round to decimals", lambda x: ops.round(x, 1)),
    Case("round ints to tens", lambda x: ops.round(x * 7, -1), WHOLE),
    *both("where", lambda x, y: ops.where(x > 0, y, x * 2.0), TWO),
    *both("where with numbers", lambda x: ops.where(x > 0, 1.0, x)),
    Case("where of ints", lambda x: ops.where(x > 0, x, 7), WHOLE),
    *both("nan_to_num with numbers", lambda x: ops.nan_to_num(x, nan=3.0, posinf=7.0, neginf=-7.0), ODD),
    *both("zeros and ones", lambda x: [ops.zeros_like(x), ops.ones_like(x), ops.full_like(x, 2.5)]),
    Case("ones in another dtype", lambda x: ops.ones_like(x, dtype="int32")),
    *both("isclose with nan", lambda x, y: ops.isclose(x, y, rtol=0.3, atol=0.1, equal_nan=True), TWO),
    Case("bitwise_not", lambda x: [ops.bitwise_not(x), ops.bitwise_invert(x)], WHOLE),
    Case(
        "bitwise of ints",
        lambda x, y: [ops.bitwise_and(x, y), ops.bitwise_or(x, y), ops.bitwise_xor(x, y)],
        WHOLES,
    ),
    Case(
        "shifts",
        lambda x: [
            ops.left_shift(x, 2),
            ops.right_shift(x, 1),
            ops.bitwise_left_shift(x, 1),
            ops.bitwise_right_shift(x, 2),
        ],
        WHOLE,
    ),
    Case("narrow ints", lambda x: [x + x, x * 2, ops.maximum(x, 3), x > 2], (In((4,), "uint8", 0, 200),)),
    Case("floats and ints", lambda x, y: [x * y, x > y, ops.where(y > 0, x, y)], (In((4,)), In((4,), "int32", -2, 3))),
    *both("cast", lambda x: [ops.cast(x, "int32"), ops.cast(x, "bool"), ops.cast(x > 0, "float32")]),
    Case("saturate_cast", lambda x: [ops.saturate_cast(x * 300, "uint8"), ops.saturate_cast(x * 300, "int8")]),
    *both("copy", lambda x: ops.copy(x) + 1.0),
    *both("isin", lambda x: ops.isin(ops.round(x), np.array([1.0, -1.0], "float32"))),
    *both("isin inverted", lambda x: ops.isin(ops.round(x), [1, 2], invert=True)),
    *both("digitize", lambda x: ops.digitize(x, np.array([-1.0, 0.0, 0.5]))),
    *[
        case
        for name in ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]
        for case in both(name, lambda x, y, name=name: getattr(layers, name)()([x, y]), (In((4, 5, 3)), In((4, 5, 3))))
    ],
    *both("Add of three", lambda x, y, z: layers.Add()([x, y, z]), (In((4, 5, 3)), In((4, 1, 3)), In((1, 1, 3)))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions(case: Case) -> None:
    check(case)
