"""Formulas written to ONNX: tensors on which Python's operators add ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.structure import leaves
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall, np_type
from kerasurgeon.rules.onnx_parts import Array, Order, Size, Tensor

_WIDE = {
    "bool": "int32",
    "int8": "int32",
    "uint8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64",
}


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A tensor of a formula.

    Attributes:
        call: The call that the formula is of.
        name: The ONNX tensor.
        dtype: Its dtype, as Keras names it.
    """

    call: OnnxCall
    name: str
    dtype: str

    def op(self, kind: str, *others: Any, dtype: str | None = None, **attributes: Any) -> Term:
        """An operator of this tensor and others; numbers among them become constants of its dtype."""
        names = [self.other(other).name for other in others]
        return Term(self.call, self.call.op(kind, self.name, *names, **attributes), dtype or self.dtype)

    def other(self, other: Any) -> Term:
        """A term, or numbers as one."""
        if isinstance(other, Term):
            return other
        if isinstance(other, np.ndarray):
            return self.made_of(other, "", np.asarray)
        return Term(self.call, self.call.constant(other, self.dtype), self.dtype)

    def made_of(self, array: Array, how: str, make: Callable[[Array], Array], called: str = "constant") -> Term:
        """A constant of its dtype that is made of an array: written once, however often the array is used.

        Args:
            array: The array.
            how: A word for what is made of it.
            make: What makes it.
            called: What it is called.
        """

        def made(source: Array) -> Array:
            return np.asarray(make(source).astype(np_type(self.dtype), copy=False), order="C")

        name = f"{self.call.name}/{called}"
        return Term(self.call, self.call.parts.derived(array, f"{how} {self.dtype}", made, name), self.dtype)

    def to(self, dtype: str) -> Term:
        """In another dtype."""
        return self if dtype == self.dtype else Term(self.call, self.call.cast(self.name, dtype), dtype)

    def named(self, name: str, dtype: str | None = None) -> Term:
        """Another tensor of the same call."""
        return Term(self.call, name, dtype or self.dtype)

    def __add__(self, other: Any) -> Term:
        return self.op("Add", other)

    def __sub__(self, other: Any) -> Term:
        return self.op("Sub", other)

    def __rsub__(self, other: Any) -> Term:
        return self.other(other) - self

    def __mul__(self, other: Any) -> Term:
        return self.op("Mul", other)

    def __truediv__(self, other: Any) -> Term:
        return self.op("Div", other)

    def __rtruediv__(self, other: Any) -> Term:
        return self.other(other) / self

    def __neg__(self) -> Term:
        return self.op("Neg")

    def __lt__(self, other: Any) -> Term:
        return self.op("Less", other, dtype="bool")

    def __le__(self, other: Any) -> Term:
        return self.op("LessOrEqual", other, dtype="bool")

    def __gt__(self, other: Any) -> Term:
        return self.op("Greater", other, dtype="bool")

    def __ge__(self, other: Any) -> Term:
        return self.op("GreaterOrEqual", other, dtype="bool")

    def __and__(self, other: Term) -> Term:
        return self.op("And", other)

    def __or__(self, other: Term) -> Term:
        return self.op("Or", other)

    def __invert__(self) -> Term:
        return self.op("Not")

    def equals(self, other: Any) -> Term:
        """Whether it is equal, element by element."""
        return self.op("Equal", other, dtype="bool")

    def where(self, one: Any, other: Any) -> Term:
        """One where it is true, another elsewhere; one of the two must be a term."""
        own = one if isinstance(one, Term) else other
        dtype = own.dtype if own.dtype == "uint8" else wide(own.dtype)  # ONNX Runtime chooses among few types
        one, other = (own.other(value).to(dtype) for value in (one, other))
        return Term(self.call, self.call.op("Where", self.name, one.name, other.name), dtype).to(own.dtype)

    def reduce(self, kind: str, axes: Sequence[int], *, keepdims: bool = True) -> Term:
        """A reduction over axes: ``"ReduceMax"`` and its like."""
        return self.named(self.call.reduce(kind, self.name, axes, keepdims=keepdims)) if axes else self

    def transpose(self, order: Sequence[int]) -> Term:
        """With its axes in another order."""
        return self.named(self.call.transpose(self.name, order))

    def reshape(self, sizes: Sequence[Size]) -> Term:
        """With other sizes."""
        return self.named(self.call.reshape(self.name, sizes))

    def squeeze(self, *axes: int) -> Term:
        """Without these axes."""
        return self.named(self.call.squeeze(self.name, axes))

    def unsqueeze(self, *axes: int) -> Term:
        """With these axes of size 1."""
        return self.named(self.call.unsqueeze(self.name, axes))

    def expand(self, sizes: Sequence[Size]) -> Term:
        """Broadcast to sizes."""
        return self.named(self.call.op("Expand", self.name, self.call.exact_shape(sizes)))

    def gather(self, indices: Any, axis: int) -> Term:
        """Some positions of an axis: a term of whole numbers, or numbers."""
        index = indices if isinstance(indices, Term) else self.named(self.call.constant(indices, "int64"), "int64")
        return self.named(self.call.op("Gather", self.name, index.name, axis=axis))

    def slice(self, axis: int, start: int, stop: int | None, step: int = 1) -> Term:
        """A range of an axis; no ``stop`` is the end."""
        ends = (2**63 - 1 if step > 0 else -(2**63)) if stop is None else stop
        bounds = (self.call.integers(number) for number in (start, ends, axis, step))
        return self.named(self.call.op("Slice", self.name, *bounds))

    def split(self, axis: int, sizes: Sequence[int]) -> list[Term]:
        """In pieces."""
        if len(sizes) == 1:
            return [self]
        names = self.call.ops("Split", self.name, self.call.integers(*sizes), outputs=len(sizes), axis=axis)
        return [self.named(name) for name in names]

    def matmul(self, other: Any) -> Term:
        """The product of matrices."""
        return self.op("MatMul", other)


def concat(terms: Sequence[Term], axis: int) -> Term:
    """One after the other along an axis."""
    first = terms[0]
    return first if len(terms) == 1 else first.op("Concat", *terms[1:], axis=axis)


def wide(dtype: str) -> str:
    """The dtype that runtimes compute arithmetic of a dtype in: narrow whole numbers have few operators."""
    return _WIDE.get(dtype, dtype)


def operands_of(call: OnnxCall) -> list[Tensor]:
    """All operands in order, numbers as constants."""
    found = [call.as_tensor(leaf) for leaf in leaves((call.args, dict(call.kwargs)))]
    return [tensor for tensor in found if tensor is not None]


def common_dtype(call: OnnxCall) -> str:
    """The dtype in which operands are compared, by Keras' rules of promotion."""
    found: list[Any] = []
    for leaf in leaves((call.args, dict(call.kwargs))):
        if isinstance(leaf, Tensor):
            found.append(leaf.dtype)
        elif isinstance(leaf, (bool, int, float)):
            found.append(type(leaf) if not isinstance(leaf, bool) else "bool")
    return str(keras.backend.result_type(*found))


def term(call: OnnxCall, operand: Tensor, order: Order | None = None, dtype: str | None = None) -> Term:
    """An operand as a term, in Keras' order of axes by default."""
    dtype = dtype or operand.dtype
    return Term(call, call.read(operand, order, dtype), dtype)


def give(call: OnnxCall, made: Term, order: Order | None = None, index: int = 0) -> None:
    """Say what an output is, in the output's dtype."""
    call.give(made.to(call.outputs[index].dtype).name, order, index)


Formula = Callable[..., Term]


def elementwise(formula: Formula, *, compute: str = "result") -> Callable[[OnnxCall], None]:
    """What writes a function of the elements at one place.

    Args:
        formula: The function, of the config and terms that broadcast against one another.
        compute: In which dtype: that of the ``"result"``, or what the ``"operands"`` have in common, whole numbers as
            they are; ``"bool"`` and other dtypes as they are called.
    """

    def write(call: OnnxCall) -> None:
        operands = operands_of(call)
        order = call.best_order(*operands)
        if compute == "result":
            dtype = call.output.dtype
        elif compute == "operands":
            dtype = common_dtype(call)
        else:
            dtype = compute
        if "complex" in dtype or any("complex" in each.dtype for each in operands):
            raise CannotTell("ONNX has no complex numbers")
        dtype = dtype if dtype == compute else wide(dtype)
        terms = [Term(call, call.aligned(operand, order, dtype), dtype) for operand in operands]
        give(call, formula(call.config, *terms), order)

    return write


def unary(*kinds: str) -> Callable[[OnnxCall], None]:
    """What writes operators of one operand, one after the other."""

    def formula(config: Any, x: Term) -> Term:
        for kind in kinds:
            x = x.op(kind)
        return x

    return elementwise(formula)


def no(reason: str) -> Callable[[OnnxCall], None]:
    """What refuses."""

    def write(call: OnnxCall) -> None:
        raise CannotTell(reason)

    return write
