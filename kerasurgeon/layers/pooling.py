"""Poolings, paddings, croppings, up-samplings: they work along the spatial axes and leave channels apart."""

from __future__ import annotations

from collections.abc import Callable

from kerasurgeon.layers.convolution import channel_axis
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.rule import Free


class PerChannel(Free):
    """Every channel of the result is computed from the same channel of the operand.

    Args:
        axis: Where the channels are, by the call; by default where ``data_format`` says.
    """

    def __init__(self, axis: Callable[[ChannelCall], int] | None = None) -> None:
        super().__init__(keeps_batch=True)
        self.axis = axis

    def channels(self, call: ChannelCall) -> Labels:
        """As they were, perhaps at another axis where spatial axes went."""
        labels = call.input
        axis = (channel_axis(call.config) if self.axis is None else self.axis(call)) % labels.rank
        if len(call.shape) > labels.rank:  # ops.adaptive_average_pool, as Keras 3.15 has it
            raise CannotTell("Keras tells another shape of its result than the result has")
        kept = call.only(labels, axis)
        after = min(axis, len(call.shape) - 1) if axis > 1 else axis
        return kept.moved(call.shape, {axis: after})


def last_axis(call: ChannelCall) -> int:
    """The last axis, whatever the data format: layers over sequences without a ``data_format``."""
    return -1
