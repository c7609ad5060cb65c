"""What the library knows about a family of layers, in one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels


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
        raise CannotTell(f"the rule for {call.kind} does not say what a call costs")

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """The labels of the outputs, and, through the call's methods, what holds which labels.

        Ask ``call.input`` and ``call.operand`` for labels that come in, ``call.fresh`` for those of channels that the
        layer makes, and say with ``call.weight`` which axes of the weights carry them, with ``call.count`` which
        entries of the config are their number, and with ``call.tie``, ``call.only`` and ``call.freeze`` what cannot
        go apart or at all. Every weight must be named. See docs/channels.md.

        Raises:
            CannotTell: The rule does not know. Nothing that this call reads or makes can then shrink.
        """
        raise CannotTell(f"the rule for {call.kind} does not say how channels pass")

    def keeps_batch(self, layer: Layer) -> bool:
        """Whether the outputs' axis 0 is as long as the inputs', where both are unknown until run time.

        ``False`` is always safe: Keras is then asked for the output shape.
        """
        return False

    def output_specs(self, call: Call) -> tuple[TensorSpec, ...]:
        """The outputs, where the rule knows sizes that Keras leaves open. By default those of the call."""
        return call.outputs


RuleFor: TypeAlias = Callable[[str], Rule]
"""Finds the rule for a kind: what rules for wrappers are given, to ask about the layer inside."""


class Free(Rule):
    """Layers and ops without multiply-accumulates.

    Args:
        keeps_batch: Whether axis 0 stays the batch.
    """

    def __init__(self, *, keeps_batch: bool) -> None:
        self._keeps_batch = keeps_batch

    def macs(self, call: Call) -> int:
        """None."""
        return 0

    def keeps_batch(self, layer: Layer) -> bool:
        """As the constructor was told."""
        return self._keeps_batch


class NoRule(Rule):
    """What is found for a kind that has no rule."""

    def macs(self, call: Call) -> int:
        """Unknown.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell(f"there is no rule for {call.kind}; kerasurgeon.rules.register_rule adds one")

    def channels(self, call: ChannelCall) -> Labels:
        """Unknown.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell(f"there is no rule for {call.kind}; kerasurgeon.rules.register_rule adds one")
