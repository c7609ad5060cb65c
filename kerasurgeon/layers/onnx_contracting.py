"""Products of tensors written to ONNX: as MatMul where the axes stand right, else as Einsum."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from kerasurgeon.layers.onnx_terms import Term, elementwise, give, operands_of, term, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Tensor


def einsum(equation: str, *terms: Term) -> Term:
    """A sum of products, by its equation; one of two operands as a MatMul where it is one."""
    operands, _, result = equation.partition("->")
    letters = operands.split(",")
    if len(terms) == 2:
        product = _as_matmul(letters[0], letters[1], result, *terms)
        if product is not None:
            return product
    return terms[0].op("Einsum", *terms[1:], equation=equation)


def _as_matmul(one: str, two: str, result: str, first: Term, second: Term) -> Term | None:
    """Batched products of matrices, either of them turned if need be."""
    if any(len(set(each)) < len(each) for each in (one, two, result)) or min(len(one), len(two)) < 2:
        return None
    batch = [letter for letter in result if letter in one and letter in two]
    summed = [letter for letter in one if letter in two and letter not in result]
    rows = [letter for letter in result if letter in one and letter not in two]
    columns = [letter for letter in result if letter in two and letter not in one]
    if len(summed) != 1 or len(rows) != 1 or len(columns) != 1:
        return None
    if set(one) != {*batch, *summed, *rows} or set(two) != {*batch, *summed, *columns}:
        return None
    left, right = "".join((*batch, *rows, *summed)), "".join((*batch, *summed, *columns))
    made = first.transpose([one.index(letter) for letter in left]).matmul(
        second.transpose([two.index(letter) for letter in right])
    )
    lying = "".join((*batch, *rows, *columns))
    return made.transpose([lying.index(letter) for letter in result])


def write_matmul(call: OnnxCall) -> None:
    """Write ``ops.matmul``."""
    one, two = call.tensor(0, "x1"), call.tensor(1, "x2")
    dtype = wide(call.output.dtype)
    give(call, term(call, one, None, dtype).matmul(term(call, two, None, dtype)))


def write_contraction(call: OnnxCall, operands: Sequence[Tensor], terms: Sequence[str], result: str) -> None:
    """Write a contraction of operands by the letters of their axes."""
    dtype = wide(call.output.dtype)
    values = [term(call, operand, None, dtype) for operand in operands]
    give(call, einsum(f"{','.join(terms)}->{result}", *values))


def write_inner(call: OnnxCall) -> None:
    """Write ``ops.dot`` and ``ops.inner``."""
    first, second = operands_of(call)
    one, two = first.rank, second.rank
    if not one or not two:
        return elementwise(lambda config, x, y: x * y)(call)
    if call.kind == "ops.dot" and two <= 2:
        return write_matmul(call)
    left, right = ascii_letters[: one - 1], ascii_letters[one - 1 : one + two - 2]
    place = len(right) if call.kind == "ops.inner" else max(len(right) - 1, 0)
    return write_contraction(call, (first, second), (left + "Z", right[:place] + "Z" + right[place:]), left + right)


def write_tensordot(call: OnnxCall) -> None:
    """Write ``ops.tensordot``."""
    first, second = call.tensor(0, "x1"), call.tensor(1, "x2")
    axes: Any = call.config.get("axes", 2)
    if isinstance(axes, int):
        pairs = [(first.rank - axes + place, place) for place in range(axes)]
    else:
        left, right = ([side] if isinstance(side, int) else list(side) for side in axes)
        pairs = [(axis % first.rank, other % second.rank) for axis, other in zip(left, right, strict=True)]
    one = list(ascii_letters[: first.rank])
    two = list(ascii_letters[first.rank : first.rank + second.rank])
    for axis, other in pairs:
        two[other] = one[axis]
    staying = [letter for letter in (*one, *two) if not (letter in one and letter in two)]
    write_contraction(call, (first, second), ("".join(one), "".join(two)), "".join(staying))


def write_vdot(call: OnnxCall) -> None:
    """Write ``ops.vdot``."""
    dtype = wide(call.output.dtype)
    one, two = (term(call, operand, None, dtype).reshape([-1]) for operand in operands_of(call))
    give(call, (one * two).reduce("ReduceSum", [0], keepdims=False))


def write_dot_layer(call: OnnxCall) -> None:
    """Write the layer Dot: one axis of each operand contracted, the batch kept."""
    first, second = call.inputs
    axes = call.config["axes"]
    left, right = (axes, axes) if isinstance(axes, int) else axes
    left, right = left % first.rank, right % second.rank
    if not left or not right:
        raise CannotTell("it sums over the batch")
    values = []
    for operand, axis in ((first, left), (second, right)):
        x = term(call, operand, None, call.output.dtype)
        if call.config.get("normalize"):
            summed = (x * x).reduce("ReduceSum", [axis])
            x = x * summed.op("Sqrt").op("Reciprocal").op("Min", 1e7)
        values.append(x)
    one = ["A", *ascii_letters[: first.rank - 1]]
    two = ["A", *ascii_letters[first.rank : first.rank + second.rank - 1]]
    one[left] = two[right] = "Z"
    staying = [letter for letter in (*one, *two[1:]) if letter != "Z"]
    made = einsum(f"{''.join(one)},{''.join(two)}->{''.join(staying)}", *values)
    give(call, made.unsqueeze(1) if len(staying) == 1 else made)
