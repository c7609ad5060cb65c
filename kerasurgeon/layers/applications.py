"""Layers of ``keras.applications`` that ``keras.layers`` does not have."""

from __future__ import annotations

from kerasurgeon.layers.elementwise import Elementwise
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.rule import Free, Rule


class LayerScale(Free):
    """ConvNeXt's LayerScale: a learned factor per channel of the last axis."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=True)

    def channels(self, call: ChannelCall) -> Labels:
        """The factors shrink with the channels."""
        ids = call.along(call.input, -1)
        for key in call.weights:  # Keras gives it no name
            call.weight(key, {0: ids})
        call.count(projection_dim=ids)
        return call.input


APPLICATION_RULES: dict[str, Rule] = {
    "custom:keras.src.applications.convnext.LayerScale": LayerScale(),
    "custom:keras.src.applications.convnext.StochasticDepth": Elementwise(),
    "custom:keras.src.applications.inception_resnet_v2.CustomScaleLayer": Elementwise(),
}
