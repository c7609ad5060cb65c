"""Products of tensors: the ops, and the layer Dot."""

from __future__ import annotations

from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.einsum import contraction_macs
from kerasurgeon.rules.rule import Rule


class MatMul(Rule):
    """``ops.matmul``."""

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        return elements(call.output.shape) * elements(call.tensor(0, "x1").shape[-1:])

    def keeps_batch(self, layer: Layer) -> bool:
        """Where only axis 0 is unknown, it is the batch or the rows of the first operand."""
        return True


class InnerProduct(Rule):
    """``ops.dot`` and ``ops.inner``: with a number, a plain multiplication."""

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        first, second = call.tensor(0, "x1").shape, call.tensor(1, "x2").shape
        return elements(call.output.shape) * elements(first[-1:]) if first and second else 0


class VectorDot(Rule):
    """``ops.vdot``: both operands flattened."""

    def macs(self, call: Call) -> int:
        """Elements of an operand."""
        shape = call.tensor(0, "x1").shape
        return elements(shape) if shape else 0


class TensorDot(Rule):
    """``ops.tensordot``: over the last and first ``axes`` axes, or over those listed."""

    def macs(self, call: Call) -> int:
        """Output elements x all contracted axes."""
        shape = call.tensor(0, "x1").shape
        axes: Any = call.config.get("axes", 2)
        if isinstance(axes, int):
            contracted = shape[len(shape) - axes :]
        else:
            first = axes[0]
            contracted = tuple(shape[axis] for axis in ([first] if isinstance(first, int) else first))
        return elements(call.output.shape) * elements(contracted) if contracted else 0


class Einsum(Rule):
    """``ops.einsum``."""

    def macs(self, call: Call) -> int:
        """See ``einsum.contraction_macs``."""
        subscripts = call.config.get("subscripts")
        if not isinstance(subscripts, str):
            raise CannotTell("its subscripts are no string")
        return contraction_macs(subscripts, [spec.shape for spec in call.inputs])


class DotLayer(Rule):
    """Dot: one axis of each operand contracted, the batch kept."""

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        first, axes = call.inputs[0].shape, call.config["axes"]
        axis = axes if isinstance(axes, int) else axes[0]
        return elements(call.output.shape) * elements([first[axis]])

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True
