"""Inputs that are made from a network alone: matched to what its batch norms remember of the data.

``generate_inputs`` is for users. Passes ask ``find_anchors`` whether a graph holds statistics and ``stand_in`` for
inputs in the place of data, which a run makes once; ``NothingGenerated`` is raised where there can be none, and
``DATA_ADDS`` is what reports say of data then. ``made_inputs`` makes inputs within a time; ``TooLittleTime`` is raised
where it does not do. ``checked_generating`` checks the options of passes; ``COUNT`` and ``SECONDS`` are how many
inputs are made, and how long that may take, where nobody says so.
"""

from kerasurgeon.generating.anchors import Anchor, find_anchors
from kerasurgeon.generating.api import generate_inputs
from kerasurgeon.generating.limits import checked_generating
from kerasurgeon.generating.making import COUNT, SECONDS, Made, TooLittleTime, made_inputs
from kerasurgeon.generating.standing_in import DATA_ADDS, NothingGenerated, stand_in

__all__ = [
    "COUNT",
    "DATA_ADDS",
    "SECONDS",
    "Anchor",
    "Made",
    "NothingGenerated",
    "TooLittleTime",
    "checked_generating",
    "find_anchors",
    "generate_inputs",
    "made_inputs",
    "stand_in",
]
