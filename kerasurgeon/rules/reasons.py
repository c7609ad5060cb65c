"""Why channels may not go, or not exactly: a fixed vocabulary."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why a group of channels is frozen, or why cutting it is not exact. The value is what users read."""

    MODEL_INPUT = "it belongs to an input of the model"
    MODEL_OUTPUT = "it belongs to an output of the model"
    NO_RULE = "there is no rule for a layer that reads or makes it"
    CANNOT_TELL = "the rule of a layer cannot tell what a cut would do to it"
    BIAS_AXIS = "with just so many channels, TensorFlow would add a bias along another axis"
    FIXED_AXIS = "it is combined with an axis that cannot shrink"
    SPREAD = "one channel is spread over an axis"
    MIXED = "a layer mixes the positions along its axis"
    PICKED = "a single position of its axis is picked by number"
    OPEN_SIZE = "a size is unknown until run time"
    MERGED = "two axes that shrink independently are merged into one"
    QUANTIZED = "a layer that holds it is quantised"
    TIED = "its weights are used by another layer"
    REQUEST = "it was to be left alone"
    NORMALISED = "it is normalised over its axis"
    REDUCED = "it is reduced over its axis with a statistic that counts its positions"

    def __str__(self) -> str:
        return self.value
