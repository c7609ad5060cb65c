"""Reductions, orders and cumulations, as ONNX writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from tests.export.single_layers import Case, In, both, check, together

WHOLE = (In((4, 5, 3), "int32", -9, 9),)
NAN = (In((4, 5, 3), values=[np.nan, 0.5, -1.25, 2.0]),)
DISTINCT = (In((4, 5, 3), low=-9.0, high=9.0),)
AXES = (-1, 1, (1, 2), (-1, 2), None)
OF_INTS = "sum mean max min prod var std any all count_nonzero argmax sort cumsum"
WITH_NAN = "nansum nanprod nanmax nanmin nanmean nanvar nanstd"
ALONG_WITH_NAN = "nanargmax nanargmin nancumsum nancumprod"
STATISTICS = (
    "sum mean max min amax amin prod var std logsumexp ptp all any count_nonzero average norm nansum nanmean nanmax"
)


def _keeps(name: str) -> bool:
    return name not in ("average", "count_nonzero")


def _takes(name: str, axis: Any) -> bool:
    if name == "prod":
        return axis is not None
    return not (name == "norm" and axis is None) and not (name == "average" and isinstance(axis, tuple))


def _norm(order: Any, axis: Any) -> Any:
    return lambda x: ops.norm(x, ord=order, axis=axis)


def _over(name: str, axis: Any, **options: Any) -> Any:
    return lambda x: getattr(ops, name)(x, axis=axis, **options)


CASES = [
    *[
        case
        for axis in AXES
        for case in both(
            f"statistics over {axis}",
            together({name: _over(name, axis) for name in STATISTICS.split() if _takes(name, axis)}),
            rtol=2e-5,
        )
    ],
    *both(
        "statistics, kept",
        together({name: _over(name, 2, keepdims=True) for name in STATISTICS.split() if _keeps(name)}),
        rtol=2e-5,
    ),
    Case("statistics of ints", together({name: _over(name, 1) for name in OF_INTS.split()}), WHOLE),
    Case("statistics with nan", together({name: _over(name, (1, 2)) for name in WITH_NAN.split()}), NAN),
    Case("along an axis with nan", together({name: _over(name, 2) for name in ALONG_WITH_NAN.split()}), NAN),
    *both("sum of truths", lambda x: ops.sum(x > 0, axis=(1, 2))),
    *both("max with initial", lambda x: [ops.max(x, axis=-1, initial=1.5), ops.min(x, axis=1, initial=-0.5)]),
    *both("moments", lambda x: ops.moments(x, axes=[1, 2])),
    *both("moments kept", lambda x: ops.moments(x, axes=[0], keepdims=True)),
    *both("norms", together({f"of order {order}": _norm(order, 2) for order in (1, 2, 3, 0, np.inf, -np.inf)})),
    *both(
        "matrix norms",
        together(
            {
                f"of order {order} {axes}": _norm(order, axes)
                for order in ("fro", 1, -1, np.inf, -np.inf)
                for axes in ((1, 3), (3, 1))
            }
        ),
    ),
    *both("average with weights", lambda x: ops.average(x, axis=2, weights=np.arange(1, 6, dtype="float32"))),
    *both(
        "average with as many weights",
        lambda x, y: ops.average(x, axis=2, weights=y),
        (In((4, 5, 3)), In((4, 5, 3), low=0.1)),
    ),
    *both(
        "argmax and argmin",
        together({f"{name} over {axis}": _over(name, axis) for name in ("argmax", "argmin") for axis in (-1, 1, None)}),
    ),
    *both("argmax kept", lambda x: [ops.argmax(x, axis=2, keepdims=True), ops.argmin(x, axis=-1, keepdims=True)]),
    *both("sort and argsort", lambda x: [ops.sort(x, axis=2), ops.argsort(x), ops.argsort(x, axis=1)]),
    Case("argsort everything", lambda x: ops.argsort(x, axis=None), DISTINCT, fixed=True),
    Case("sort a free length", lambda x: ops.sort(x, axis=1), (In((None, 4)),)),
    *both("top_k", lambda x: list(ops.top_k(x, 2))),
    Case("top_k of ints", lambda x: list(ops.top_k(x, 3)), (In((7,), "int32", -50, 50),)),
    *both("cumsum", lambda x: [ops.cumsum(x, axis=1), ops.cumsum(x, axis=-1)]),
    Case("cumsum of everything", lambda x: ops.cumsum(x)),
    *both("cumprod", lambda x: [ops.cumprod(x, axis=2), ops.cumprod(x, axis=-1)]),
    *both("diff", lambda x: [ops.diff(x, axis=2), ops.diff(x, n=2, axis=1)]),
    *both(
        "median", lambda x: [ops.median(x, axis=2), ops.median(x, axis=(1, -1)), ops.median(x, axis=1, keepdims=True)]
    ),
    *[
        case
        for method in ("linear", "lower", "higher", "nearest", "midpoint")
        for case in both(
            f"quantile {method}",
            lambda x, method=method: [
                ops.percentile(x, 30, axis=2, method=method),
                ops.percentile(x, 71, axis=(1, 2), keepdims=True, method=method),
            ],
        )
    ],
    *both(
        "quantiles",
        lambda x: [ops.quantile(x, [0.1, 0.5, 1.0], axis=2), ops.percentile(x, [10, 90], axis=1, keepdims=True)],
    ),
    *both("glu", lambda x: [ops.glu(x, axis=1)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reductions(case: Case) -> None:
    check(case)
