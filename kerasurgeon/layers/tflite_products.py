"""What TFLite has for ONNX's products of matrices and norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.layers.tflite_elements import broadcast
from kerasurgeon.layers.tflite_moving import known_sizes, positions_of
from kerasurgeon.layers.tflite_whole import product_of_whole
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_parts import Size
from kerasurgeon.rules.tflite_call import TfliteCall, Translation


def _connected(call: TfliteCall, x: str, matrix: str, bias: str | None = None, *, outputs: int) -> list[str]:
    """A product with a matrix (in, out) over the last axis."""
    own, (_, units) = call.sizes(x), call.sizes(matrix)
    if len(own) == 1:
        return [call.squeeze(_connected(call, call.unsqueeze(x, [0]), matrix, bias, outputs=1)[0], [0])]
    turned = call.transpose(matrix, (1, 0))
    keeps = len(own) != 2
    return [call.native("FULLY_CONNECTED", x, turned, bias, sizes=(*own[:-1], units), keepNumDims=keeps)]


def _product(call: TfliteCall, x: str, y: str, *, outputs: int) -> list[str]:
    one, two, real = call.sizes(x), call.sizes(y), "float" in call.type_of(x)
    if len(two) == 2 and call.is_constant(y) and real:
        return _connected(call, x, y, outputs=outputs)
    if len(one) == 1:
        return [call.squeeze(_product(call, call.unsqueeze(x, [0]), y, outputs=1)[0], [-1 if len(two) == 1 else -2])]
    if len(two) == 1:
        return [call.squeeze(_product(call, x, call.unsqueeze(y, [1]), outputs=1)[0], [-1])]
    if not real:
        return [product_of_whole(call, x, y)]
    if max(len(one), len(two)) > 5:
        raise CannotTell("TFLite multiplies matrices in tensors of at most five axes")
    sizes = (*broadcast(one[:-2], two[:-2]), one[-2], two[-1])
    return [call.native("BATCH_MATMUL", x, y, sizes=sizes, adjX=False, adjY=False)]


def _einsum(call: TfliteCall, *names: str, outputs: int, equation: str) -> list[str]:
    operands, _, result = equation.partition("->")
    several = operands.split(",")
    (made, letters), *others = (_diagonal(call, *pair) for pair in zip(names, several, strict=True))
    for place, (name, own) in enumerate(others, 1):
        later = set(result).union(*several[place + 1 :])
        made, letters = _pair(call, made, letters, name, own, later)
    made, letters = _summed(call, made, letters, set(result))
    return [call.transpose(made, [letters.index(letter) for letter in result])]


def _diagonal(call: TfliteCall, name: str, letters: str) -> tuple[str, str]:
    """A tensor in which no letter stands twice: of axes of one letter, the elements at the same place of all."""
    for letter in letters:
        if letters.count(letter) < 2:
            continue
        one, two = [place for place, own in enumerate(letters) if own == letter][:2]
        left = [place for place in range(len(letters)) if place not in (one, two)]
        size = call.sizes(name)[one]
        turned = call.transpose(name, [*left, one, two])
        sizes = known_sizes(call, turned)[:-2]
        if size is None:
            flat, numbers = call.reshape(turned, [*sizes, -1]), positions_of(call, turned, len(left))
            beside = call.op("Add", call.cast(call.size_at(turned, len(left)), "int32"), call.constant(1, "int32"))
            at = call.op("Mul", numbers, beside)
        else:
            flat = call.reshape(turned, [*sizes, size * size])
            at = call.constant(np.arange(size) * (size + 1), "int32")
        name = call.op("Gather", flat, at, axis=len(left))
        return _diagonal(call, name, "".join(letters[place] for place in left) + letter)
    return name, letters


def _summed(call: TfliteCall, name: str, letters: str, wanted: set[str]) -> tuple[str, str]:
    """A tensor without the axes that nothing wants, summed over."""
    gone = [place for place, letter in enumerate(letters) if letter not in wanted]
    made = call.reduce("ReduceSum", name, gone, keepdims=False) if gone else name
    return made, "".join(letter for letter in letters if letter in wanted)


def _pair(call: TfliteCall, x: str, one: str, y: str, two: str, later: set[str]) -> tuple[str, str]:
    """The product of two, as one of matrices: the axes of each kind side by side, as one axis."""
    x, one = _summed(call, x, one, later | set(two))
    y, two = _summed(call, y, two, later | set(one))
    known = dict(zip(two, call.sizes(y), strict=True)) | dict(zip(one, call.sizes(x), strict=True))
    batch = [letter for letter in one if letter in two and letter in later]
    summed = [letter for letter in one if letter in two and letter not in later]
    rows = [letter for letter in one if letter not in two]
    columns = [letter for letter in two if letter not in one]
    result = "".join((*batch, *rows, *columns))
    if sum(known[letter] is None for letter in {*one, *two}) > 1 and max(map(len, (rows, summed, columns))) <= 1:
        return _single(call, x, one, y, two, (batch, rows, summed, columns)), result
    sizes = dict(zip(two, known_sizes(call, y), strict=True)) | dict(zip(one, known_sizes(call, x), strict=True))
    left = call.transpose(x, [one.index(letter) for letter in (*batch, *rows, *summed)])
    right = call.transpose(y, [two.index(letter) for letter in (*batch, *summed, *columns)])
    left = _grouped(call, left, sizes, (batch, rows, summed))
    right = _grouped(call, right, sizes, (batch, summed, columns))
    made = call.op("MatMul", left, right)
    return call.reshape(made, [sizes[letter] for letter in result]), result


def _single(
    call: TfliteCall, x: str, one: str, y: str, two: str, groups: tuple[list[str], list[str], list[str], list[str]]
) -> str:
    """The product of two, of which every kind but the batch has one axis at most."""
    batch, rows, summed, columns = groups
    count = len(batch)
    left = call.transpose(x, [one.index(letter) for letter in (*batch, *rows, *summed)])
    left = call.unsqueeze(left, [count] if not rows else [])
    left = call.unsqueeze(left, [count + 1] if not summed else [])
    right = call.transpose(y, [two.index(letter) for letter in (*batch, *summed, *columns)])
    right = call.unsqueeze(right, [count] if not summed else [])
    right = call.unsqueeze(right, [count + 1] if not columns else [])
    gone = [place for place, letters in ((count, rows), (count + 1, columns)) if not letters]
    return call.squeeze(call.op("MatMul", left, right), gone)


def _grouped(call: TfliteCall, name: str, sizes: Mapping[str, Size], groups: Sequence[Sequence[str]]) -> str:
    """A tensor with the axes of each group as one."""
    wanted: list[Size] = []
    for letters in groups:
        several = [sizes[letter] for letter in letters]
        known = int(np.prod([size for size in several if isinstance(size, int)], dtype=np.int64))
        open_ones = [size for size in several if isinstance(size, str)]
        factors = [*open_ones, *([call.integers(known)] if known != 1 else [])]
        wanted.append(reduce(lambda one, two: call.op("Mul", one, two), factors) if open_ones else known)
    return call.reshape(name, wanted)


def _normalised(x: Term, axes: Sequence[int], epsilon: float) -> Term:
    apart = x - x.reduce("ReduceMean", axes)
    power = (apart * apart).reduce("ReduceMean", axes) + epsilon
    call = x.call
    assert isinstance(call, TfliteCall)
    return apart * x.named(call.native("RSQRT", power.name, sizes=call.sizes(power.name)))


def _layer_norm(
    call: TfliteCall, x: str, gamma: str, beta: str | None = None, *, outputs: int, axis: int, epsilon: float
) -> list[str]:
    made = _normalised(Term(call, x, call.type_of(x)), range(axis, len(call.sizes(x))), epsilon)
    if not call.is_constant(gamma) or np.any(call.value(gamma) != 1):
        made = made * made.named(gamma)
    return [(made if beta is None else made + made.named(beta)).name]


def _instance_norm(call: TfliteCall, x: str, gamma: str, beta: str, *, outputs: int, epsilon: float) -> list[str]:
    rank = len(call.sizes(x))
    made = _normalised(Term(call, x, call.type_of(x)), range(2, rank), epsilon)
    gamma_array, beta_array = (call.value(name).reshape(-1, *[1] * (rank - 2)) for name in (gamma, beta))
    made = made * gamma_array if np.any(gamma_array != 1) else made
    return [(made + beta_array if np.any(beta_array) else made).name]


PRODUCTS: Mapping[str, Translation] = {
    "Gemm": _connected,
    "MatMul": _product,
    "Einsum": _einsum,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
}
"""TFLite's operators for ONNX's, by the latter's names."""
