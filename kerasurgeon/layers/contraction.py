"""Products of tensors: the ops, and the layer Dot."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.contracting import Kernel, Tensor, constant, contract
from kerasurgeon.layers.einsum import contraction_macs, parse
from kerasurgeon.layers.elementwise import joined
from kerasurgeon.layers.onnx_contracting import (
    write_contraction,
    write_dot_layer,
    write_inner,
    write_matmul,
    write_tensordot,
    write_vdot,
)
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Rule


def contracted(call: ChannelCall, terms: Sequence[str], result: str) -> Labels:
    """The labels of a contraction of all operands, tensors and constants."""
    tensors: list[Tensor] = []
    kernels: list[Kernel] = []
    for position, (labels, letters) in enumerate(zip(call.inputs, terms, strict=True)):
        if labels.array is None:
            tensors.append(Tensor(position, labels, letters))
        else:
            kernels.append(constant(call, labels, letters))
    return contract(call, tensors, kernels, result)


def _pair(call: ChannelCall) -> tuple[int, int]:
    """The ranks of both operands."""
    if len(call.inputs) != 2:
        raise CannotTell("an operand is not a tensor")
    return call.inputs[0].rank, call.inputs[1].rank


class _OfTensors(Rule):
    def multiplies(self, layer: Layer) -> bool:
        """Always."""
        return True


class MatMul(_OfTensors):
    """``ops.matmul``."""

    def onnx(self, call: OnnxCall) -> None:
        """A MatMul."""
        write_matmul(call)

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        return elements(call.output.shape) * elements(call.tensor(0, "x1").shape[-1:])

    def channels(self, call: ChannelCall) -> Labels:
        """The last axis of the first operand with the last but one of the second; axes before them are the batch."""
        one, two = _pair(call)
        if not one or not two:
            raise CannotTell("an operand has no axes")
        hidden = ascii_letters[: max(one, two, 2) - 2]
        rows, columns = "Y" * (one > 1), "Z" * (two > 1)
        first = hidden[len(hidden) - max(one - 2, 0) :] + rows + "X"
        second = hidden[len(hidden) - max(two - 2, 0) :] + "X" + columns
        return contracted(call, (first, second), hidden + rows + columns)

    def keeps_batch(self, layer: Layer) -> bool:
        """Where only axis 0 is unknown, it is the batch or the rows of the first operand."""
        return True


class InnerProduct(_OfTensors):
    """``ops.dot`` and ``ops.inner``: with a number, a plain multiplication."""

    def onnx(self, call: OnnxCall) -> None:
        """A MatMul, or an Einsum."""
        write_inner(call)

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        first, second = call.tensor(0, "x1").shape, call.tensor(1, "x2").shape
        return elements(call.output.shape) * elements(first[-1:]) if first and second else 0

    def channels(self, call: ChannelCall) -> Labels:
        """Of ``inner`` both last axes; of ``dot`` the last one with the last but one; all other axes stay."""
        if len(call.inputs) == 1 or not all(labels.rank for labels in call.inputs):
            return joined(call, call.inputs)
        one, two = _pair(call)
        first, second = ascii_letters[: one - 1], ascii_letters[one - 1 : one + two - 2]
        place = len(second) if call.kind == "ops.inner" else max(len(second) - 1, 0)
        return contracted(call, (first + "Z", second[:place] + "Z" + second[place:]), first + second)


class VectorDot(_OfTensors):
    """``ops.vdot``: both operands flattened."""

    def onnx(self, call: OnnxCall) -> None:
        """A sum of products."""
        write_vdot(call)

    def macs(self, call: Call) -> int:
        """Elements of an operand."""
        shape = call.tensor(0, "x1").shape
        return elements(shape) if shape else 0


class TensorDot(_OfTensors):
    """``ops.tensordot``: over the last and first ``axes`` axes, or over those listed."""

    def onnx(self, call: OnnxCall) -> None:
        """An Einsum, or a MatMul where it is one."""
        write_tensordot(call)

    def macs(self, call: Call) -> int:
        """Output elements x all contracted axes."""
        shape = call.tensor(0, "x1").shape
        axes: Any = call.config.get("axes", 2)
        if isinstance(axes, int):
            summed = shape[len(shape) - axes :]
        else:
            first = axes[0]
            summed = tuple(shape[axis] for axis in ([first] if isinstance(first, int) else first))
        return elements(call.output.shape) * elements(summed) if summed else 0

    def channels(self, call: ChannelCall) -> Labels:
        """The contracted axes in pairs; all others stay."""
        one, two = _pair(call)
        axes: Any = call.config.get("axes", 2)
        if isinstance(axes, int):
            pairs = [(one - axes + place, place) for place in range(axes)]
        else:
            left, right = ([side] if isinstance(side, int) else list(side) for side in axes)
            pairs = [(axis % one, other % two) for axis, other in zip(left, right, strict=True)]
        first, second = list(ascii_letters[:one]), list(ascii_letters[one : one + two])
        for axis, other in pairs:
            second[other] = first[axis]
        staying = [letter for letter in (*first, *second) if not (letter in first and letter in second)]
        return contracted(call, ("".join(first), "".join(second)), "".join(staying))


class Einsum(_OfTensors):
    """``ops.einsum``."""

    def onnx(self, call: OnnxCall) -> None:
        """An Einsum, or a MatMul where it is one."""
        terms, result = parse(str(call.config.get("subscripts")), [operand.rank for operand in call.inputs])
        write_contraction(call, call.inputs, terms, result)

    def macs(self, call: Call) -> int:
        """See ``einsum.contraction_macs``."""
        subscripts = call.config.get("subscripts")
        if not isinstance(subscripts, str):
            raise CannotTell("its subscripts are no string")
        return contraction_macs(subscripts, [spec.shape for spec in call.inputs])

    def channels(self, call: ChannelCall) -> Labels:
        """As the letters say."""
        subscripts = call.config.get("subscripts")
        if not isinstance(subscripts, str):
            raise CannotTell("its subscripts are no string")
        terms, result = parse(subscripts, [labels.rank for labels in call.inputs])
        return contracted(call, terms, result)


class DotLayer(Rule):
    """Dot: one axis of each operand contracted, the batch kept."""

    def onnx(self, call: OnnxCall) -> None:
        """A MatMul, or an Einsum."""
        write_dot_layer(call)

    def macs(self, call: Call) -> int:
        """Output elements x the contracted axis."""
        first, axes = call.inputs[0].shape, call.config["axes"]
        axis = axes if isinstance(axes, int) else axes[0]
        return elements(call.output.shape) * elements([first[axis]])

    def channels(self, call: ChannelCall) -> Labels:
        """One axis of each operand; where they are normalised over it, what is zero does not count."""
        one, two = _pair(call)
        axes = call.config["axes"]
        left, right = (axes, axes) if isinstance(axes, int) else axes
        left, right = left % one, right % two
        first = ["A", *ascii_letters[: one - 1]]
        second = ["A", *ascii_letters[one : one + two - 1]]
        first[left] = second[right] = "Z"
        staying = [letter for letter in (*first, *second[1:]) if letter != "Z"]
        staying += ["Y"] * (len(staying) == 1)  # two vectors give one column
        if call.config.get("normalize"):
            for position, axis in enumerate((left, right)):
                call.mask(call.inputs[position], axis, position)
        return contracted(call, ("".join(first), "".join(second)), "".join(staying))

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


register_rule("ops.matmul", MatMul())
register_rule(("ops.dot", "ops.inner"), InnerProduct())
register_rule("ops.vdot", VectorDot())
register_rule("ops.tensordot", TensorDot())
register_rule("ops.einsum", Einsum())
register_rule("Dot", DotLayer())
