"""Where the positions of a tensor lie once strides before it are gone: the arithmetic of dense networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The positions of a tensor, per spatial axis.

    Position ``i`` of the tensor in the original network is position ``offset + rate * i`` in the dense one.

    Attributes:
        stride: Pixels of the input from one position to the next, in the original.
        rate: How much denser the positions lie now.
        offset: Where position 0 went.
    """

    stride: Ints
    rate: Ints
    offset: Ints

    @classmethod
    def input(cls, axes: int) -> Grid:
        """The grid of an input."""
        return cls((1,) * axes, (1,) * axes, (0,) * axes)

    @property
    def dense(self) -> bool:
        """Whether strides before it have gone."""
        return any(rate > 1 for rate in self.rate)

    @property
    def actual(self) -> Ints:
        """The stride that is left."""
        return tuple(stride // rate for stride, rate in zip(self.stride, self.rate, strict=True))


@dataclass(frozen=True)
class Window:
    """What a convolution or pooling reads along its spatial axes.

    Attributes:
        size: Taps.
        strides: Positions from one window to the next.
        dilation: Positions from one tap to the next.
        padding: ``"valid"``, ``"same"`` or ``"causal"``.
        lengths: Positions of the input along each axis in the original; ``None`` where unknown.
    """

    size: Ints
    strides: Ints
    dilation: Ints
    padding: str
    lengths: tuple[int | None, ...]

    @property
    def reach(self) -> Ints:
        """Positions from the first tap to the last."""
        return tuple((size - 1) * dilation for size, dilation in zip(self.size, self.dilation, strict=True))

    def pads_before(self, axis: int) -> int:
        """The zeros that Keras puts before the first position."""
        reach, stride, length = self.reach[axis], self.strides[axis], self.lengths[axis]
        if self.padding == "valid":
            return 0
        if self.padding == "causal":
            return reach
        if length is None:  # as for lengths that the stride divides
            return max(reach + 1 - stride, 0) // 2
        made = -(-length // stride)
        return max((made - 1) * stride + reach + 1 - length, 0) // 2

    def keeps_length(self, axis: int, before: int = 0, after: int = 0) -> bool:
        """Whether there is an output for every stride of the input: with stride 1, as many as inputs.

        Args:
            axis: Spatial axis.
            before: Zeros that an own layer puts before the first position.
            after: And behind the last.
        """
        length, stride = self.lengths[axis], self.strides[axis]
        if self.padding != "valid":
            return True
        if length is None:
            return before + after >= self.reach[axis] + 1 - stride
        made = (length + before + after - self.reach[axis] - 1) // stride + 1
        return made == -(-length // stride)


@dataclass(frozen=True)
class Padding:
    """How a window without strides is to be padded: positions before and after, per axis."""

    pads: tuple[tuple[int, int], ...]

    def is_same(self, reach: Ints) -> bool:
        """Whether Keras' ``"same"`` pads like this."""
        return all(pad == (total // 2, total - total // 2) for pad, total in zip(self.pads, reach, strict=True))

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to pad."""
        return not any(map(any, self.pads))


def dense_padding(window: Window, grid: Grid, *, aligned: bool) -> tuple[Padding, Grid]:
    """How a window is padded that reads a dense tensor at every position, and the grid of what it gives.

    Args:
        window: The window in the original.
        grid: The grid of what it reads.
        aligned: Pad so that no position moves, even if there is then more on one side than on the other.

    Returns:
        The padding, and the grid: tap ``t`` of output ``offset + rate * i`` reads what tap ``t`` of output ``i`` read.
    """
    pads, offsets = [], []
    for axis, rate in enumerate(grid.rate):
        total, own = rate * window.reach[axis], window.pads_before(axis)
        if not window.keeps_length(axis):
            before, after = 0, 0
        elif window.padding == "causal":
            before, after = total, 0
        else:
            # Without a stride of its own nothing moves, also where an even number of taps has no middle.
            before = rate * own if aligned or window.strides[axis] == 1 else total // 2
            after = total - before
        pads.append((before, after))
        offsets.append(grid.offset[axis] + before - rate * own)
    return Padding(tuple(pads)), Grid(
        _times(grid.stride, window.strides), _times(grid.rate, window.strides), tuple(offsets)
    )


def scaled_padding(given: Any, window: Window | None, grid: Grid, *, aligned: bool) -> tuple[Padding, Grid]:
    """What becomes of a layer that only pads.

    Args:
        given: Its padding, before and after, per axis.
        window: The window behind it that loses its stride; ``None`` if there is none.
        grid: The grid of what it reads.
        aligned: As for ``dense_padding``.

    Returns:
        Its new padding, and the grid of what it gives.
    """
    pads, offsets = [], []
    for axis, ((before, after), rate) in enumerate(zip(given, grid.rate, strict=True)):
        new_before, new_after = rate * before, rate * after
        if window is not None and window.keeps_length(axis, before, after):
            total = rate * window.reach[axis]
            new_before = min(rate * before, total) if aligned else total // 2
            new_after = total - new_before
        pads.append((new_before, new_after))
        offsets.append(grid.offset[axis] + new_before - rate * before)
    return Padding(tuple(pads)), Grid(grid.stride, grid.rate, tuple(offsets))


def _times(one: Ints, other: Ints) -> Ints:
    return tuple(a * b for a, b in zip(one, other, strict=True))
