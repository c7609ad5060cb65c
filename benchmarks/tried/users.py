"""Networks as users write them, small: one function each, in the ways of tutorials, papers' code and forums."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tried import images, mixed, pixels, sequences, subclassed


def networks() -> dict[str, Callable[[], keras.Model]]:
    """All of them by name."""
    return {**images.NETWORKS, **pixels.NETWORKS, **sequences.NETWORKS, **subclassed.NETWORKS, **mixed.NETWORKS}
