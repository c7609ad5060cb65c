"""What TFLite has for whole numbers, whose kernels are few: bits, powers, quotients and products of matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.layers.tflite_elements import broadcast
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.tflite_call import TfliteCall, Translation


def _native(kind: str, x: Term, y: Term) -> Term:
    call = x.call
    assert isinstance(call, TfliteCall)
    return x.named(call.native(kind, x.name, y.name, sizes=broadcast(call.sizes(x.name), call.sizes(y.name))))


def _bits(kind: str) -> Translation:
    def add(call: TfliteCall, x: str, y: str, *, outputs: int) -> list[str]:
        if call.type_of(x) != "int64":
            return [_combined(kind, *(Term(call, name, call.type_of(name)) for name in (x, y))).name]
        if len(call.sizes(x)) != len(call.sizes(y)):
            raise CannotTell("its operands have different numbers of axes")
        # As pairs of int32, along an axis of their own.
        halves = [call.native("BITCAST", name, sizes=(*call.sizes(name), 2), dtype="int32") for name in (x, y)]
        made = _combined(kind, *(Term(call, name, "int32") for name in halves)).name
        return [call.native("BITCAST", made, sizes=call.sizes(made)[:-1], dtype="int64")]

    return add


def _combined(kind: str, x: Term, y: Term) -> Term:
    """Bits of both, of either or of one only; TFLite has the last, and shifts."""
    apart = _native("BITWISE_XOR", x, y)
    if kind == "Xor":
        return apart
    # What both have is the mean of the two, rounded down, less half of what only one has.
    half, other = (_native("RIGHT_SHIFT", value, value.other(1)) for value in (x, y))
    lowest = (x - half * 2) * (y - other * 2)
    both = half + other + lowest - _native("RIGHT_SHIFT", apart, apart.other(1))
    return both if kind == "And" else apart + both


def _power(call: TfliteCall, x: str, y: str, *, outputs: int) -> list[str]:
    if call.is_constant(x) and call.is_constant(y):
        return [call.constant(np.power(call.value(x), call.value(y)), call.type_of(x))]
    if call.type_of(x) != "int64":
        return [call.native("POW", x, y, sizes=broadcast(call.sizes(x), call.sizes(y)))]
    # There is no kernel: the base's powers of two, of those that the exponent has bits for.
    square, exponent = Term(call, x, "int64"), Term(call, y, "int64")
    most = int(call.value(y).max(initial=0)) if call.is_constant(y) else 63
    made = square.other(1)
    for place in range(max(most.bit_length(), 1)):
        has = exponent.op("Mod", 2 << place) >= 1 << place
        made = has.where(made * square, made)
        square = square * square
    return [made.name]


def _quotient(call: TfliteCall, x: str, y: str, *, outputs: int) -> list[str]:
    if call.type_of(x) != "int64":
        return [call.native("DIV", x, y, sizes=broadcast(call.sizes(x), call.sizes(y)))]
    # There is no kernel: real numbers give the first digits, what is left the next ones.
    one, two = Term(call, x, "int64"), Term(call, y, "int64")
    by = two.to("float32")
    made = (one.to("float32") / by).to("int64")
    for _ in range(2):
        made = made + ((one - made * two).to("float32") / by).to("int64")
    left = one - made * two
    step = (one < 0).op("Xor", two < 0).where(one.other(-1), 1)
    beyond = (left < 0).op("Xor", one < 0) & ~left.equals(0)
    short = (left.op("Abs") >= two.op("Abs")) & ~beyond
    return [(made - beyond.where(step, 0) + short.where(step, 0)).name]


def product_of_whole(call: TfliteCall, x: str, y: str) -> str:
    """A product of matrices of whole numbers: all products, summed."""
    rank = max(len(call.sizes(x)), len(call.sizes(y)))
    if rank > 4:
        raise CannotTell("TFLite multiplies matrices of whole numbers in tensors of at most four axes")
    one, two = (Term(call, name, call.type_of(name)) for name in (x, y))
    return (one.unsqueeze(-1) * two.unsqueeze(-3)).reduce("ReduceSum", [rank - 1], keepdims=False).name


WHOLE: Mapping[str, Translation] = {
    **{f"Bitwise{kind}": _bits(kind) for kind in ("And", "Or", "Xor")},
    "Pow": _power,
    "Div": _quotient,
}
"""TFLite's operators for ONNX's, by the latter's names."""
