"""Functions of the elements at one place, written to ONNX: by the name of the op or layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log, pi
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_special import (
    bessel,
    bits,
    bitwise_not,
    floor_divide,
    inverse_erf,
    logical,
    saturated,
    shift_left,
    shift_right,
)
from kerasurgeon.layers.onnx_terms import Term, common_dtype, elementwise, give, no, operands_of, term, unary, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Tensor

Write = Callable[[OnnxCall], None]
Config = Mapping[str, Any]


def write_chain(call: OnnxCall, kind: str, *, mean: bool = False) -> None:
    """Write an operator of two operands over all of them, from the first on.

    Args:
        call: The call.
        kind: The operator.
        mean: Whether the result is divided by the number of operands.
    """
    operands, dtype = operands_of(call), wide(call.output.dtype)
    if kind == "Add" and keras.config.backend() == "tensorflow":
        _refuse_bias(operands)
    order = call.best_order(*operands)
    made, *others = (Term(call, call.aligned(operand, order, dtype), dtype) for operand in operands)
    for other in others:
        made = made.op(kind, other)
    give(call, made * (1 / len(operands)) if mean else made, order)


def _refuse_bias(operands: Sequence[Tensor]) -> None:
    """Refuse a sum that TensorFlow takes for that of a bias along another axis than broadcasting says.

    Raises:
        CannotTell: It is one.
    """
    first = operands[0].shape
    for other in operands[1:]:
        long = [axis - other.rank for axis, size in enumerate(other.shape) if size != 1]
        if len(long) != 1 or len(first) < 2 or other.shape[long[0]] is None:
            continue
        size = other.shape[long[0]]
        taken = -1 if size == first[-1] else 1 - len(first) if size == first[1] else None
        if taken not in (None, long[0]):
            raise CannotTell("with TensorFlow, Keras adds an operand of one long axis along another axis")


def _chain(kind: str) -> Write:
    return lambda call: write_chain(call, kind)


def _compare(kind: str, *, negated: bool = False) -> Write:
    def formula(config: Config, x: Term, y: Term) -> Term:
        made = x.op(kind, y, dtype="bool")
        return ~made if negated else made

    def write(call: OnnxCall) -> None:
        plain = kind == "Equal" and common_dtype(call) == "bool"
        elementwise(formula, compute="bool" if plain else "operands")(call)

    return write


def _is_whole(x: Term) -> bool:
    return "float" not in x.dtype


def _expm1(config: Config, x: Term) -> Term:
    # exp(x) - 1 loses the digits of small numbers.
    return (x * 0.5).op("Tanh") * (x.op("Exp") + 1.0)


def log1p(x: Term) -> Term:
    """``log(1 + x)``, also of small numbers."""
    small = (x / (x + 2.0)).op("Atanh") * 2.0
    return (x.op("Abs") < 0.5).where(small, (x + 1.0).op("Log"))


def _log_add_exp(base: float) -> Write:
    def formula(config: Config, x: Term, y: Term) -> Term:
        apart = -(x - y).op("Abs")
        more = (apart * log(base)).op("Softplus") * (1 / log(base)) if base != np.e else apart.op("Softplus")
        return x.equals(y).where(x + log(2) / log(base), x.op("Max", y) + more)

    return elementwise(formula)


def arctan2(config: Config, y: Term, x: Term) -> Term:
    """The angle of the point (x, y)."""
    zero = x.equals(0.0) & y.equals(0.0)
    angle = (y / zero.where(1.0, x)).op("Atan")
    turned = angle + (y < 0.0).where(x.other(-pi), pi)
    return (x < 0.0).where(turned, angle)


def _mod(config: Config, x: Term, y: Term) -> Term:
    if _is_whole(x):
        return x.op("Mod", y)
    rest = x.op("Mod", y, fmod=1)
    return ((rest * y) < 0.0).where(rest + y, rest)


def _round(config: Config, x: Term) -> Term:
    factor = float(10.0 ** int(config.get("decimals", 0)))
    if _is_whole(x):
        if factor >= 1:
            return x
        return ((x.to("float32") * factor).op("Round") / factor).to(x.dtype)
    return x.op("Round") if factor == 1 else (x * factor).op("Round") / factor


def _trunc(config: Config, x: Term) -> Term:
    return x if _is_whole(x) else (x < 0.0).where(x.op("Ceil"), x.op("Floor"))


def _whole_or(kind: str) -> Write:
    return elementwise(lambda config, x: x if _is_whole(x) else x.op(kind))


def _sign_bit(config: Config, x: Term) -> Term:
    return x < 0 if _is_whole(x) else (x < 0.0) | ((1.0 / x) < 0.0) & x.equals(0.0)


def _f_extremum(kind: str) -> Callable[..., Term]:
    def formula(config: Config, x: Term, y: Term) -> Term:
        if _is_whole(x):
            return x.op(kind, y)
        return is_nan(x).where(y, is_nan(y).where(x, x.op(kind, y)))

    return formula


def is_nan(x: Term) -> Term:
    """Whether elements are no numbers."""
    return x.op("IsNaN", dtype="bool")


def _is(what: str, **attributes: Any) -> Write:
    def formula(config: Config, x: Term) -> Term:
        x = x.to("float32") if _is_whole(x) else x
        made = x.op("IsInf" if what != "IsNaN" else what, dtype="bool", **attributes)
        return ~(made | is_nan(x)) if what == "finite" else made

    return elementwise(formula, compute="operands")


def is_close(config: Config, x: Term, y: Term, rtol: Any = 1e-5, atol: Any = 1e-8) -> Term:
    """Whether elements are as good as equal."""
    if _is_whole(x):
        return x.equals(y)
    bound: Term = y.op("Abs") * rtol + atol
    made = (x - y).op("Abs") <= bound
    return made | (is_nan(x) & is_nan(y)) if config.get("equal_nan") else made


def _nan_to_num(config: Config, x: Term) -> Term:
    if _is_whole(x):
        return x
    largest = float(np.finfo(np.float32 if x.dtype == "bfloat16" else x.dtype).max)
    above, below = config.get("posinf"), config.get("neginf")
    x = is_nan(x).where(config.get("nan", 0.0), x)
    x = x.op("IsInf", dtype="bool", detect_negative=0).where(largest if above is None else above, x)
    return x.op("IsInf", dtype="bool", detect_positive=0).where(-largest if below is None else below, x)


def _clip(call: OnnxCall) -> None:
    order, dtype = call.input.order, wide(call.output.dtype)
    x = term(call, call.input, order, dtype)
    for kind, given in (("Max", call.config["x_min"]), ("Min", call.config["x_max"])):
        bound = call.as_tensor(given, dtype)
        if bound is not None and bound.rank > call.input.rank:
            raise CannotTell("its bounds have more axes than it")
        x = x if bound is None else x.op(kind, x.named(call.aligned(bound, order, dtype)))
    give(call, x, order)


def _where(call: OnnxCall) -> None:
    operands = [call.as_tensor(call.operand(*place)) for place in ((0, "condition"), (1, "x1"), (2, "x2"))]
    condition, one, other = operands
    if condition is None or one is None or other is None:
        raise CannotTell("what it gives depends on how many elements are not zero")
    order, dtype = call.best_order(condition, one, other), call.output.dtype
    chosen, first, second = (
        Term(call, call.aligned(operand, order, each), each)
        for operand, each in ((condition, "bool"), (one, dtype), (other, dtype))
    )
    give(call, chosen.where(first, second), order)


def _filled(number: float | None) -> Write:
    def write(call: OnnxCall) -> None:
        operand, dtype = call.input, call.output.dtype
        given = number if number is not None else call.operand(1, "fill_value")
        filling = call.as_tensor(given, dtype)
        if filling is None:
            raise CannotTell("what it fills with is no number")
        value = term(call, filling, None, dtype)
        give(call, value.expand(call.shape_of(operand)) if operand.rank else value.reshape([]))

    return write


def _constant(value: float) -> Write:
    return elementwise(lambda config, x: x * 0.0 + value if not _is_whole(x) else x * 0 + int(value))


FUNCTIONS: Mapping[str, Write] = {
    "divide": _chain("Div"),
    "true_divide": _chain("Div"),
    "power": _chain("Pow"),
    "maximum": _chain("Max"),
    "minimum": _chain("Min"),
    "Maximum": _chain("Max"),
    "Minimum": _chain("Min"),
    **{name: unary(name.removeprefix("arc").capitalize()) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"arc{name}": unary(f"A{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "abs": unary("Abs"),
    "absolute": unary("Abs"),
    "fabs": unary("Abs"),
    "exp": unary("Exp"),
    "log": unary("Log"),
    "sqrt": unary("Sqrt"),
    "rsqrt": unary("Sqrt", "Reciprocal"),
    "reciprocal": unary("Reciprocal"),
    "negative": unary("Neg"),
    "erf": unary("Erf"),
    "sign": unary("Sign"),
    "ceil": _whole_or("Ceil"),
    "floor": _whole_or("Floor"),
    "trunc": elementwise(_trunc),
    "round": elementwise(_round),
    "arctan2": elementwise(arctan2),
    "cbrt": elementwise(lambda config, x: x.op("Sign") * x.op("Abs").op("Pow", 1 / 3)),
    "exp2": elementwise(lambda config, x: x.other(2.0).op("Pow", x)),
    "expm1": elementwise(_expm1),
    "log1p": elementwise(lambda config, x: log1p(x)),
    "log2": elementwise(lambda config, x: x.op("Log") * (1 / log(2))),
    "log10": elementwise(lambda config, x: x.op("Log") * (1 / log(10))),
    "logaddexp": _log_add_exp(float(np.e)),
    "logaddexp2": _log_add_exp(2.0),
    "square": elementwise(lambda config, x: x * x),
    "deg2rad": elementwise(lambda config, x: x * (pi / 180)),
    "rad2deg": elementwise(lambda config, x: x * (180 / pi)),
    "sinc": elementwise(
        lambda config, x: x.equals(0.0).where(1.0, (x * pi).op("Sin") / x.equals(0.0).where(1.0, x * pi))
    ),
    "hypot": elementwise(lambda config, x, y: _hypot(x.op("Abs"), y.op("Abs"))),
    "heaviside": elementwise(lambda config, x, y: (x < 0.0).where(0.0, (x > 0.0).where(1.0, y))),
    "erfc": elementwise(lambda config, x: 1.0 - x.op("Erf")),
    "floor_divide": elementwise(floor_divide),
    "mod": elementwise(_mod),
    "fmod": elementwise(lambda config, x, y: x.op("Mod", y, fmod=1)),
    "fmax": elementwise(_f_extremum("Max")),
    "fmin": elementwise(_f_extremum("Min")),
    "divide_no_nan": elementwise(lambda config, x, y: y.equals(0.0).where(0.0, x / y)),
    "ldexp": elementwise(lambda config, x, y: x * y.other(2.0).op("Pow", y)),
    "nan_to_num": elementwise(_nan_to_num),
    "clip": _clip,
    "where": _where,
    "conj": elementwise(lambda config, x: x),
    "conjugate": elementwise(lambda config, x: x),
    "real": elementwise(lambda config, x: x),
    "imag": _constant(0.0),
    "angle": elementwise(lambda config, x: (x < 0.0).where(x.other(pi), 0.0)),
    "isreal": elementwise(lambda config, x: x.equals(x) | ~x.equals(x), compute="operands"),
    "isnan": _is("IsNaN"),
    "isinf": _is("IsInf"),
    "isposinf": _is("IsInf", detect_negative=0),
    "isneginf": _is("IsInf", detect_positive=0),
    "isfinite": _is("finite"),
    "isclose": elementwise(is_close, compute="operands"),
    "signbit": elementwise(_sign_bit, compute="operands"),
    "equal": _compare("Equal"),
    "not_equal": _compare("Equal", negated=True),
    "greater": _compare("Greater"),
    "greater_equal": _compare("GreaterOrEqual"),
    "less": _compare("Less"),
    "less_equal": _compare("LessOrEqual"),
    "logical_and": logical("And"),
    "logical_or": logical("Or"),
    "logical_xor": logical("Xor"),
    "logical_not": logical("Not"),
    "bitwise_and": bits("And"),
    "bitwise_or": bits("Or"),
    "bitwise_xor": bits("Xor"),
    "bitwise_not": bitwise_not,
    "bitwise_invert": bitwise_not,
    "bitwise_left_shift": shift_left,
    "left_shift": shift_left,
    "bitwise_right_shift": shift_right,
    "right_shift": shift_right,
    "zeros_like": _filled(0),
    "ones_like": _filled(1),
    "full_like": _filled(None),
    "gcd": no("ONNX has no operator that finds common divisors"),
    "lcm": no("ONNX has no operator that finds common multiples"),
    "i0": elementwise(bessel),
    "erfinv": elementwise(inverse_erf),
    "nextafter": no("ONNX has no operator for neighbouring numbers"),
    "polar": no("ONNX has no complex numbers"),
    "saturate_cast": saturated,
}
"""How an op or layer is written, by its name without ``ops.``."""


def _hypot(x: Term, y: Term) -> Term:
    larger, smaller = x.op("Max", y), x.op("Min", y)
    ratio = larger.equals(0.0).where(0.0, smaller / larger)
    return larger * (ratio * ratio + 1.0).op("Sqrt")
