"""Ops of single entries."""

from __future__ import annotations

from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds.registry import ops

ANY = """
    abs absolute arcsinh arctan cbrt celu cos elu erf erfc fabs gelu hard_shrink hard_sigmoid hard_silu hard_tanh
    leaky_relu log_sigmoid negative nan_to_num relu relu6 selu sigmoid silu sin sinc soft_shrink softplus softsign
    sparse_plus sparse_sigmoid square squareplus tanh tanh_shrink deg2rad rad2deg copy stop_gradient
    zeros_like ones_like conj conjugate real
"""
SMALL = "cosh exp exp2 expm1 sinh tan i0 arccos arcsin arctanh erfinv"  # of what lies in (-0.9, 0.9)
POSITIVE = "log log10 log1p log2 sqrt rsqrt reciprocal"  # of what is above 0.3
JUMPS = "ceil floor round sign trunc signbit isfinite isinf isnan isneginf isposinf isreal angle imag"
BINARY = """
    add arctan2 divide_no_nan fmax fmin heaviside hypot logaddexp logaddexp2 maximum minimum multiply subtract
    equal greater greater_equal less less_equal not_equal isclose logical_and logical_or logical_xor nextafter
"""
BY_POSITIVE = "divide true_divide mod floor_divide fmod"
WHOLE = "bitwise_and bitwise_or bitwise_xor gcd lcm bitwise_left_shift bitwise_right_shift left_shift right_shift"
ONLY_IN_DOUBLE = {*JUMPS.split(), *BY_POSITIVE.split()[2:], *BINARY.split()[13:], "heaviside", "threshold"}
"""What jumps, so that rounding shows: with float64 the chance that it does is nil."""


def as_number(draw: Draw, x: Live) -> Live:
    return x if x.real else draw.op("cast", x, draw.floats)


def check_jumps(draw: Draw, name: str) -> None:
    if name in ONLY_IN_DOUBLE and draw.policy != "float64":
        raise Refused(f"{name} jumps")


@ops(ANY)
def anywhere(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x)


@ops(SMALL)
def of_small(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("multiply", draw.op("tanh", x), 0.9))


@ops(POSITIVE)
def of_positive(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("add", draw.op("square", x), 0.5))


@ops("arccosh")
def above_one(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("add", draw.op("square", x), 1.5))


@ops(JUMPS)
def jumping(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, name)
    as_number(draw, draw.op(name, x))


def second(draw: Draw, x: Live) -> object:
    """Another tensor, one that is broadcast, a constant or a number."""
    if x.rank > 2 and draw.chance(0.15):
        return draw.op("mean", x, axis=draw.pick(1, -1, tuple(range(1, x.rank - 1))), keepdims=True)
    shape = (1, *x.shape) if draw.chance(0.3) else x.shape[-1:]
    return draw.pick(draw.like(x), draw.like(x), draw.array(*shape), draw.pick(0.5, -1.0, 2.0))


@ops(BINARY)
def binary(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, name)
    operands = [x, second(draw, x)]
    if name.startswith("logical"):
        operands = [draw.op("greater", x, 0.0), draw.op("less", draw.like(x), 0.3)]
    if draw.chance(0.2):
        operands.reverse()
    as_number(draw, draw.op(name, *operands))


@ops(BY_POSITIVE)
def division(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, name)
    below = draw.op("add", draw.op("square", draw.like(x)), 0.5)
    draw.op(name, x, draw.pick(below, 2.0))


@ops("power")
def power(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("add", draw.op("abs", x), 0.5), draw.pick(2.0, 0.5, 1.0))


@ops("ldexp")
def scaled(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.array(*x.shape[-1:], dtype="int32"))


@ops("clip")
def clip(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, -0.5, draw.pick(0.5, 1.0))


@ops("threshold")
def threshold(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, name)
    draw.op(name, x, 0.1, 0.0)


@ops("where")
def where(draw: Draw, name: str, x: Live) -> None:
    if draw.policy == "float64":
        condition: object = draw.op("greater", draw.like(x), 0.0)
    else:
        condition = draw.array(*x.shape, dtype="bool")
    draw.op(name, condition, x, second(draw, x))


@ops("full_like")
def full_like(draw: Draw, name: str, x: Live) -> None:
    draw.op("add", x, draw.op(name, x, 0.3))


@ops("cast saturate_cast")
def cast(draw: Draw, name: str, x: Live) -> None:
    y = draw.op(name, x, draw.pick("float32", "float64", draw.floats))
    draw.op("cast", y, draw.floats)


def whole(draw: Draw, x: Live) -> Live:
    """Small positive integers."""
    if draw.policy == "float64" and draw.chance(0.7):
        return draw.op("cast", draw.op("add", draw.op("square", x), 1.0), "int32")
    return draw.tokens()


@ops(WHOLE)
def of_integers(draw: Draw, name: str, x: Live) -> None:
    one = whole(draw, x)
    draw.op("cast", draw.op(name, one, draw.pick(one, 2)), draw.floats)


@ops("bitwise_not bitwise_invert logical_not")
def inverted(draw: Draw, name: str, x: Live) -> None:
    given = draw.op("greater", x, 0.0) if name.startswith("logical") else whole(draw, x)
    if name.startswith("logical"):
        check_jumps(draw, "greater")
    draw.op("cast", draw.op(name, given), draw.floats)


@ops("isin digitize")
def counted(draw: Draw, name: str, x: Live) -> None:
    if name == "isin":
        y = draw.op(name, whole(draw, x), draw.array(2, dtype="int32"))
    else:
        check_jumps(draw, "floor")
        y = draw.op(name, x, [-0.5, 0.0, 0.5])
    draw.op("cast", y, draw.floats)


@ops("polar")
def polar(draw: Draw, name: str, x: Live) -> None:
    if draw.floats not in ("float32", "float64"):
        raise Refused("complex numbers are of single or double precision")
    draw.op(draw.pick("real", "imag", "abs"), draw.op(name, draw.op("abs", x), draw.like(x)))


@ops("view_as_complex view_as_real")
def pairs(draw: Draw, name: str, x: Live) -> None:
    if draw.floats not in ("float32", "float64"):
        raise Refused("complex numbers are of single or double precision")
    y = draw.op("view_as_complex", draw.op("stack", [x, draw.like(x)], axis=-1))
    if name == "view_as_real":
        y = draw.op("view_as_real", draw.op(draw.pick("conj", "negative"), y))
    draw.op(draw.pick("real", "imag", "abs"), y) if name == "view_as_complex" else draw.op("sum", y, axis=-1)
