"""What the cost tests share: models of one call, and convolution arithmetic written down once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.costs import Cost, cost

Shape = Sequence[int]


def called(function: Any, *shapes: Shape, **kwargs: Any) -> keras.Model:
    """A model that calls ``function`` on inputs of these shapes (without the batch)."""
    inputs = [keras.Input(tuple(shape), name=f"in{index}") for index, shape in enumerate(shapes)]
    return keras.Model(inputs, function(*inputs, **kwargs))


def macs_of(function: Any, *shapes: Shape, **kwargs: Any) -> int:
    """MACs of calling ``function`` on inputs of these shapes; nothing may be unknown."""
    found = cost(called(function, *shapes, **kwargs))
    assert found.unknown == ()
    return found.macs


def row(found: Cost, kind: str) -> Any:
    """The one row of a kind."""
    (only,) = [row for row in found.rows if row.kind == kind]
    return only


def positions(size: int, kernel: int, stride: int, padding: str, dilation: int) -> int:
    """Output positions of a convolution along one axis, counted one by one."""
    reach = dilation * (kernel - 1) + 1
    if padding == "valid":
        return len([start for start in range(0, size, stride) if start + reach <= size])
    return len(range(0, size, stride))  # "same" and "causal": one for every stride-th input


def transposed_positions(size: int, kernel: int, stride: int, padding: str) -> int:
    """Output positions of a transposed convolution along one axis."""
    return size * stride if padding == "same" else size * stride + max(kernel - stride, 0)
