"""Activations, as layers and as ops."""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.activations import ACTIVATION_OPS, MIXING, activated, keeps_apart
from kerasurgeon.layers.elementwise import Elementwise, joined
from kerasurgeon.layers.norms import normalised_axes
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.positions import Each
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class ActivationLayer(Elementwise):
    """ReLU, LeakyReLU, ELU."""

    def passes_mask(self, layer: Layer) -> bool:
        """Always."""
        return True


class Activation(ActivationLayer):
    """Activation: by name; softmax and the like normalise over the last axis."""

    def channels(self, call: ChannelCall) -> Labels:
        """What stands at one position is tied."""
        factor = call.input.factor(-1)
        activated(call, None if factor is None else factor.ids)
        return joined(call, call.inputs)

    def channelwise(self, layer: Layer) -> bool:
        """By the name."""
        return keeps_apart(layer.config.get("activation"))

    def identity(self, call: Call) -> str:
        """``Activation("linear")``."""
        activation = call.config["activation"]
        if activation not in (None, "linear"):
            name = activation.get("config") if isinstance(activation, dict) else activation
            raise CannotTell(f"its activation is {name!r}, not linear")
        return "its activation is linear"


class ActivationOp(Elementwise):
    """An activation as an op."""

    def activation(self, layer: Layer) -> str:
        """Its own name."""
        return layer.kind.removeprefix("ops.")


class PReLU(Elementwise):
    """PReLU: one slope per position of the axes that are not shared."""

    def channels(self, call: ChannelCall) -> Labels:
        """The slopes along an axis that shrinks shrink with it."""
        shared = set(call.config.get("shared_axes") or ())
        held: dict[int | tuple[int, ...], Ids | None] = {}
        factors = []
        for factor in call.input.factors:
            own = [axis for axis in factor.axes if axis not in shared]
            kept = factor if len(own) in (0, len(factor.axes)) else call.collapse(factor, own)
            factors.append(kept)
            if own:
                held[tuple(axis - 1 for axis in kept.axes)] = kept.ids
        call.weight("alpha", held)
        return Labels(call.shape, tuple(factors), call.input.why)


class SoftmaxOverAxes(Free):
    """Softmax over some axes: every position counts in every result."""

    def activation(self, layer: Layer) -> str:
        """Its own name."""
        return layer.kind.removeprefix("ops.").lower()

    def channels(self, call: ChannelCall) -> Labels:
        """May shrink, not exactly."""
        labels = joined(call, call.inputs)
        axes = normalised_axes(call.config.get("axis", -1), labels.rank)
        for factor in labels.factors:
            if set(factor.axes).intersection(axes):
                call.inexactly(factor.ids, Reason.NORMALISED)
        return labels

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself, where it works over the channels.

        Raises:
            CannotTell: It works over other axes.
        """
        axes = normalised_axes(layer.config.get("axis", -1), rank)
        if axes != [rank - 1]:
            raise CannotTell(f"it works over the axes {axes}")
        return Each()


register_rule(("ReLU", "LeakyReLU", "ELU"), ActivationLayer())
register_rule("Activation", Activation())
register_rule("PReLU", PReLU())
register_rule("Softmax", SoftmaxOverAxes())
register_rule([f"ops.{name}" for name in ACTIVATION_OPS if name not in MIXING], ActivationOp())
register_rule(("ops.softmax", "ops.log_softmax", "ops.sparsemax"), SoftmaxOverAxes())
