"""Activations: layers, ops, and what other layers end in, which may combine the channels that they made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.elementwise import Elementwise, joined
from kerasurgeon.layers.onnx_activations import write_activation
from kerasurgeon.layers.onnx_norms import normalised_axes
from kerasurgeon.layers.onnx_terms import Term, term
from kerasurgeon.layers.words import words
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free

ACTIVATION_OPS = frozenset(
    words("""
        celu elu gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid log_softmax relu
        relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax
        squareplus tanh_shrink threshold
    """)
)
"""Activations that are ops."""

MIXING = frozenset({"log_softmax", "softmax", "sparsemax", "glu"})
"""Activations of a channel that depend on other channels."""

_NORMALISING = frozenset({"log_softmax", "softmax", "sparsemax"})
_BY_POSITION = (ACTIVATION_OPS - MIXING) | {
    *("linear", "tanh", "mish", "exponential", "swish", "hard_swish", "softsign", "relu6"),
}
_LAYERS_BY_POSITION = frozenset({"ReLU", "LeakyReLU", "ELU"})


def keeps_apart(entry: Any) -> bool:
    """Whether an activation, as a config names it, computes every position from that position alone.

    Raises:
        CannotTell: It is not one of Keras' own.
    """
    if entry is None:
        return True
    if isinstance(entry, str) and (entry in _BY_POSITION or entry in MIXING):
        return entry in _BY_POSITION
    if isinstance(entry, dict) and entry.get("module") == "keras.layers" and entry["class_name"] in _LAYERS_BY_POSITION:
        return True
    name = entry.get("registered_name") or entry.get("class_name") if isinstance(entry, dict) else entry
    raise CannotTell(f"its activation {name!r} is not one of Keras' own, so that channels may meet in it")


def activated(call: ChannelCall, ids: Ids | None, axis_is_last: bool = True) -> None:
    """Say what the bias and the activation of a layer do to its output channels.

    Args:
        call: The call; ``config["activation"]`` is looked at.
        ids: The labels of the output channels.
        axis_is_last: Whether they stand along the last axis, which activations such as softmax work over.

    Raises:
        CannotTell: The activation is not one of Keras' own, or not a normalisation where it combines channels.
    """
    if not axis_is_last and ids is not None and "bias" in call.weights:
        hold_bias_apart(call, ids)
    entry = call.config.get("activation")
    if keeps_apart(entry) or ids is None or not axis_is_last:
        return
    if entry not in _NORMALISING:
        raise CannotTell(f"its activation {entry!r} combines channels")
    call.inexactly(ids, Reason.NORMALISED)


def hold_bias_apart(call: ChannelCall, ids: Ids) -> None:
    """Keep channels that are not last from being as many as positions of the last axis.

    With TensorFlow, ``keras.ops.add`` takes a bias of shape (channels, 1, ...) for one along the last axis if the sizes
    agree (Keras 3.15), so that the number of channels decides what a layer computes. Channels that are as many already,
    or may be where the last axis is open, stay.
    """
    last = call.shape[-1]
    if keras.config.backend() != "tensorflow":
        return
    if last is None or last == ids.size:
        call.freeze(ids, Reason.BIAS_AXIS)
    else:
        call.avoid(ids, last)


def hold_vector_apart(call: ChannelCall, bias: Sequence[tuple[Ids | None, int]], first: int | None) -> None:
    """The same of a bias with several axes, the last of which is the result's, where all but one become one long.

    What is left is a vector, which Keras takes for one along the axis behind the batch if the sizes agree.

    Args:
        call: The call.
        bias: The channels along each axis of the bias, ``None`` where they cannot go, and how many there are.
        first: The size of the result's axis behind the batch.
    """
    if keras.config.backend() != "tensorflow" or first is None or first < 2:
        return
    for place, (ids, size) in enumerate(bias[:-1]):
        if size < first or (ids is None and size > first):
            continue
        wide = [(other, count) for index, (other, count) in enumerate(bias) if index != place and count > 1]
        shrinks = [other for other, _ in wide if other is not None]
        if len(shrinks) < len(wide):
            continue  # one of them stays as wide as it is
        if shrinks:
            call.avoid(shrinks[0], 1)
        elif ids is not None and size == first:
            call.freeze(ids, Reason.BIAS_AXIS)
        elif ids is not None:
            call.avoid(ids, first)


def must_keep_apart(call: ChannelCall, *keys: str) -> None:
    """Give up where an activation of a recurrence mixes channels.

    Raises:
        CannotTell: One does, or is not one of Keras' own.
    """
    for key in keys:
        if not keeps_apart(call.config.get(key)):
            raise CannotTell(f"its {key} {call.config[key]!r} is computed over all channels")


def write_by_name(call: OnnxCall, entry: Any) -> None:
    """Write an activation of the first operand, in whatever order of axes that is."""
    order = call.input.order
    call.give(write_activation(call, entry, call.read(call.input, order), order), order)


def _as_entry(call: OnnxCall) -> Any:
    """A layer or op that is an activation, as the config of another layer would name it."""
    name = call.kind.removeprefix("ops.")
    if name == call.kind:
        return {"module": "keras.layers", "class_name": name, "config": call.config}
    return {"module": "keras", "class_name": "op", "name": name, "config": call.config}


class ActivationLayer(Elementwise):
    """ReLU, LeakyReLU, ELU."""

    def onnx(self, call: OnnxCall) -> None:
        """One operator, or few."""
        write_by_name(call, _as_entry(call))

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

    def onnx(self, call: OnnxCall) -> None:
        """By the name."""
        write_by_name(call, call.config["activation"])

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

    def onnx(self, call: OnnxCall) -> None:
        """One operator, or few."""
        write_by_name(call, _as_entry(call))


class PReLU(Elementwise):
    """PReLU: one slope per position of the axes that are not shared."""

    def onnx(self, call: OnnxCall) -> None:
        """PRelu, with slopes that broadcast from the left."""
        order = call.input.order
        own = [axis - 1 for axis in order if axis]
        slopes = call.weight("alpha", f"slopes {own}", lambda alpha: alpha.transpose(own))
        if order[0] != 0:
            raise CannotTell("the batch does not come first")
        call.give(call.op("PRelu", call.read(call.input, order), slopes), order)

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

    def onnx(self, call: OnnxCall) -> None:
        """One operator; what a mask leaves out becomes the lowest number first, and zero in the end."""
        mask = call.as_tensor(call.operand(1, "mask"))
        if mask is None:
            return write_by_name(call, _as_entry(call))
        order = call.input.order
        x = term(call, call.input, order, call.output.dtype)
        if mask.dtype == "bool":
            kept = Term(call, call.aligned(mask, order, "bool"), "bool")
        else:
            kept = Term(call, call.aligned(mask, order, mask.dtype), mask.dtype).to("float32") > 0.5
        x = kept.where(x, -3e4 if x.dtype == "float16" else -1e9)
        made = x.named(write_activation(call, _as_entry(call), x.name, order))
        return call.give(kept.where(made, 0.0).name, order)

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
