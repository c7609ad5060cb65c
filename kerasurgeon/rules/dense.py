"""Dense layers."""

from __future__ import annotations

from dataclasses import replace

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.einsum import contraction_macs, parse, sizes_of
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.rule import Rule


class Dense(Rule):
    """Dense: over the last axis."""

    def macs(self, call: Call) -> int:
        """Output elements x input features."""
        return elements(call.output.shape) * elements(call.input.shape[-1:])

    def channels(self, call: ChannelCall) -> Labels:
        """New channels along the last axis; other axes pass."""
        labels = call.input
        reads = call.along(labels, -1)
        makes = call.fresh(call.config["units"])
        call.weight("kernel", {0: reads, 1: makes}, contracts=0)
        call.weight("bias", {0: makes})
        call.count(units=makes)
        last = labels.rank - 1
        passing = tuple(factor for factor in labels.factors if last not in factor.axes)
        return Labels(call.shape, (*passing, Factor((last,), makes)))

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


class ReversibleEmbedding(Dense):
    """ReversibleEmbedding: a look-up one way, a dense layer the other way."""

    def macs(self, call: Call) -> int:
        """None for the look-up; output elements x features in reverse."""
        return super().macs(call) if call.operand(1, "reverse") else 0

    def channels(self, call: ChannelCall) -> Labels:
        """Its features are those that it reads in reverse: not cut.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell("its features are read in reverse as well")


class EinsumDense(Rule):
    """EinsumDense: the operand contracted with a kernel, by an equation."""

    def macs(self, call: Call) -> int:
        """What the equation costs: see ``einsum.contraction_macs``."""
        equation: str = call.config["equation"]
        terms, result, shape = self._terms(call)
        sizes = sizes_of([terms[0], result], [shape, call.output.shape])
        return contraction_macs(equation, [shape, [sizes.get(letter) for letter in terms[1]]])

    def keeps_batch(self, layer: Layer) -> bool:
        """The equation may put any axis first."""
        return False

    def output_specs(self, call: Call) -> tuple[TensorSpec, ...]:
        """Keras leaves sizes open that ``output_shape`` does not give, although the operand has them."""
        if None not in call.output.shape:
            return call.outputs
        terms, result, shape = self._terms(call)
        sizes = sizes_of([terms[0], result], [shape, call.output.shape])
        return (replace(call.output, shape=tuple(sizes[letter] for letter in result)),)

    def _terms(self, call: Call) -> tuple[list[str], str, tuple[int | None, ...]]:
        equation: str = call.config["equation"]
        shape = call.input.shape
        kernel = equation.partition("->")[0].partition(",")[2].strip()
        if not kernel or "." in kernel:
            raise CannotTell(f"the equation {equation!r} has no plain kernel")
        terms, result = parse(equation, [len(shape), len(kernel)])
        return terms, result, shape
