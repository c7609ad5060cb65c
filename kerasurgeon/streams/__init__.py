"""Residual streams of networks with norms over channels: found, turned onto their principal axes, sliced.

``slice_streams`` does all of it, by ``SliceOptions``; ``find_streams`` says which streams there are, and why others may
not be turned; ``turn`` turns one, exactly.
"""

from kerasurgeon.streams.norms import Norm
from kerasurgeon.streams.slicing import slice_streams
from kerasurgeon.streams.streams import Stream, find_streams
from kerasurgeon.streams.turning import turn
from kerasurgeon.streams.widths import SliceOptions

__all__ = ["Norm", "SliceOptions", "Stream", "find_streams", "slice_streams", "turn"]
