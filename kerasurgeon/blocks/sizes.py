"""How a few depthwise convolutions bring one image size to another: which of them stride, and how each pads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from kerasurgeon.blocks.geometry import Geometry, Pair


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What one 3x3 depthwise convolution does. Pairs are (height, width).

    Attributes:
        strides: 1 or 2 for each axis.
        same: For each axis whether it pads as 'same' does, or not at all.
        sizes: The size that it reads, for each axis; ``None`` where open.
    """

    strides: Pair
    same: tuple[bool, bool]
    sizes: tuple[int | None, int | None]

    @property
    def padding(self) -> tuple[Pair, Pair]:
        """Rows and columns of zeros (before, after) that padding 'same' means here, where sizes are known."""
        return _zeros(self.sizes[0], self.strides[0], self.same[0]), _zeros(
            self.sizes[1], self.strides[1], self.same[1]
        )


def size_after(size: int, stride: int, same: bool) -> int:
    """The size that a 3x3 convolution makes of another."""
    return -(-size // stride) if same else (size - 3) // stride + 1


def steps_for(geometry: Geometry, count: int) -> tuple[Step, ...] | None:
    """What each of ``count`` depthwise convolutions must do for entry's size to become exactly exit's.

    The first ones stride. Each pads as 'same' where that makes the exact size; otherwise as few as possible do not
    pad, the later ones before the earlier.

    Returns:
        The steps, or ``None`` where so many convolutions cannot do it.
    """
    axes = [
        _along(size, wanted, halvings, count)
        for size, wanted, halvings in zip(geometry.size_in, geometry.size_out, geometry.halvings, strict=True)
    ]
    if axes[0] is None or axes[1] is None:
        return None
    return tuple(
        Step((row[0], column[0]), (row[1], column[1]), (row[2], column[2])) for row, column in zip(*axes, strict=True)
    )


def _along(
    size: int | None, wanted: int | None, halvings: int, count: int
) -> list[tuple[int, bool, int | None]] | None:
    """Stride, padding and size read of each convolution along one axis."""
    if size is None or wanted is None:
        return [(2 if index < halvings else 1, True, None) for index in range(count)] if halvings <= count else None
    for strided, same in _choices(halvings, count):
        sizes, steps = size, []
        for index in range(count):
            stride = 2 if index < strided else 1
            steps.append((stride, same[index], sizes))
            sizes = size_after(sizes, stride, same[index])
            if sizes < 1:
                break
        if sizes == wanted:
            return list(steps)
    return None


def _choices(halvings: int, count: int) -> Iterator[tuple[int, tuple[bool, ...]]]:
    """How many convolutions stride, and which pad: the most wanted first."""
    options = itertools.product(range(count + 1), itertools.product((True, False), repeat=count))
    return iter(
        sorted(options, key=lambda option: (abs(option[0] - halvings), option[1].count(False), option[1][::-1]))
    )


def _zeros(size: int | None, stride: int, same: bool) -> Pair:
    if not same or size is None:
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


__all__ = ["Step", "size_after", "steps_for"]
