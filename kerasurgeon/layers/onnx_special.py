"""Functions of elements composed of what ONNX has: bits, bounds of types, special functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_terms import Term, common_dtype, concat, elementwise, give, term, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall, np_type

Config = Mapping[str, Any]
_HALF = 1 << 32


def floor_divide(config: Config, x: Term, y: Term) -> Term:
    """The quotient, rounded down."""
    return (x - x.op("Mod", y)) / y if "float" not in x.dtype else (x / y).op("Floor")


def _shift_left(config: Config, x: Term, y: Term) -> Term:
    return x * y.other(2).op("Pow", y)


def _shift_right(config: Config, x: Term, y: Term) -> Term:
    return floor_divide(config, x, y.other(2).op("Pow", y))


shift_left, shift_right = elementwise(_shift_left), elementwise(_shift_right)


def logical(kind: str) -> Callable[[OnnxCall], None]:
    """What writes an operator of truths."""
    return elementwise(lambda config, *terms: terms[0].op(kind, *terms[1:]), compute="bool")


def bits(kind: str) -> Callable[[OnnxCall], None]:
    """What writes a bitwise operator: ``"And"``, ``"Or"`` or ``"Xor"``."""
    each: Mapping[str, Callable[[Term, Term], Term]] = {
        "And": lambda x, y: x * y,
        "Or": lambda x, y: x.op("Max", y),
        "Xor": lambda x, y: (x - y).op("Abs"),
    }

    def formula(config: Config, x: Term, y: Term) -> Term:
        if x.call.opset >= 18:
            return x.op(f"Bitwise{kind}", y)
        one, two = x.to("int64"), y.to("int64")
        if x.dtype != "int64":
            return bit_by_bit(one, two, 8 * np_type(x.dtype).itemsize).to(x.dtype)
        high = bit_by_bit(floor_divide(config, one, one.other(_HALF)), floor_divide(config, two, two.other(_HALF)), 32)
        return high * _HALF + bit_by_bit(one.op("Mod", _HALF), two.op("Mod", _HALF), 33)

    def bit_by_bit(x: Term, y: Term, count: int) -> Term:
        """Along an axis of bits, the sign as the last one. ONNX Runtime sums whole numbers below 2 ** 53 exactly."""
        worth = np.array([1 << place for place in range(count - 1)], np.int64)
        planes = []
        for value in (x.unsqueeze(-1), y.unsqueeze(-1)):
            low = floor_divide({}, value, value.other(worth)).op("Mod", 2)
            planes.append(concat([low, (value < 0).to("int64")], -1))
        made = each[kind](*planes) * np.append(worth, -(1 << (count - 1)))
        return made.named(made.call.op("ReduceSum", made.name, made.call.integers(-1), keepdims=0))

    def write(call: OnnxCall) -> None:
        whole = common_dtype(call) != "bool"
        return elementwise(formula, compute="operands")(call) if whole else logical(kind)(call)

    return write


def bitwise_not(call: OnnxCall) -> None:
    """Write ``ops.bitwise_not``."""
    if call.input.dtype == "bool":
        return logical("Not")(call)
    unsigned = call.input.dtype.startswith("u")
    if call.input.dtype in ("uint32", "uint64"):
        raise CannotTell(f"it works on {call.input.dtype}")
    most = int(np.iinfo(np_type(call.input.dtype)).max) if unsigned else -1
    return elementwise(lambda config, x: most - x)(call)


def saturated(call: OnnxCall) -> None:
    """Write ``ops.saturate_cast``: what the type does not hold becomes the nearest that it and the operand's hold."""
    order, dtype = call.input.order, call.output.dtype
    x = term(call, call.input, order)
    if "int" in dtype and x.dtype != "bool":
        own = "float32" if x.dtype == "bfloat16" else x.dtype
        if own == "uint64" or dtype == "uint64":
            raise CannotTell(f"it turns {x.dtype} into {dtype}")
        low, high = int(np.iinfo(np_type(dtype)).min), int(np.iinfo(np_type(dtype)).max)
        if "float" in own:
            x = x.to(own).op("Max", _inside(low, own)).op("Min", _inside(high, own))
        else:
            held = np.iinfo(np_type(own))
            x = x.to(wide(own))
            x = x.op("Max", low) if held.min < low else x
            x = x.op("Min", high) if held.max > high else x
    give(call, x, order)


def _inside(bound: int, dtype: str) -> float:
    """The real number of a type that is nearest to a bound and not beyond it."""
    near = np.asarray(np.clip(float(bound), np.finfo(dtype).min, np.finfo(dtype).max)).astype(dtype)
    beyond = abs(int(near)) > abs(bound)
    return float(np.nextafter(near, np.zeros((), dtype)) if beyond else near)


def _series(x: Term, *factors: float) -> Term:
    """A polynomial, by its factors from the highest power down."""
    return reduce(lambda made, factor: made * x + factor, factors[1:], x * 0.0 + factors[0])


def inverse_erf(config: Config, x: Term) -> Term:
    """The inverse of the error function (M. Giles, Approximating the erfinv function, 2010): right to 4e-7."""
    w = -((1.0 - x) * (x + 1.0)).op("Log")
    near = _series(
        w - 2.5,
        *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
        *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
    )
    far = _series(
        w.op("Max", 5.0).op("Sqrt") - 3.0,
        *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
        *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
    )
    inside = (w < 5.0).where(near, far) * x
    return x.op("Abs").equals(1.0).where(x / (1.0 - x.op("Abs")), inside)


def bessel(config: Config, x: Term) -> Term:
    """The modified Bessel function of order 0 (Abramowitz and Stegun, 9.8.1 and 9.8.2): right to 2e-7."""
    size = x.op("Abs")
    t = size * (1 / 3.75)
    near = _series(t * t, 0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0)
    beyond = size.op("Max", 3.75)
    far = _series(
        3.75 / beyond,
        *(0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592),
        0.39894228,
    )
    return (size < 3.75).where(near, far * beyond.op("Exp") / beyond.op("Sqrt"))
