"""Arithmetic: sums, products and other functions of the elements at one place, as layers and as ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value
from kerasurgeon.layers.elementwise import Elementwise
from kerasurgeon.layers.onnx_functions import FUNCTIONS, write_chain
from kerasurgeon.layers.onnx_terms import common_dtype, give, term, wide
from kerasurgeon.layers.words import words
from kerasurgeon.rules.answers import Combination, Product, Sum
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule

_COMMUTING = words("""
    fmax fmin logaddexp logaddexp2 gcd lcm equal not_equal logical_and logical_or logical_xor bitwise_and bitwise_or
    bitwise_xor maximum minimum
""")


class Function(Elementwise):
    """A function of the elements at one place.

    Args:
        commutes: Whether its operands may be exchanged.
        neutral: The number that changes nothing, as the second operand.
    """

    def __init__(self, *, commutes: bool = False, neutral: float | None = None) -> None:
        super().__init__()
        self._commutes, self.neutral = commutes, neutral

    def onnx(self, call: OnnxCall) -> None:
        """By the op's name."""
        write = FUNCTIONS.get(call.kind.removeprefix("ops."))
        if write is None:
            raise CannotTell(f"the writer does not know {call.kind}")
        write(call)

    def commutes(self, layer: Layer) -> bool:
        """As the constructor was told."""
        return self._commutes

    def identity(self, call: Call) -> str | None:
        """With the number that changes nothing as its other operand; either one, where they may be exchanged."""
        node = call.node
        if self.neutral is None or node is None or len(node.args) != 2 or len(node.inputs) != 1:
            return None
        if not self._commutes and not isinstance(node.args[0], Value):
            return None
        arrays = [array for leaf in node.args if (array := constant_of(leaf)) is not None]
        if len(arrays) == 1 and bool(np.all(arrays[0] == self.neutral)):
            return "its other operand changes nothing"
        return None


class FilledLike(Function):
    """``ops.zeros_like``, ``ops.ones_like``, ``ops.full_like``."""

    def reads_shape_only(self, layer: Layer) -> bool:
        """Always."""
        return True


class WeightedSum(Function):
    """Sums and differences.

    Args:
        second: What the second operand is multiplied by.
        mean: Whether the sum is divided by the number of operands.
    """

    def __init__(self, *, second: float = 1.0, mean: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.second, self.mean = second, mean

    def onnx(self, call: OnnxCall) -> None:
        """Additions one after the other, or a subtraction."""
        write_chain(call, "Sub" if self.second == -1 else "Add", mean=self.mean)

    def combination(self, layer: Layer, operands: int) -> Combination | None:
        """A sum; a difference of two."""
        if self.mean:
            return Sum((1 / operands,) * operands)
        if self.second == 1:
            return Sum((1.0,) * operands)
        return Sum((1.0, self.second)) if operands == 2 else None


class Multiplication(Function):
    """Products."""

    def onnx(self, call: OnnxCall) -> None:
        """Multiplications one after the other."""
        write_chain(call, "Mul")

    def combination(self, layer: Layer, operands: int) -> Combination:
        """A product."""
        return Product()


class _Merge(Function):
    """A layer that merges a list of tensors."""

    def identity(self, call: Call) -> str | None:
        """With a single operand."""
        node = call.node
        if node is None or not len(node.inputs) == len(list(leaves(node.operands))) == 1:
            return None
        return "it merges one tensor"


class MergedSum(_Merge, WeightedSum):
    """Add, Subtract, Average."""


class MergedProduct(_Merge, Multiplication):
    """Multiply."""


class FirstOperand(Elementwise):
    """``ops.isin``, ``ops.digitize``: every position of the first operand against all of the second."""

    def channels(self, call: ChannelCall) -> Labels:
        """As the first operand; nothing of the second may go."""
        labels, *others = call.inputs
        for other in others:
            for factor in other.factors:
                call.freeze(factor.ids, Reason.MIXED)
        return labels

    def onnx(self, call: OnnxCall) -> None:
        """Every element compared with all of the other operand."""
        first, second = call.input, call.tensor(1, "x2", call.input.dtype)
        order, counts = first.order, call.kind == "ops.digitize"
        dtype = "float32" if counts else wide(common_dtype(call))
        x = term(call, first, order, dtype).unsqueeze(first.rank)
        others = term(call, second, None, dtype).reshape([-1])
        if counts:
            made = (x >= others).to("int32").reduce("ReduceSum", [first.rank], keepdims=False)
        else:
            made = x.equals(others).to("int32").reduce("ReduceMax", [first.rank], keepdims=False).to("bool")
            made = ~made if call.config.get("invert") else made
        give(call, made, order)


class Cast(Elementwise):
    """``ops.cast``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Cast."""
        order = call.input.order
        call.give(call.read(call.input, order, call.output.dtype), order)

    def carries(self, layer: Layer, rank: int) -> bool:
        """From numbers to numbers with a point, rounding aside."""
        return "float" in str(layer.config.get("dtype"))

    def identity(self, call: Call) -> str:
        """To the dtype that the tensor has."""
        if call.input.dtype == call.output.dtype:
            return "the tensor has that dtype already"
        raise CannotTell(f"it turns {call.input} into {call.output}")


class Copy(Elementwise):
    """``ops.copy``."""

    def carries(self, layer: Layer, rank: int) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        call.give_operand(call.input)

    def identity(self, call: Call) -> str:
        """Always."""
        return "it returns what it reads"


def constant_of(leaf: Any) -> np.ndarray[Any, Any] | None:
    """A number or array among the operands, or ``None`` for anything else."""
    if isinstance(leaf, (int, float, np.ndarray, np.generic)) and not isinstance(leaf, bool):
        return np.asarray(leaf)
    if hasattr(leaf, "numpy") and not isinstance(leaf, Value):  # a tensor that was given as an operand
        return np.asarray(leaf)
    return None


_FUNCTIONS = words("""
    abs absolute angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_invert
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor cbrt ceil clip conj
    conjugate cos cosh deg2rad divide_no_nan equal erf erfc erfinv exp exp2
    expm1 fabs floor floor_divide fmax fmin fmod gcd greater greater_equal heaviside hypot i0 imag
    isclose isfinite isinf isnan isneginf isposinf isreal lcm ldexp left_shift less less_equal log
    log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod
    nan_to_num negative nextafter not_equal polar rad2deg real reciprocal right_shift round
    rsqrt saturate_cast sign signbit sin sinc sinh sqrt square tan tanh trunc where
""")

for _name in _FUNCTIONS:
    register_rule(f"ops.{_name}", Function(commutes=_name in _COMMUTING))
register_rule("ops.add", WeightedSum(commutes=True, neutral=0))
register_rule("ops.subtract", WeightedSum(second=-1.0, neutral=0))
register_rule("ops.multiply", Multiplication(commutes=True, neutral=1))
register_rule(("ops.divide", "ops.true_divide", "ops.power"), Function(neutral=1))
register_rule(("ops.isin", "ops.digitize"), FirstOperand())
register_rule(("ops.zeros_like", "ops.ones_like", "ops.full_like"), FilledLike())
register_rule("ops.cast", Cast())
register_rule("ops.copy", Copy())
register_rule("Add", MergedSum(commutes=True))
register_rule("Average", MergedSum(commutes=True, mean=True))
register_rule("Subtract", WeightedSum(second=-1.0))
register_rule("Multiply", MergedProduct(commutes=True))
register_rule(("Maximum", "Minimum"), _Merge(commutes=True))
