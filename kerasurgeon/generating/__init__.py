"""Inputs that are made from a network alone: matched to what its batch norms remember of the data.

``generate_inputs`` is for users. Passes ask ``find_anchors`` whether a graph holds statistics and ``made_inputs`` for
inputs within a time; ``TooLittleTime`` is raised where it does not do. ``checked_range`` checks the option that gives
ranges; ``COUNT`` and ``SECONDS`` are how many inputs are made, and how long that may take, where nobody says so.
"""

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
