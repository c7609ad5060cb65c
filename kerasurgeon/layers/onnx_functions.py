"""Functions of the elements at one place, written to ONNX: by the name of the op or layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kerasurgeon.ir.structure import leaves
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Tensor

Write = Callable[[OnnxCall], None]


def operands_of(call: OnnxCall) -> list[Tensor]:
    """All operands in order, numbers as constants."""
    found = [call.as_tensor(leaf) for leaf in leaves((call.args, dict(call.kwargs)))]
    return [tensor for tensor in found if tensor is not None]


def common_dtype(operands: Sequence[Tensor], otherwise: str) -> str:
    """The dtype in which operands of several are compared: that of real numbers, or the widest of whole numbers."""
    dtypes = [each.dtype for each in operands if each.array is None or each.rank] or [each.dtype for each in operands]
    real = [dtype for dtype in dtypes if "float" in dtype]
    whole = sorted((dtype for dtype in dtypes if "int" in dtype), key=lambda dtype: int(dtype.split("int")[1]))
    return (real or whole[-1:] or dtypes or [otherwise])[0]


def write_chain(call: OnnxCall, kind: str, *, mean: bool = False) -> None:
    """Write an operator of two operands over all of them, from the first on.

    Args:
        call: The call.
        kind: The operator.
        mean: Whether the result is divided by the number of operands.
    """
    operands, dtype = operands_of(call), call.output.dtype
    order = call.best_order(*operands)
    first, *others = (call.aligned(operand, order, dtype) for operand in operands)
    for other in others:
        first = call.op(kind, first, other)
    if mean:
        first = call.op("Mul", first, call.constant(1 / len(operands)))
    call.give(first, order)


def _unary(*kinds: str) -> Write:
    """Operators one after the other."""

    def write(call: OnnxCall) -> None:
        order = call.input.order
        name = call.read(call.input, order, call.output.dtype)
        for kind in kinds:
            name = call.op(kind, name)
        call.give(name, order)

    return write


def _chain(kind: str) -> Write:
    return lambda call: write_chain(call, kind)


def _compare(kind: str, *, negated: bool = False) -> Write:
    def write(call: OnnxCall) -> None:
        operands = operands_of(call)
        order, dtype = call.best_order(*operands), common_dtype(operands, call.float)
        name = call.op(kind, *(call.aligned(operand, order, dtype) for operand in operands))
        call.give(call.op("Not", name) if negated else name, order)

    return write


FUNCTIONS: Mapping[str, Write] = {
    "divide": _chain("Div"),
    "true_divide": _chain("Div"),
    "power": _chain("Pow"),
    "maximum": _chain("Max"),
    "minimum": _chain("Min"),
    "Maximum": _chain("Max"),
    "Minimum": _chain("Min"),
    "abs": _unary("Abs"),
    "absolute": _unary("Abs"),
    "exp": _unary("Exp"),
    "log": _unary("Log"),
    "sqrt": _unary("Sqrt"),
    "rsqrt": _unary("Sqrt", "Reciprocal"),
    "reciprocal": _unary("Reciprocal"),
    "negative": _unary("Neg"),
    "tanh": _unary("Tanh"),
    "sin": _unary("Sin"),
    "cos": _unary("Cos"),
    "erf": _unary("Erf"),
    "equal": _compare("Equal"),
    "not_equal": _compare("Equal", negated=True),
    "greater": _compare("Greater"),
    "greater_equal": _compare("GreaterOrEqual"),
    "less": _compare("Less"),
    "less_equal": _compare("LessOrEqual"),
}
"""How an op or layer is written, by its name without ``ops.``."""
