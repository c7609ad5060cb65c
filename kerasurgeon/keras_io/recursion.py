"""Room for Keras, which walks the layers of a new model by recursion: one frame for each layer on the longest way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def room_for(nodes: int) -> Iterator[None]:
    """Let Python recurse as deep as a model of so many nodes may need; what was added is taken away again.

    The limit is one for all threads: each use adds its room and takes no more than that away, in whichever order they
    end.

    Args:
        nodes: How many nodes the model has, at most.
    """
    _add(2 * nodes)
    try:
        yield
    finally:
        _add(-2 * nodes)


def _add(frames: int) -> None:
    with _LOCK:
        limit = sys.getrecursionlimit() + frames
        if limit > 0:  # else somebody has set it to less than what was added, and means it
            sys.setrecursionlimit(limit)


__all__ = ["room_for"]
