"""What TFLite has for ONNX's functions of the elements at one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation


def broadcast(*several: Sizes) -> Sizes:
    """The sizes of what tensors of these sizes broadcast to."""
    found: list[int | None] = []
    for sizes in zip_longest(*(each[::-1] for each in several), fillvalue=1):
        known = [size for size in sizes if size not in (1, None)]
        found.append(known[0] if known else None if None in sizes else 1)
    return tuple(found[::-1])


def _unary(kind: str, **options: Any) -> Translation:
    def add(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
        return [call.native(kind, x, sizes=call.sizes(x), **options)]

    return add


def _binary(kind: str, dtype: str | None = None) -> Translation:
    def add(call: TfliteCall, *names: str, outputs: int) -> list[str]:
        x, *others = names
        for y in others:
            sizes = broadcast(call.sizes(x), call.sizes(y))
            x = call.native(kind, x, y, sizes=sizes, dtype=dtype or call.type_of(x))
        return [x]

    return add


def _formula(formula: Callable[..., Term]) -> Translation:
    """Composed of others: the formula is given terms, and the attributes."""

    def add(call: TfliteCall, *names: str, outputs: int, **attributes: Any) -> list[str]:
        terms = [Term(call, name, call.type_of(name)) for name in names]
        return [formula(*terms, **attributes).name]

    return add


def clipped(call: TfliteCall, x: str, low: Any, high: Any) -> str:
    """A tensor between two bounds, either of which may be missing."""
    low, high = (None if bound is None or not np.isfinite(bound) else float(bound) for bound in (low, high))
    ranges = {(0.0, None): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 1.0): "RELU_0_TO_1"}
    if call.type_of(x) == "float32" and (low, high) in ranges:
        return call.native(ranges[low, high], x, sizes=call.sizes(x))
    made = Term(call, x, call.type_of(x))
    made = made if low is None else made.op("Max", low)
    return (made if high is None else made.op("Min", high)).name


def _clip(call: TfliteCall, x: str, low: str | None = None, high: str | None = None, *, outputs: int) -> list[str]:
    bounds = (None if name is None else call.value(name, "bounds").item() for name in (low, high))
    return [clipped(call, x, *bounds)]


def _where(call: TfliteCall, condition: str, one: str, other: str, *, outputs: int) -> list[str]:
    sizes = broadcast(*(call.sizes(name) for name in (condition, one, other)))
    return [call.native("SELECT_V2", condition, one, other, sizes=sizes, dtype=call.type_of(one))]


def _softplus(x: Term) -> Term:
    return x.op("Relu") + ((-x.op("Abs")).op("Exp") + 1.0).op("Log")


def _hard_sigmoid(x: Term, alpha: float = 0.2, beta: float = 0.5) -> Term:
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return x.named(clipped(x.call, (x + 3.0).name, 0, 6)) * (1 / 6)  # type: ignore[arg-type]  # a TfliteCall
    return x.named(clipped(x.call, (x * alpha + beta).name, 0, 1))  # type: ignore[arg-type]


def _elu(x: Term, alpha: float = 1.0) -> Term:
    made = x.named(x.call.native("ELU", x.name, sizes=x.call.sizes(x.name)))  # type: ignore[attr-defined]
    return made if alpha == 1 else x.op("Relu") + made.op("Min", 0.0) * alpha


def _shrink(x: Term, lambd: float = 0.5, bias: float = 0.0) -> Term:
    moved = x + (x < 0.0).where(x.other(bias), -bias) if bias else x
    return (x.op("Abs") > lambd).where(moved, 0.0)


def _leaky(call: TfliteCall, x: str, *, outputs: int, alpha: float = 0.01) -> list[str]:
    return [call.native("LEAKY_RELU", x, sizes=call.sizes(x), alpha=float(alpha))]


def _gelu(call: TfliteCall, x: str, *, outputs: int, approximate: str = "none") -> list[str]:
    return [call.native("GELU", x, sizes=call.sizes(x), approximate=approximate == "tanh")]


def _prelu(call: TfliteCall, x: str, slopes: str, *, outputs: int) -> list[str]:
    own = call.sizes(x)
    if call.is_constant(slopes):
        array = call.value(slopes)
        if array.ndim < len(own) - 1:
            slopes = call.constant(array.reshape((1,) * (len(own) - 1 - array.ndim) + array.shape))
        if array.ndim == len(own) and array.shape[0] == 1:
            slopes = call.constant(array[0])
    return [call.native("PRELU", x, slopes, sizes=own)]


def along_last(kind: str, **options: Any) -> Translation:
    """An operator over the last axis, where the axis is turned to if need be."""

    def add(call: TfliteCall, x: str, *, outputs: int, axis: int = -1) -> list[str]:
        rank = len(call.sizes(x))
        order = [*(place for place in range(rank) if place != axis % rank), axis % rank]
        turned = call.transpose(x, order)
        made = call.native(kind, turned, sizes=call.sizes(turned), **options)
        return [call.transpose(made, [order.index(place) for place in range(rank)])]

    return add


def _mod(x: Term, y: Term, fmod: int = 0) -> Term:
    made = _native_mod(x, y)
    if not fmod:
        return made
    # TFLite's remainder has the sign of the divisor, C's that of the dividend.
    rest = _native_mod(x.op("Abs"), y.op("Abs"))
    return (x < x.other(0)).where(-rest, rest)


def _native_mod(x: Term, y: Term) -> Term:
    call = x.call
    assert isinstance(call, TfliteCall)
    sizes = broadcast(call.sizes(x.name), call.sizes(y.name))
    return x.named(call.native("FLOOR_MOD", x.name, y.name, sizes=sizes))


def _is_infinite(x: Term, detect_negative: int = 1, detect_positive: int = 1) -> Term:
    if detect_negative and detect_positive:
        return x.op("Abs").equals(np.inf)
    return x.equals(np.inf if detect_positive else -np.inf)


def _negative(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
    return [call.native("NEG", x, sizes=call.sizes(x))]


def _sign(x: Term) -> Term:
    if x.dtype == "int64":
        return (x > 0).to("int64") - (x < 0).to("int64")
    call = x.call
    assert isinstance(call, TfliteCall)
    return x.named(call.native("SIGN", x.name, sizes=call.sizes(x.name)))


def _arcus(y: Term, x: Term) -> Term:
    """The angle of a point; the two have the same sizes."""
    call = x.call
    assert isinstance(call, TfliteCall)
    return x.named(call.native("ATAN2", y.name, x.name, sizes=call.sizes(y.name)))


def _erf(x: Term) -> Term:
    """Abramowitz and Stegun, 7.1.26: right to 1.5e-7."""
    size = x.op("Abs")
    t = 1.0 / (size * 0.3275911 + 1.0)
    series = t * 1.061405429 - 1.453152027
    for factor in (1.421413741, -0.284496736, 0.254829592):
        series = series * t + factor
    made = 1.0 - series * t * (-(size * size)).op("Exp")
    return x.op("Sign") * made


def _beside(x: Term) -> Term:
    """The other leg of a triangle with hypotenuse 1."""
    return ((1.0 - x) * (x + 1.0)).op("Sqrt")


def _larger_log(x: Term) -> Term:
    """``asinh``, which is odd: small numbers keep their digits by a series."""
    size = x.op("Abs")
    squared = size * size
    near = size * (1.0 - squared * (1 / 6) + squared * squared * (3 / 40))
    far = (size + (squared + 1.0).op("Sqrt")).op("Log")
    made = (size < 0.05).where(near, far)
    return (x < 0.0).where(-made, made)


def _sinh(x: Term) -> Term:
    size = x.op("Abs")
    squared = size * size
    near = size * (squared * (1 / 6) + squared * squared * (1 / 120) + 1.0)
    far = (size.op("Exp") - (-size).op("Exp")) * 0.5
    made = (size < 0.2).where(near, far)
    return (x < 0.0).where(-made, made)


def _artanh(x: Term) -> Term:
    size = x.op("Abs")
    squared = size * size
    near = size * (squared * (1 / 3) + squared * squared * (1 / 5) + squared * squared * squared * (1 / 7) + 1.0)
    far = ((size + 1.0) / (1.0 - size)).op("Log") * 0.5
    made = (size < 0.1).where(near, far)
    return (x < 0.0).where(-made, made)


def _abs(x: Term) -> Term:
    if x.dtype == "int64":
        return x.op("Max", -x)
    call = x.call
    assert isinstance(call, TfliteCall)
    return x.named(call.native("ABS", x.name, sizes=call.sizes(x.name)))


def _not_equal(call: TfliteCall, x: str, y: str, *, outputs: int) -> list[str]:
    return [call.native("NOT_EQUAL", x, y, sizes=broadcast(call.sizes(x), call.sizes(y)), dtype="bool")]


def _is_nan(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
    return _not_equal(call, x, x, outputs=1)


ELEMENTS: Mapping[str, Translation] = {
    **{kind: _unary(kind.upper()) for kind in ("Exp", "Log", "Sqrt", "Floor", "Ceil", "Round", "Sin", "Cos", "Tanh")},
    "Abs": _formula(_abs),
    "Neg": _negative,
    "Sign": _formula(_sign),
    "Sigmoid": _unary("LOGISTIC"),
    "Relu": _unary("RELU"),
    "HardSwish": _unary("HARD_SWISH"),
    "Not": _unary("LOGICAL_NOT"),
    "Identity": lambda call, x, *, outputs: [x],
    "Gelu": _gelu,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Clip": _clip,
    "Softmax": along_last("SOFTMAX", beta=1.0),
    "LogSoftmax": along_last("LOG_SOFTMAX"),
    "Elu": _formula(_elu),
    "Selu": _formula(lambda x, alpha, gamma: (x.op("Relu") + x.op("Elu").op("Min", 0.0) * alpha) * gamma),
    "Erf": _formula(_erf),
    "Celu": _formula(lambda x, alpha=1.0: x.op("Relu") + (x / alpha).op("Elu").op("Min", 0.0) * alpha),
    "HardSigmoid": _formula(_hard_sigmoid),
    "Softplus": _formula(_softplus),
    "Softsign": _formula(lambda x: x / (x.op("Abs") + 1.0)),
    "Mish": _formula(lambda x: x * x.op("Softplus").op("Tanh")),
    "Swish": _formula(lambda x: x * x.op("Sigmoid")),
    "Shrink": _formula(_shrink),
    "Reciprocal": _formula(lambda x: 1.0 / x),
    "Tan": _formula(lambda x: x.op("Sin") / x.op("Cos")),
    "Sinh": _formula(_sinh),
    "Cosh": _formula(lambda x: (x.op("Exp") + (-x).op("Exp")) * 0.5),
    "Atan": _formula(lambda x: _arcus(x, x.equals(x).where(x.other(1.0), 1.0))),
    "Asin": _formula(lambda x: _arcus(x, _beside(x))),
    "Acos": _formula(lambda x: _arcus(_beside(x), x)),
    "Asinh": _formula(_larger_log),
    "Acosh": _formula(lambda x: (x + ((x - 1.0) * (x + 1.0)).op("Sqrt")).op("Log")),
    "Atanh": _formula(_artanh),
    "IsNaN": _is_nan,
    "IsInf": _formula(_is_infinite),
    "Add": _binary("ADD"),
    "Sub": _binary("SUB"),
    "Mul": _binary("MUL"),
    "Max": _binary("MAXIMUM"),
    "Min": _binary("MINIMUM"),
    "Mod": _formula(_mod),
    "Less": _binary("LESS", "bool"),
    "LessOrEqual": _binary("LESS_EQUAL", "bool"),
    "Greater": _binary("GREATER", "bool"),
    "GreaterOrEqual": _binary("GREATER_EQUAL", "bool"),
    "Equal": _binary("EQUAL", "bool"),
    "And": _binary("LOGICAL_AND", "bool"),
    "Or": _binary("LOGICAL_OR", "bool"),
    "Xor": _not_equal,
    "Where": _where,
}
"""TFLite's operators for ONNX's, by the latter's names."""
