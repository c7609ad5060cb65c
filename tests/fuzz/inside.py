"""What a layer reads of channels that it makes itself: the states of recurrent layers, heads and their widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tests.fuzz.description import Step

Mask = np.ndarray[Any, Any]

PARTS = {
    "MultiHeadAttention": ("heads", "key_dim", "value_dim"),
    "GroupQueryAttention": ("heads", "key_value_heads", "head_dim"),
    "Bidirectional": ("forward", "backward"),
}
"""Kinds of channels that stay inside a layer, or are made by a layer in it."""


@contextmanager
def zeroed(layer: Any, parts: Mapping[str, Mask]) -> Iterator[None]:
    """Zero what a layer reads of channels that go, for as long as the block lasts.

    Args:
        layer: The layer.
        parts: For each kind of channels, ``""`` where there is one kind, which of them go.
    """
    before = []
    for variable, index in _reads(layer, parts):
        values = np.array(keras.ops.convert_to_numpy(variable))
        before.append((variable, values.copy()))
        values[index] = 0
        variable.assign(values)
    try:
        yield
    finally:
        for variable, values in reversed(before):
            variable.assign(values)


@contextmanager
def filled(layer: Any) -> Iterator[None]:
    """While active, kernels of a layer have no zeros: whether a result depends on a position is tried."""
    before = []
    for variable in getattr(layer, "weights", ()):
        values = np.array(keras.ops.convert_to_numpy(variable))
        if len(variable.shape) > 1 and "float" in str(variable.dtype) and not values.all():
            before.append((variable, values))
            variable.assign(np.where(values == 0, np.asarray(0.37, values.dtype), values))
    try:
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


def _reads(layer: Any, parts: Mapping[str, Mask]) -> Iterator[tuple[Any, Any]]:
    for part, gone in parts.items():
        if part in ("", "forward", "backward"):
            inner = getattr(layer, f"{part}_layer") if part else layer
            kernel = getattr(getattr(inner, "cell", inner), "recurrent_kernel", None)
            if kernel is not None:
                yield kernel, (..., gone, slice(None))
        elif part == "heads":
            yield layer._output_dense.kernel, gone
        elif part in ("value_dim", "head_dim"):
            yield layer._output_dense.kernel, (slice(None), gone)
        if part in ("key_dim", "head_dim"):
            for projection in (layer._query_dense, layer._key_dense):
                yield from ((weight, (..., gone)) for weight in projection.weights)


def marked(step: Step, parts: Mapping[str, Mask], found: list[Mask]) -> None:
    """Mark what comes out of channels that go, but for what has one kind of them."""
    if step.kind == "Bidirectional" and step.options["merge_mode"] is None:
        states = (len(found) - 2) // 2
        forward = [found[0], *found[2 : 2 + states]]
        backward = [found[1], *found[2 + states :]]
        for name, places in (("forward", forward), ("backward", backward)):
            for place in places if name in parts else ():
                place[..., parts[name]] = True
    elif step.kind == "Bidirectional" and parts:
        gone = parts["forward"]
        for place in found:
            several = place.shape[-1] // len(gone)
            place[..., np.tile(gone, several)] = True
    elif "heads" in parts and len(found) > 1:  # scores
        found[1][parts["heads"]] = True
