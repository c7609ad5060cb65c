"""What the library knows about a family of layers, in one object.

``Rule`` lists all that any part of the library asks; ``kerasurgeon.rules.asking`` is how it asks.
"""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.answers import Affine, Combination, Mixing, Movement, Normalisation, Recurrent, Statistics
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Positions
from kerasurgeon.rules.tflite_call import TfliteCall


class Rule:
    """What the analyses ask about one family of layers or ops. Override what you can answer.

    A rule holds no state of a call: one object serves every call of every model. Each method takes the call
    or the layer it is about; what a method does not know, it says by raising ``CannotTell`` with a reason,
    never by a guess.

    Example:
        >>> class LowRankRule(Rule):
        ...     def macs(self, call):
        ...         features, units = call.input.shape[-1], call.output.shape[-1]
        ...         return elements(call.input.shape[:-1]) * call.config["rank"] * (features + units)
        >>> register_rule(LowRank, LowRankRule())
    """

    def macs(self, call: Call) -> int:
        """Multiply-accumulates of one call in inference, for the sizes in the call (the batch included).

        Counted are the multiply-accumulates of linear maps and contractions: convolutions, dense layers,
        matrix products, attention, recurrent cells. Biases, activations, norms, pooling, element-wise
        arithmetic, interpolation and data movement count as 0. See ``kerasurgeon.costs`` for the whole
        convention.

        Raises:
            CannotTell: The number cannot be told. The call is then listed as unknown, and counts as 0.
        """
        raise CannotTell(self._unsaid(call.kind, "what a call costs"))

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """The labels of the outputs, and, through the call's methods, what holds which labels.

        Ask ``call.input`` and ``call.operand`` for labels that come in, ``call.fresh`` for those of channels that the
        layer makes, and say with ``call.weight`` which axes of the weights carry them, with ``call.count`` which
        entries of the config are their number, and with ``call.tie``, ``call.only`` and ``call.freeze`` what cannot
        go apart or at all. Every weight must be named. See docs/channels.md.

        Raises:
            CannotTell: The rule does not know. Nothing that this call reads or makes can then shrink.
        """
        raise CannotTell(self._unsaid(call.kind, "how channels pass"))

    def keeps_batch(self, layer: Layer) -> bool:
        """Whether the outputs' axis 0 is as long as the inputs', where both are unknown until run time.

        ``False`` is always safe: Keras is then asked for the output shape.
        """
        return False

    def output_specs(self, call: Call) -> tuple[TensorSpec, ...]:
        """The outputs, where the rule knows sizes that Keras leaves open. By default those of the call."""
        return call.outputs

    def linear(self, layer: Layer) -> LinearForm | None:
        """The layer as kernels and a bias, before its activation; ``None`` if it is nothing like it.

        Folding, merging, factorising, least squares, sparsity and MorphNet work on every layer that has this form.

        Raises:
            CannotTell: It multiplies by kernels, but not in such a form, or not this layer.
        """
        raise CannotTell(self._unsaid(layer.kind, "whether it is linear"))

    def recurrences(self, layer: Layer) -> tuple[Recurrent, ...]:
        """The recurrences that it runs over what it reads, as products; least squares fits their kernels.

        Raises:
            CannotTell: It is recurrent, but not in such a form.
        """
        return ()

    def positions(self, layer: Layer, rank: int) -> Positions:
        """What it does along the axes between batch and channels.

        Args:
            layer: The layer.
            rank: How many axes its first operand has.

        Raises:
            CannotTell: The rule does not know.
        """
        raise CannotTell(self._unsaid(layer.kind, "what it does along spatial axes"))

    def channelwise(self, layer: Layer) -> bool:
        """Whether every channel of the result is computed from the same channel of the operands alone.

        Raises:
            CannotTell: The rule does not know.
        """
        raise CannotTell(self._unsaid(layer.kind, "whether channels meet"))

    def activation(self, layer: Layer) -> str | None:
        """The name of the activation that it ends in, as ``keras.activations`` knows it; ``None`` without a known one.

        By default the config's entry.
        """
        entry = layer.config.get("activation")
        if isinstance(entry, dict):
            entry = entry.get("config") if entry.get("class_name") == "function" else entry.get("class_name")
        return entry.lower() if isinstance(entry, str) else None

    def combination(self, layer: Layer, operands: int) -> Combination | None:
        """The sum, product or concatenation that it gives of its operands; ``None`` if it gives none of these."""
        return None

    def movement(self, layer: Layer, rank: int) -> Movement | None:
        """How it moves elements about, if it does nothing else; ``None`` if it computes.

        Args:
            layer: The layer.
            rank: How many axes its operand has.
        """
        return None

    def affine(self, layer: Layer) -> Affine | None:
        """What it multiplies every channel by and adds to it, in inference; ``None`` if it is nothing like it."""
        return None

    def statistics(self, layer: Layer, rank: int) -> Statistics | None:
        """Means and variances of the result that hold whatever it reads; ``None`` if they depend on it.

        Raises:
            CannotTell: They do not depend on it, but cannot be told.
        """
        return None

    def normalisation(self, layer: Layer, rank: int) -> Normalisation | None:
        """The statistics over one axis that it divides by; ``None`` if it does something else.

        Args:
            layer: The layer.
            rank: How many axes its first operand has.
        """
        return None

    def mixing(self, layer: Layer) -> Mixing | None:
        """The kernels between which its channels are; ``None`` if channels meet something else too.

        Raises:
            CannotTell: As ``linear``.
        """
        form = self.linear(layer)
        if form is None:
            return None
        first, last = (not kernel.depthwise and kernel.groups == 1 for kernel in (form.kernels[0], form.kernels[-1]))
        made = last and layer.config.get("activation") in (None, "linear")
        return Mixing({form.kernels[0].key: form.bias} if first else {}, made, form.even, form.new_bias)

    def carries(self, layer: Layer, rank: int) -> bool:
        """Whether it does the same to all channels, by sums with weights: a matrix may stand before it or behind it.

        Args:
            layer: The layer.
            rank: How many axes its first operand has.
        """
        return self.only_in_training(layer) or self.movement(layer, rank) is not None

    def multiplies(self, layer: Layer) -> bool:
        """Whether it is a sum of products of its operands: twice one of them gives twice the result."""
        return False

    def identity(self, call: Call) -> str | None:
        """Why a call returns what it reads, as in "its rate is 0"; ``None`` if no setting could make it so.

        Raises:
            CannotTell: It does not with these settings; the message says why.
        """
        return None

    def only_in_training(self, layer: Layer) -> bool:
        """Whether it returns its operand as it is in inference, and does something in training."""
        return False

    def passes_mask(self, layer: Layer) -> bool:
        """Whether it hands on the mask of what it reads. ``False`` is always safe."""
        return False

    def reads_shape_only(self, layer: Layer) -> bool:
        """Whether of its first operand only the shape matters."""
        return False

    def commutes(self, layer: Layer) -> bool:
        """Whether its operands may be exchanged."""
        return False

    def onnx(self, call: OnnxCall) -> None:
        """Write a call in inference with ONNX's operators.

        Read operands by ``call.read`` and weights by ``call.weight``, add operators with ``call.op``, and say with
        ``call.give`` what each output is. See docs/onnx.md.

        Raises:
            CannotTell: The rule does not know how; the model is then exported by way of tf2onnx.
        """
        raise CannotTell(self._unsaid(call.kind, "how it is written"))

    def tflite(self, call: TfliteCall) -> None:
        """Write a call in inference with TFLite's operators: by default as ``onnx`` does, in TFLite's words.

        ``call.op`` takes ONNX's names of operators and adds what TFLite has for them. Override this for what TFLite has
        an operator of its own for, or the two formats differ in; ``call.native`` adds operators by TFLite's names.

        Raises:
            CannotTell: The rule does not know how; the model is then exported by way of TensorFlow's converter.
        """
        self.onnx(call)

    def _unsaid(self, kind: str, what: str) -> str:
        """The reason of an answer that was not given."""
        return f"the rule for {kind} does not say {what}"


class NeverLinear(Rule):
    """Layers and ops that multiply by kernels, but never as a ``LinearForm`` says."""

    why_not_linear = "its kernels are not weights of its own"
    convolves = False
    """Whether it convolves, so that a report on what is factorised names it among what is left alone."""

    def linear(self, layer: Layer) -> LinearForm | None:
        """Not in that form.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell(self.why_not_linear)


class Free(Rule):
    """Layers and ops without multiply-accumulates.

    Args:
        keeps_batch: Whether axis 0 stays the batch.
    """

    def __init__(self, *, keeps_batch: bool = True) -> None:
        self._keeps_batch = keeps_batch

    def macs(self, call: Call) -> int:
        """None."""
        return 0

    def keeps_batch(self, layer: Layer) -> bool:
        """As the constructor was told."""
        return self._keeps_batch

    def linear(self, layer: Layer) -> LinearForm | None:
        """It has no kernels."""
        return None


class NoRule(Rule):
    """What is found for a kind that has no rule: it answers nothing."""

    def _unsaid(self, kind: str, what: str) -> str:
        return f"there is no rule for {kind}; kerasurgeon.rules.register_rule adds one"
