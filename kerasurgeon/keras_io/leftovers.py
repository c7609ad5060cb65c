"""What large models leave in reference cycles and in the C library's hands, given back at once."""

from __future__ import annotations

import contextlib
import ctypes
import gc

from kerasurgeon.ir.graph import Graph

# Python finds cycles by itself once many small objects were made. A model is few objects, however large its weights.
LARGE = 50 * 2**20


def sweep(weight_bytes: int) -> None:
    """Free Keras models and TensorFlow traces that nothing uses any more, where that is worth the fraction of a second.

    Args:
        weight_bytes: Bytes of weights that they may hold.
    """
    if weight_bytes >= LARGE:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc has it
            ctypes.CDLL(None).malloc_trim(0)


def sweep_after(graph: Graph) -> None:
    """``sweep`` after a model of a graph was handed to a user's function, who may keep it, and most do not."""
    sweep(sum(layer.weight_bytes for layer in graph.layers.values()))
