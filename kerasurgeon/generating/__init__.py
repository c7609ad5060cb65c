"""Inputs that are made from a network alone: matched to what its batch norms remember of the data."""

from kerasurgeon.generating.anchors import Anchor, find_anchors
from kerasurgeon.generating.api import generate_inputs
from kerasurgeon.generating.limits import checked_range
from kerasurgeon.generating.making import COUNT, SECONDS, Made, TooLittleTime, made_inputs

__all__ = [
    "COUNT",
    "SECONDS",
    "Anchor",
    "Made",
    "TooLittleTime",
    "checked_range",
    "find_anchors",
    "generate_inputs",
    "made_inputs",
]
