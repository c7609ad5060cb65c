"""Layers and ops over images that treat every channel alike."""

from __future__ import annotations

import keras

from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.rule import Free


class ImagePerChannel(Free):
    """Resizing, cropping, padding and warping of images: rows and columns move, channels stay apart."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=True)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels of channels pass."""
        labels, *others = call.inputs
        if labels.rank not in (3, 4):
            raise CannotTell("its operand is no image or batch of images")
        for other in others:
            for factor in other.factors:
                call.freeze(factor.ids, Reason.MIXED)
        first = (call.config.get("data_format") or keras.config.image_data_format()) == "channels_first"
        kept = call.only(labels, labels.rank - 3 if first else labels.rank - 1)
        return Labels(call.shape, kept.factors, labels.why)
