"""Layers of training twins: scales and gates of channels. They are folded into what is before them in the end."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.answers import Affine
from kerasurgeon.rules.call import Call
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Rule


class _PerChannel(keras.layers.Layer):
    """Multiplies every channel with a number of its own."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    def _vector(self, name: str, shape: Any, initializer: Any) -> Any:
        return self.add_weight(name=name, shape=(shape[self.axis],), initializer=initializer, dtype="float32")

    def _scaled(self, inputs: Any, vector: Any) -> Any:
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        return inputs * ops.cast(ops.reshape(vector, shape), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The operand's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable("kerasurgeon")
class ChannelScale(_PerChannel):
    """Multiplies every channel with a learned number, one at first: a batch norm's scale where there is none.

    Args:
        axis: The axis of the channels.
        **kwargs: As for any layer.
    """

    def build(self, input_shape: Any) -> None:
        """Make the scales."""
        self.gamma = self._vector("gamma", input_shape, "ones")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Scale."""
        return self._scaled(inputs, self.gamma)


@keras.saving.register_keras_serializable("kerasurgeon")
class ChannelGate(_PerChannel):
    """Lets every channel through, or not, at random in training; its log-odds are learned.

    In training a channel is multiplied with ``sigmoid((log-odds + logistic noise) / temperature)``, nearly 0 or 1 at
    low temperatures; the gradient is that of the probability ``sigmoid(log-odds)`` if ``straight_through``, else that
    of the sample. In inference it is multiplied with the probability where that is above one half, and else with 0.

    Args:
        axis: The axis of the channels.
        initial: Log-odds at first.
        temperature: See above.
        straight_through: See above.
        seed: Seed of the noise.
        **kwargs: As for any layer.

    Reference:
        Gordon et al. (MorphNet), the LogisticSigmoid regulariser; Maddison et al., "The Concrete Distribution", ICLR
        2017, arXiv:1611.00712.
    """

    def __init__(
        self,
        axis: int = -1,
        initial: float = 2.5,
        temperature: float = 1e-3,
        straight_through: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.initial, self.temperature = float(initial), float(temperature)
        self.straight_through, self.seed = bool(straight_through), int(seed)
        self.noise = keras.random.SeedGenerator(self.seed)

    def build(self, input_shape: Any) -> None:
        """Make the log-odds."""
        self.logits = self._vector("logits", input_shape, keras.initializers.Constant(self.initial))
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Let through what is open."""
        logits = ops.cast(ops.convert_to_tensor(self.logits), "float32")
        probability = ops.sigmoid(logits)
        if not training:
            return self._scaled(inputs, ops.where(logits > 0, probability, 0.0))
        uniform = keras.random.uniform(ops.shape(logits), 1e-6, 1 - 1e-6, seed=self.noise)
        noise = ops.log(uniform) - ops.log1p(-uniform)
        sample = ops.sigmoid((logits + noise) / self.temperature)
        if self.straight_through:
            sample = probability + ops.stop_gradient(sample - probability)
        return self._scaled(inputs, sample)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        own = {name: getattr(self, name) for name in ("initial", "temperature", "straight_through", "seed")}
        return {**super().get_config(), **own}


SCALE, GATE = kind_of(ChannelScale), kind_of(ChannelGate)


class _PerChannelRule(Rule):
    """Channels pass, and each has its number."""

    def macs(self, call: Call) -> int:
        """None: it is folded away."""
        return 0

    def channels(self, call: ChannelCall) -> Labels:
        """As they come."""
        ids = call.along(call.input, call.config["axis"])
        for key in ("gamma", "logits"):
            call.weight(key, {0: ids})
        return call.input

    def keeps_batch(self, layer: Any) -> bool:
        """Always."""
        return True

    def affine(self, layer: Layer) -> Affine | None:
        """The scales; gates are chances."""
        gamma = layer.array("gamma")
        if gamma is None:
            return None
        return Affine(gamma.astype("float64"), 0.0 * gamma, int(layer.config["axis"]), "gamma", "")


register_rule(ChannelScale, _PerChannelRule())
register_rule(ChannelGate, _PerChannelRule())
