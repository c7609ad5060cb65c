"""Room for Keras, which walks the layers of a new model by recursion: one frame for each layer on the longest way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def room_for(nodes: int) -> Iterator[None]:
    """Let Python recurse as deep as a model of so many nodes may need; the limit that was is set again.

    Args:
        nodes: How many nodes the model has, at most.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 2 * nodes)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


__all__ = ["room_for"]
