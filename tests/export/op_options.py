"""Every op alone in a model, once per set of options, shapes and dtypes: what the sweep of files is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from keras import ops

from tests.export.options import OPEN, Options, called
from tests.export.single_layers import Case, In

SHAPE = (4, 5, 3)
RANGES = {"float32": (-2.0, 2.0), "int32": (-9, 9), "int64": (-9, 9), "int8": (-9, 9), "uint8": (0, 18), "bool": (0, 1)}
WHOLE = ("int32", "int64", "uint8")


def typed(dtype: str, shape: tuple[int | None, ...] = SHAPE, low: float | None = None, high: float | None = None) -> In:
    """An input of a dtype with values that suit it."""
    least, most = RANGES[dtype]
    return In(shape, dtype, least if low is None else low, most if high is None else high)


def ops_of(name: str, inputs: Sequence[In], *several: Options, **more: Any) -> Iterator[Case]:
    """One case per set of options; those under ``then`` stand behind the tensors, those under ``first`` before."""
    for options in several or ({},):
        said = ", ".join(f"{key}={_shown(value)}" for key, value in options.items())
        yield called(f"ops.{name}({said})", _op(name, options), inputs, **more)


def of_list(name: str, inputs: Sequence[In], *several: Options, **more: Any) -> Iterator[Case]:
    """One case per set of options of an op that takes a list of tensors."""
    for options in several or ({},):
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        yield called(f"ops.{name}({said})", _of_list(name, options), inputs, **more)


def called_each(name: str, make: Any, *several: Sequence[In], **more: Any) -> Iterator[Case]:
    """One case of a function per set of inputs; what is special in it stands behind the op's name and a point."""
    op, _, said = name.partition(".")
    for inputs in several:
        yield called(f"ops.{op}({said})", make, inputs, **more)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist()) if value.size < 7 else f"array{value.shape}"
    return f"({', '.join(map(_shown, value))})" if isinstance(value, tuple) else str(value)


def _op(name: str, options: Options) -> Any:
    def make(*xs: Any) -> Any:
        given = dict(options)
        return _flat(attrgetter(name)(ops)(*given.pop("first", ()), *xs, *given.pop("then", ()), **given))

    return make


def _of_list(name: str, options: Options) -> Any:
    return lambda *xs: _flat(attrgetter(name)(ops)(list(xs), **options))


def _flat(found: Any) -> Any:
    return list(found) if isinstance(found, (tuple, list)) else found


REAL = (
    "abs absolute ceil cos cosh erf erfc exp exp2 expm1 fabs floor negative sign sin sinc sinh square tan tanh arctan "
    "arcsinh cbrt deg2rad rad2deg trunc round real conj conjugate imag angle isreal isfinite isinf isnan isneginf "
    "isposinf nan_to_num signbit logical_not zeros_like ones_like copy relu relu6 sigmoid silu softplus softsign "
    "hard_sigmoid hard_silu hard_tanh log_sigmoid selu elu celu gelu leaky_relu tanh_shrink soft_shrink hard_shrink "
    "squareplus sparse_plus sparse_sigmoid"
)
OF_WHOLE = (
    "abs ceil exp floor sign square negative round trunc sqrt sin tanh isfinite isnan signbit logical_not zeros_like "
    "ones_like copy nan_to_num log real isreal fabs imag angle exp2 log1p"
)
SIGNED = ("abs", "sign", "negative", "square", "ceil", "round", "signbit", "floor", "trunc")
WITHOUT = {"int32": SIGNED, "int64": SIGNED, "uint8": ("negative",), "bool": ("sign", "negative", "round", "real")}
POSITIVE = "log log2 log10 log1p sqrt rsqrt reciprocal"
PAIRS = (
    "add subtract multiply divide true_divide maximum minimum arctan2 hypot heaviside logaddexp logaddexp2 mod fmod "
    "floor_divide equal not_equal greater greater_equal less less_equal isclose divide_no_nan fmax fmin logical_and "
    "logical_or logical_xor"
)
BITS = "bitwise_and bitwise_or bitwise_xor"


def elements() -> Iterator[Case]:
    """Functions of the elements at one place."""
    for name in REAL.split():
        yield from ops_of(name, (typed("float32"),))
    for name in POSITIVE.split():
        yield from ops_of(name, (typed("float32", low=0.1),))
    for name in ("arccos", "arcsin", "arctanh"):
        yield from ops_of(name, (typed("float32", low=-0.99, high=0.99),))
    yield from ops_of("arccosh", (typed("float32", low=1.01, high=4),))
    for dtype in (*WHOLE, "bool"):
        for name in OF_WHOLE.split():
            if name not in WITHOUT.get(dtype, ()):
                yield from ops_of(name, (typed(dtype, low=1),))
    yield from ops_of("sinc", (typed("int32"),))
    for name in SIGNED:
        for dtype in ("int8", "int32", "int64"):
            yield from ops_of(name, (typed(dtype),))
    for name in PAIRS.split():
        yield from ops_of(name, (typed("float32"), typed("float32", (1, 5, 3))))
        for one, two in (("int64", "int64"), ("uint8", "uint8"), ("int32", "float32")):
            yield from ops_of(name, (typed(one), typed(two, (1, 5, 3), low=1)))
        if name not in ("hypot", "heaviside"):  # of which Keras takes tensors only
            yield from ops_of(name, (typed("int32"),), {"then": (3,)}, {"then": (2.5,)})
            yield from ops_of(name, (typed("float32"),), {"first": (2.5,)})
    for name in ("equal", "not_equal", "logical_and", "logical_or", "logical_xor"):
        yield from ops_of(name, (typed("bool"), typed("bool", (1, 5, 3))))
    for dtype in (*WHOLE, "int8"):
        for name in BITS.split():
            for opset in (17, 18):
                pair = (typed(dtype), typed(dtype, (1, 5, 3)))
                yield from called_each(f"{name}.{opset}", attrgetter(name)(ops), pair, opset=opset)
        for name in ("bitwise_not", "bitwise_invert"):
            yield from ops_of(name, (typed(dtype),))
    for name in ("left_shift", "right_shift", "bitwise_left_shift", "bitwise_right_shift"):
        for dtype in WHOLE:
            yield from ops_of(name, (typed(dtype),), {"then": (2,)})
            yield from ops_of(name, (typed(dtype), typed(dtype, low=0, high=4)))
    for name in ("gcd", "lcm"):
        yield from ops_of(name, (typed("int32", low=1), typed("int32", low=1)))
    for name in ("i0", "erfinv"):
        yield from ops_of(name, (typed("float32", low=-0.9, high=0.9),))
    yield from ops_of("nextafter", (typed("float32"), typed("float32")))
    yield from ops_of("ldexp", (typed("float32"), typed("int32")))
    yield from ops_of("power", (typed("float32", low=0.1), typed("float32", (1, 5, 3))))
    for dtype in WHOLE:
        yield from ops_of("power", (typed(dtype),), {"then": (3,)})
        yield from ops_of("power", (typed(dtype), typed(dtype, low=0, high=3)))
        yield from ops_of("clip", (typed(dtype),), {"then": (2, 5)})
        yield from ops_of("full_like", (typed(dtype),), {"then": (7,)})
        for to in ("float32", "bool", "uint8", "int64", "int32", "int8"):
            yield from ops_of("cast", (typed(dtype),), {"dtype": to})
    for to in ("bool", "uint8", "int64", "int32", "int8"):
        yield from ops_of("cast", (typed("float32", low=0, high=9),), {"dtype": to})
        yield from ops_of("cast", (typed("bool"),), {"dtype": to})
        if to != "bool":
            yield from ops_of("saturate_cast", (typed("float32", low=-300, high=300),), {"dtype": to})
            yield from ops_of("saturate_cast", (typed("int32", low=-300, high=300),), {"dtype": to})
    bounds = np.array([-0.5, 0, 0.5], "float32")
    yield from ops_of("clip", (typed("float32"),), {"then": (-0.5, 0.7)}, {"then": (bounds, 0.7)})
    yield from ops_of("clip", (typed("bool"),), {"then": (0, 1)})
    yield from ops_of("round", (typed("float32"),), {"decimals": 1}, {"decimals": -1})
    yield from ops_of("round", (typed("int32", low=-99, high=99),), {"decimals": 1}, {"decimals": -1})
    for dtype in ("float32", *WHOLE, "int8", "bool"):
        yield from ops_of("where", (typed("bool"), typed(dtype), typed(dtype, (1, 1, 3))))
    yield from ops_of("where", (typed("bool"),), {"then": (1.0, 2.0)}, {"then": (1, 2)})
    yield from ops_of("where", (typed("int32"), typed("float32"), typed("int32")))
    yield from ops_of("full_like", (typed("float32"),), {"then": (2.5,)}, {"then": (2,), "dtype": "int32"})
    yield from ops_of("isin", (typed("int32"),), {"then": ([1, 2, 3],)}, {"then": ([1, 2],), "invert": True})
    yield from ops_of("digitize", (typed("float32"),), {"then": (bounds,)})
    yield from ops_of("digitize", (typed("int32"),), {"then": (np.array([-2, 0, 4]),)})
    for dtype in ("float32", *WHOLE):
        yield from called_each("select", lambda x: ops.select([x > 1, x < 1], [x, x * 2], 0), (typed(dtype),))
    yield from ops_of("threshold", (typed("float32"),), {"threshold": 0.5, "default_value": -1})
    yield from ops_of("softmax", (typed("float32"),), {}, {"axis": 1})
    yield from ops_of("log_softmax", (typed("float32"),), {}, {"axis": 1})
    yield from ops_of("sparsemax", (typed("float32"),), {}, {"axis": 1})
    yield from ops_of("glu", (typed("float32", (4, 6)),), {}, {"axis": 1})
    yield from ops_of("gelu", (typed("float32"),), {"approximate": False})


REDUCING = (
    "sum mean max min amax amin prod var std logsumexp ptp all any count_nonzero median nansum nanprod nanmax nanmin "
    "nanmean nanvar nanstd"
)
ARGS = "argmax argmin nanargmax nanargmin"


def reductions() -> Iterator[Case]:
    """Reductions, orders and cumulations."""
    loose: dict[str, Any] = {"rtol": 2e-5}
    for name in REDUCING.split():
        keeps: Options = {"axis": 2} if name == "count_nonzero" else {"axis": 2, "keepdims": True}
        yield from ops_of(name, (typed("float32"),), {"axis": -1}, {"axis": (1, 2)}, {"axis": (-1, 1)}, keeps, **loose)
        yield from ops_of(name, (typed("float32"),), {}, fixed=True, **loose)
        yield from ops_of(name, OPEN[1], {"axis": -1}, {"axis": 1}, **loose)
        for dtype in (*WHOLE, "bool"):
            if not (name == "logsumexp" or (name == "ptp" and dtype == "bool")):
                yield from ops_of(name, (typed(dtype, high=3 if "prod" in name else None),), {"axis": (1, 3)})
    for name in ARGS.split():
        yield from ops_of(name, (typed("float32"),), {"axis": -1}, {"axis": 1}, {"axis": 2, "keepdims": True}, {})
        for dtype in (*WHOLE, "int8", "bool"):
            yield from ops_of(name, (typed(dtype),), {"axis": 1}, {"axis": -1, "keepdims": True})
    for name in ("sort", "argsort"):
        for dtype in ("float32", *WHOLE, "int8"):
            yield from ops_of(name, (typed(dtype),), {"axis": -1}, {"axis": 1})
        yield from ops_of(name, (typed("float32"),), {"axis": None}, fixed=True)
        yield from ops_of(name, OPEN[1], {"axis": -1}, {"axis": 1})
    for dtype in ("float32", *WHOLE, "int8"):
        yield from ops_of("top_k", (typed(dtype, (4, 7)),), {"k": 1}, {"k": 3}, {"k": 7})
    for name in ("cumsum", "cumprod", "nancumsum", "nancumprod"):
        high = 3 if "prod" in name else None
        yield from ops_of(name, (typed("float32"),), {"axis": 1}, {"axis": -1})
        yield from ops_of(name, (typed("float32"),), {}, fixed=True)
        for dtype in (*WHOLE, "bool"):
            yield from ops_of(name, (typed(dtype, high=high),), {"axis": 1})
        yield from ops_of(name, OPEN[1], {"axis": 1})
        yield from ops_of(name, (typed("int32", high=high),), {"axis": -1, "dtype": "float32"})
    for order in (None, 1, 2, 3, 0, np.inf, -np.inf):
        yield from ops_of("norm", (typed("float32"),), {"ord": order, "axis": 2}, {"ord": order, "axis": -1}, **loose)
    for matrix_order in ("fro", 1, -1, np.inf, -np.inf):
        yield from ops_of("norm", (typed("float32"),), {"ord": matrix_order, "axis": (1, 3), "keepdims": True}, **loose)
    yield from ops_of("norm", (typed("int32"),), {"axis": 1}, **loose)
    yield from ops_of("norm", OPEN[1], {"axis": 1}, **loose)
    yield from ops_of("average", (typed("float32"),), {"axis": 1}, {"axis": 2, "weights": np.arange(1.0, 6.0)})
    yield from ops_of("average", (typed("int32"),), {"axis": 1})
    yield from ops_of("moments", (typed("float32"),), {"axes": [1, 2]}, {"axes": [-1], "keepdims": True}, **loose)
    for dtype in ("float32", *WHOLE):
        yield from ops_of("diff", (typed(dtype),), {"axis": 1}, {"n": 2, "axis": 2})
        yield from ops_of("max", (typed(dtype),), {"axis": 1, "initial": 2})
        yield from ops_of("sum", (typed(dtype, (None, 3)),), {"axis": 1})
        yield from ops_of("trace", (typed(dtype),), {"axis1": 1, "axis2": 2}, {"axis1": 1, "axis2": -1, "offset": 1})
    for method in ("linear", "lower", "higher", "nearest", "midpoint"):
        yield from ops_of("percentile", (typed("float32"),), {"q": 30, "axis": 2, "method": method})
    yield from ops_of("percentile", (typed("int32"),), {"q": 30, "axis": 2})
    yield from ops_of("quantile", (typed("float32"),), {"q": [0.1, 0.5], "axis": 2}, {"q": 0.3, "axis": (1, 2)})
    for name in ("nanmedian",):
        yield from ops_of(name, (typed("float32"),), {"axis": 1})
    for name in ("sum", "max", "min", "prod"):
        for dtype in ("float32", "int32"):
            yield from called_each(
                f"segment_{name}",
                lambda x, name=name: getattr(ops, f"segment_{name}")(x[0], np.array([0, 2, 1, 2]), num_segments=3),
                (typed(dtype, (4, 3)),),
            )
    yield from ops_of("trapezoid", (typed("float32"),), {}, {"dx": 0.5, "axis": 1})
