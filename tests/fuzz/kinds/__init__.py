"""Makers: for every kind that kerasurgeon knows, how a call of it is drawn."""

from tests.fuzz.kinds import arrays, convolving, elementwise, layers, others, patterns, sequences, structure
from tests.fuzz.kinds.others import LEFT_OUT
from tests.fuzz.kinds.registry import MAKERS

__all__ = [
    "LEFT_OUT",
    "MAKERS",
    "arrays",
    "convolving",
    "elementwise",
    "layers",
    "others",
    "patterns",
    "sequences",
    "structure",
]
