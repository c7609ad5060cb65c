"""Layers that return what they read in inference: dropout, noise, regularisation of activities, nothing at all."""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.elementwise import Elementwise
from kerasurgeon.layers.onnx_terms import give, term
from kerasurgeon.layers.pooling import PerChannel
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each, Positions
from kerasurgeon.rules.registry import FOREIGN, register_rule
from kerasurgeon.rules.rule import NoRule, Rule

DOES_SOMETHING = "it does something in training, which only training_layers=True gives up"


class OnlyInTraining(Elementwise):
    """Dropout, noise and the like.

    Args:
        *entries: Entries of the config that are all 0 where it does nothing in training either.
    """

    def __init__(self, *entries: str) -> None:
        super().__init__()
        self.entries = entries

    def only_in_training(self, layer: Layer) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        call.give_operand(call.input)

    def passes_mask(self, layer: Layer) -> bool:
        """Where it is a layer."""
        return bool(self.entries)

    def identity(self, call: Call) -> str:
        """At rate 0, also in training."""
        if not self.entries or any(call.config[entry] for entry in self.entries):
            raise CannotTell(DOES_SOMETHING)
        return "its rate is 0"


class SpatialDropout(PerChannel, OnlyInTraining):
    """SpatialDropout1D, SpatialDropout2D, SpatialDropout3D: whole channels go."""

    def __init__(self) -> None:
        OnlyInTraining.__init__(self, "rate")

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself."""
        return Each()


class Identity(Elementwise):
    """Identity."""

    def carries(self, layer: Layer, rank: int) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        call.give_operand(call.input)

    def passes_mask(self, layer: Layer) -> bool:
        """Always."""
        return True

    def identity(self, call: Call) -> str:
        """Always."""
        return "it returns what it reads"


class Masking(Elementwise):
    """Masking: whether a step is masked depends on all its channels."""

    def onnx(self, call: OnnxCall) -> None:
        """Zeros where all channels have the value of masked steps."""
        order = call.input.order
        x = term(call, call.input, order, call.output.dtype)
        differs = (~x.equals(float(call.config["mask_value"]))).to("int32")
        kept = differs.reduce("ReduceMax", [order.index(len(order) - 1)]).to("bool")
        give(call, kept.where(x, 0.0), order)

    def channelwise(self, layer: Layer) -> bool:
        """No."""
        return False

    def channels(self, call: ChannelCall) -> Labels:
        """Channels stay; labels along other axes pass."""
        return call.only(call.input, *range(call.input.rank - 1))


class Foreign(NoRule):
    """Layers from outside Keras without a rule: those that return what they read in inference are as dropout is."""

    def macs(self, call: Call) -> int:
        """None."""
        return self._answering(call.layer).macs(call)

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """Those of what it reads."""
        return self._answering(call.layer).channels(call)

    def keeps_batch(self, layer: Layer) -> bool:
        """As what it reads."""
        return self._answering(layer).keeps_batch(layer)

    def positions(self, layer: Layer, rank: int) -> Positions:
        """Each by itself."""
        return self._answering(layer).positions(layer, rank)

    def channelwise(self, layer: Layer) -> bool:
        """Each by itself."""
        return self._answering(layer).channelwise(layer)

    def only_in_training(self, layer: Layer) -> bool:
        """Where its code says so."""
        return layer.idle

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        self._answering(call.layer).onnx(call)

    def _answering(self, layer: Layer) -> Rule:
        return _IDLE if layer.idle else _UNKNOWN


_IDLE, _UNKNOWN = OnlyInTraining(), NoRule()
register_rule(FOREIGN, Foreign())
register_rule(("Dropout", "AlphaDropout", "GaussianDropout"), OnlyInTraining("rate"))
register_rule("GaussianNoise", OnlyInTraining("stddev"))
register_rule("ActivityRegularization", OnlyInTraining("l1", "l2"))
register_rule(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), SpatialDropout())
register_rule("ops.stop_gradient", OnlyInTraining())
register_rule("Identity", Identity())
register_rule("Masking", Masking())
