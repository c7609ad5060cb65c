"""Layers and ops that move positions about: labels are moved as the data are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels, placed
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.rule import Free

Sizes = Sequence[int | None]
Blocks = list[tuple[list[int], list[int]]]


class _Moving(Free):
    def __init__(self, *, keeps_batch: bool) -> None:
        super().__init__(keeps_batch=keeps_batch)


class Reshape(_Moving):
    """Reshape and ``ops.reshape``.

    Args:
        key: The entry of the config with the target sizes.
        batch: How many leading axes the entry leaves out.
    """

    def __init__(self, key: str, *, batch: int) -> None:
        super().__init__(keeps_batch=bool(batch))
        self.key, self.batch = key, batch

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are reshaped, and the target sizes follow what is kept."""
        result = reshaped(call, call.input, call.shape)
        wanted = call.config[self.key]
        if result.factors:
            entries = tuple(wanted) if not isinstance(wanted, int) else (wanted,)

            def change(keep: Keep) -> dict[str, tuple[int | None, ...]]:
                sizes = keep.shape(result)[self.batch :]
                return {
                    self.key: tuple(
                        old if old is None or old == -1 else new for old, new in zip(entries, sizes, strict=True)
                    )
                }

            call.change(change)
        return result


class Flatten(_Moving):
    """Flatten: channels last, whatever the data format."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=True)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are flattened."""
        labels = call.input
        if call.config["data_format"] == "channels_first" and labels.rank > 1:
            labels = transposed(labels, (0, *range(2, labels.rank), 1))
        return reshaped(call, labels, call.shape)


class Permute(_Moving):
    """Permute, ``ops.transpose``, ``ops.moveaxis``, ``ops.swapaxes``."""

    def __init__(self, *, keeps_batch: bool = False) -> None:
        super().__init__(keeps_batch=keeps_batch)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels move with their axes."""
        return transposed(call.input, axis_order(call))


class InsertedAxes(_Moving):
    """``ops.expand_dims``, ``ops.squeeze``: axes of size one come and go."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels move with their axes; a channel axis of size one that goes is frozen."""
        labels = call.input
        return reshaped(call, labels, call.shape)


class RepeatVector(_Moving):
    """RepeatVector: a new axis after the batch."""

    def __init__(self) -> None:
        super().__init__(keeps_batch=True)

    def channels(self, call: ChannelCall) -> Labels:
        """As they were, one axis on."""
        return call.input.moved(call.shape, {1: 2})


def axis_order(call: ChannelCall) -> tuple[int, ...]:
    """Which axis of the operand each axis of the result was."""
    rank, config = call.input.rank, call.config
    if call.kind == "Permute":
        return (0, *config["dims"])
    if call.kind == "ops.transpose":
        axes = config.get("axes")
        return tuple(range(rank))[::-1] if axes is None else tuple(axis % rank for axis in axes)
    order = list(range(rank))
    if call.kind == "ops.swapaxes":
        one, other = config["axis1"] % rank, config["axis2"] % rank
        order[one], order[other] = order[other], order[one]
        return tuple(order)
    source, target = (np.atleast_1d(config[key]) % rank for key in ("source", "destination"))
    order = [axis for axis in order if axis not in source]
    for place, axis in sorted(zip(target.tolist(), source.tolist(), strict=True)):
        order.insert(place, axis)
    return tuple(order)


def transposed(labels: Labels, order: Sequence[int]) -> Labels:
    """Labels with their axes in another order: axis ``i`` of the result was axis ``order[i]``."""
    places = {axis: place for place, axis in enumerate(order)}
    shape = tuple(labels.shape[axis] for axis in order)
    return labels.moved(shape, places)


def reshaped(call: ChannelCall, labels: Labels, shape: tuple[int | None, ...]) -> Labels:
    """Labels after a reshape.

    Axes are sorted into the smallest runs that hold the same elements before and after. Labels are only moved within
    runs; a run whose size is unknown passes none on.
    """
    if not labels.factors:
        return Labels(shape, (), labels.why)
    blocks = _runs(labels.shape, shape)
    owners: dict[int, int] = {axis: index for index, (old, _) in enumerate(blocks) for axis in old}
    factors = _one_per_run(call, labels, owners)
    results = []
    for factor in factors:
        known = [axis for axis in factor.axes if _is_known(blocks[owners[axis]], labels.shape, shape)]
        if not known:
            call.freeze(factor.ids, Reason.OPEN_SIZE)
            continue
        if len(known) < len(factor.axes):
            factor = call.collapse(factor, known)
        moved = _moved(factor, blocks, owners, labels.shape, shape)
        if moved is None:
            call.freeze(factor.ids, Reason.PICKED)
            continue
        call.grid(moved.ids)
        results.append(moved)
    return Labels(shape, tuple(results), labels.why)


def _runs(before: Sizes, after: Sizes) -> Blocks:
    """Pairs of runs of axes, before and after, that hold the same elements."""
    head: Blocks = []
    one, two = 0, 0
    while one < len(before) and two < len(after) and (before[one] is None) == (after[two] is None):
        if before[one] is None:
            head.append(([one], [two]))
            one, two = one + 1, two + 1
            continue
        run = _shortest_run(before[one:], after[two:])
        if run is None:
            break
        head.append((list(range(one, one + run[0])), list(range(two, two + run[1]))))
        one, two = one + run[0], two + run[1]
    tail: Blocks = []
    end, stop = len(before), len(after)
    while end > one and stop > two:
        run = _shortest_run(before[one:end][::-1], after[two:stop][::-1])
        if run is None:
            break
        tail.append((list(range(end - run[0], end)), list(range(stop - run[1], stop))))
        end, stop = end - run[0], stop - run[1]
    middle: Blocks = [(list(range(one, end)), list(range(two, stop)))] if end > one or stop > two else []
    return head + middle + tail[::-1]


def _shortest_run(before: Sizes, after: Sizes) -> tuple[int, int] | None:
    if not before or not after or before[0] is None or after[0] is None:
        return None
    one, two, left, right = 1, 1, before[0], after[0]
    while left != right:
        if left < right:
            size = before[one] if one < len(before) else None
            if size is None:
                return None
            left, one = left * size, one + 1
        else:
            size = after[two] if two < len(after) else None
            if size is None:
                return None
            right, two = right * size, two + 1
    return one, two


def _is_known(block: tuple[list[int], list[int]], before: Sizes, after: Sizes) -> bool:
    old, new = block
    if len(old) == len(new) == 1:
        return True
    return all(before[axis] is not None for axis in old) and all(after[axis] is not None for axis in new)


def _one_per_run(call: ChannelCall, labels: Labels, owners: dict[int, int]) -> list[Factor]:
    """Where a run holds two factors and is not left as it is, the one with fewer labels is frozen."""
    kept: list[Factor] = []
    taken: dict[int, Factor] = {}
    sizes: dict[int, int] = {}
    for run in owners.values():
        sizes[run] = sizes.get(run, 0) + 1
    for factor in sorted(labels.factors, key=lambda factor: -factor.ids.size):
        runs = {owners[axis] for axis in factor.axes if sizes[owners[axis]] > 1}
        if any(run in taken for run in runs):
            call.freeze(factor.ids, Reason.MERGED)
            continue
        taken.update(dict.fromkeys(runs, factor))
        kept.append(factor)
    return kept


def _moved(factor: Factor, blocks: Blocks, owners: dict[int, int], before: Sizes, after: Sizes) -> Factor | None:
    new_axes = sorted({axis for own in factor.axes for axis in blocks[owners[own]][1]})
    sizes = [after[axis] for axis in new_axes]
    index = []
    for own in factor.axes:
        old, new = blocks[owners[own]]
        if len(old) == len(new) == 1:
            places = np.arange(factor.ids.shape[factor.axes.index(own)])
        else:
            old_sizes = [before[axis] or 0 for axis in old]
            place = old.index(own)
            inner = int(np.prod(old_sizes[place + 1 :], dtype=np.int64))
            total = int(np.prod(old_sizes, dtype=np.int64))
            places = (np.arange(total) // inner) % old_sizes[place]
            places = places.reshape([after[axis] or 0 for axis in new])
        shape = [1] * len(new_axes)
        for axis in new:
            size = after[axis]
            shape[new_axes.index(axis)] = len(places) if size is None else size
        index.append(places.reshape(shape))
    ids = np.broadcast_to(factor.ids[tuple(index)], [size or 0 for size in sizes])
    varying = [
        place for place in range(ids.ndim) if ids.shape[place] > 1 and not np.array_equal(ids, _first(ids, place))
    ]
    if not varying:
        if not new_axes:
            return None
        varying = [int(np.argmax(ids.shape))] if max(ids.shape) == 1 and ids.ndim else varying
        if not varying:
            return None
    chosen = tuple(slice(None) if place in varying else 0 for place in range(ids.ndim))
    return placed(np.ascontiguousarray(ids[chosen]), [new_axes[place] for place in varying])


def _first(ids: np.ndarray, place: int) -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.take(ids, [0], axis=place), ids.shape)


def unknown(size: int | None) -> int:
    """A size that must be known."""
    if size is None:
        raise CannotTell("a size is unknown until run time")
    return size
