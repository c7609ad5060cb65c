"""The layer that stands for a scatter while channels are cut: from some channels back to all."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.rules.call import Call
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.rule import Rule


class Scatter(keras.layers.Layer):
    """Puts channels where they belong among more channels; what is missing is a constant.

    It is in a graph only between ``loosen_shortcuts`` and ``close_shortcuts``.

    Args:
        width: How many channels come out.
        kept: For every channel that goes in, its place among those that come out; by default all of them in order.
        axis: The axis of the channels.
        **kwargs: As for any layer.
    """

    def __init__(self, width: int, kept: list[int] | None = None, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.axis = int(width), int(axis)
        self.kept = list(range(self.width)) if kept is None else [int(place) for place in kept]

    def build(self, input_shape: Any) -> None:
        """Make the constant that is added: zeros, unless removed channels are compensated."""
        self.fill = self.add_weight(name="fill", shape=(self.width,), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Scatter, and add the constant."""
        result = inputs
        if self.kept != list(range(self.width)):
            matrix = np.zeros((len(self.kept), self.width), "float32")
            matrix[np.arange(len(self.kept)), self.kept] = 1.0
            moved = keras.ops.moveaxis(inputs, self.axis, -1)
            result = keras.ops.matmul(moved, keras.ops.convert_to_tensor(matrix, dtype=inputs.dtype))
            result = keras.ops.moveaxis(result, -1, self.axis)
        shape = [1] * len(inputs.shape)
        shape[self.axis] = self.width
        return result + keras.ops.cast(keras.ops.reshape(self.fill, shape), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The operand's, with the full width."""
        shape = list(input_shape)
        shape[self.axis] = self.width
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {**super().get_config(), "width": self.width, "kept": self.kept, "axis": self.axis}


SCATTER = f"custom:{Scatter.__module__}.{Scatter.__qualname__}"
"""The kind of the layer."""


class ScatterRule(Rule):
    """What goes in may shrink, and what is missing then counts as nothing; what comes out keeps its width."""

    def macs(self, call: Call) -> int:
        """None: it becomes a selection."""
        return 0

    def channels(self, call: ChannelCall) -> Labels:
        """Labels end here; those behind are frozen."""
        axis = call.config["axis"] % call.input.rank
        labels = call.only(call.input, axis)
        reads = call.along(labels, axis)
        if reads is not None:
            call.mask(Labels(labels.shape, (Factor((axis,), reads),)), axis, 0)
            places = list(call.config["kept"])
            call.change(lambda keep: _kept(keep, places, reads))
        fixed = call.fixed(call.config["width"], (Reason.REQUEST, call.name))
        call.weight("fill", {0: fixed})
        return call.output(fixed, axis)

    def keeps_batch(self, layer: Any) -> bool:
        """Always."""
        return True


def _kept(keep: Keep, places: list[int], reads: Any) -> dict[str, Any]:
    positions = keep.positions(reads)
    return {} if len(positions) == len(places) else {"kept": [places[position] for position in positions]}
