"""Dense layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers.activations import activated, hold_vector_apart
from kerasurgeon.layers.contracting import Axes, Kernel, Tensor, contract
from kerasurgeon.layers.einsum import contraction_macs, parse, sizes_of
from kerasurgeon.layers.onnx_dense import adapted, write_dense, write_einsum_dense, write_quantised_dense
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.linear import Kernel as WeightKernel
from kerasurgeon.rules.linear import LinearForm, plain_weights
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Rule

_MATRIX_PRODUCT = re.compile(
    r"(?P<before>[a-zA-Z]*(?:\.\.\.)?[a-zA-Z]*)(?P<read>[a-zA-Z]),(?P=read)(?P<made>[a-zA-Z])->(?P=before)(?P=made)"
)


class Dense(Rule):
    """Dense: over the last axis."""

    def linear(self, layer: Layer) -> LinearForm:
        """A matrix."""
        plain_weights(layer, "kernel")
        return LinearForm((WeightKernel("kernel"),))

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself."""
        return Each()

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
        activated(call, makes)
        last = labels.rank - 1
        passing = tuple(factor for factor in labels.factors if last not in factor.axes)
        return Labels(call.shape, (*passing, Factor((last,), makes)))

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Gemm; MatMul and Add where there are positions; a Conv where channels stand first."""
        if "kernel_scale" in call.weights:
            return write_quantised_dense(call)
        return write_dense(call, call.input, adapted(call.layer, "kernel"))


class EinsumDense(Rule):
    """EinsumDense: the operand contracted with a kernel, by an equation."""

    def onnx(self, call: OnnxCall) -> None:
        """As Dense where it is one; else a MatMul or an Einsum."""
        try:
            form = self.linear(call.layer)
        except CannotTell:
            form = None
        terms, result, shape = self._terms(call)
        sizes = sizes_of([terms[0], result], [shape, call.output.shape])
        if len(result) != len(call.output.shape) or any(
            None not in (own, sizes[letter]) and own != sizes[letter]
            for letter, own in zip((*terms[0], *result), (*shape, *call.output.shape), strict=True)
        ):
            raise CannotTell("Keras tells another shape of its result than the result has")
        if form is not None and form.by_channel:
            return write_dense(call, call.input, adapted(call.layer, "kernel"))
        return write_einsum_dense(call, terms, result)

    def linear(self, layer: Layer) -> LinearForm:
        """A matrix over the last axis, as Dense has, or a sum over other axes of the kernel."""
        plain_weights(layer, "kernel")
        equation = str(layer.config["equation"]).replace(" ", "")
        matrix = _MATRIX_PRODUCT.fullmatch(equation)
        if matrix is not None:
            made, bias = matrix["made"], layer.config["bias_axes"]
            letters = matrix["before"].replace("...", "") + matrix["read"] + made
            if bias in (None, "", made) and len(set(letters)) == len(letters):
                return LinearForm((WeightKernel("kernel"),), new_bias={"bias_axes": made})
        (term, own), result = equation.split("->")[0].split(","), equation.partition("->")[2]
        read = tuple(place - len(own) for place, letter in enumerate(own) if letter not in result)
        made_axes = tuple(place - len(own) for place, letter in enumerate(own) if letter not in term)
        letters = term.replace(".", "")
        shift = len(letters) if term.startswith("...") else 0  # axes are then counted from the end
        summed = tuple(place - shift for place, letter in enumerate(letters) if letter not in result)
        kernel = WeightKernel("kernel", read, made_axes)
        return LinearForm((kernel,), by_channel=False, sums_over=summed, new_bias=None)

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself, where it works over the last axis.

        Raises:
            CannotTell: It works over other axes, or has no plain kernel.
        """
        if not self.linear(layer).by_channel:
            raise CannotTell("it works over other axes than the last")
        return Each()

    def macs(self, call: Call) -> int:
        """What the equation costs: see ``einsum.contraction_macs``."""
        equation: str = call.config["equation"]
        terms, result, shape = self._terms(call)
        sizes = sizes_of([terms[0], result], [shape, call.output.shape])
        return contraction_macs(equation, [shape, [sizes.get(letter) for letter in terms[1]]])

    def channels(self, call: ChannelCall) -> Labels:
        """New channels for every letter that only the kernel has; each letter shrinks by itself."""
        terms, result, _ = self._terms(call)
        kernel = call.weights.get("kernel")
        if kernel is None:
            raise CannotTell("it has no plain kernel")

        def hold(axes: Axes, summed: Sequence[int | tuple[int, ...]]) -> None:
            call.weight("kernel", axes, contracts=summed)

        tensor = Tensor(0, call.input, terms[0])
        labels = contract(call, [tensor], [Kernel(terms[1], kernel.shape, hold, zeroed=True)], result)
        self._hold_bias(call, labels, result)
        self._follow(call, labels)
        factor = labels.factor(-1)
        activated(call, None if factor is None else factor.ids)
        return labels

    def _hold_bias(self, call: ChannelCall, labels: Labels, result: str) -> None:
        letters = [letter for letter in result if letter in (call.config["bias_axes"] or "")]
        if len(letters) == 1 and letters[0] != result[-1] and labels.factors:
            # ops.add takes such a bias for one of the last axis where the sizes agree, as they may after a cut.
            raise CannotTell("with TensorFlow, Keras may add a bias of one axis, not the last, along another axis")
        held: dict[int | tuple[int, ...], Ids | None] = {}
        for factor in labels.factors:
            own = [axis for axis in factor.axes if result[axis] in letters]
            if own:
                factor = factor if len(own) == len(factor.axes) else call.collapse(factor, own)
                # Axes of size one stand for the letters between two that the bias has.
                first = min(result.index(letter) for letter in letters)
                held[tuple(axis - first for axis in factor.axes)] = factor.ids
        call.weight("bias", held)
        if len(letters) > 1 and letters[-1] == result[-1] and "bias" in call.weights:
            axes = [result.index(letter) for letter in letters]
            made = [None if (one := labels.factor(axis)) is None else one.ids for axis in axes]
            sizes = [labels.shape[axis] or 1 for axis in axes]
            hold_vector_apart(call, list(zip(made, sizes, strict=True)), labels.shape[1])

    def _follow(self, call: ChannelCall, labels: Labels) -> None:
        """``output_shape`` leaves out the batch, and axes that an ellipsis stands for."""
        entry = call.config["output_shape"]
        sizes = [entry] if isinstance(entry, int) else list(entry)
        hidden = labels.rank - 1 - len(sizes)
        right = call.config["equation"].replace(" ", "").partition("->")[2].endswith("...")
        places = range(1, 1 + len(sizes)) if right else range(1 + hidden, labels.rank)

        def change(keep: Keep) -> dict[str, object]:
            kept = keep.shape(labels)
            new = [old if old is None else kept[place] for old, place in zip(sizes, places, strict=True)]
            return {} if new == sizes else {"output_shape": tuple(new)}

        call.change(change)

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

    def _terms(self, call: Call | ChannelCall | OnnxCall) -> tuple[list[str], str, tuple[int | None, ...]]:
        equation: str = call.config["equation"]
        shape = call.input.shape
        kernel = equation.partition("->")[0].partition(",")[2].strip()
        if not kernel or "." in kernel:
            raise CannotTell(f"the equation {equation!r} has no plain kernel")
        terms, result = parse(equation, [len(shape), len(kernel)])
        return terms, result, shape


register_rule("Dense", Dense())
register_rule("EinsumDense", EinsumDense())
