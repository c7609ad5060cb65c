"""What a reshape does to labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels, placed
from kerasurgeon.rules.reasons import Reason

Sizes = Sequence[int | None]
Blocks = list[tuple[list[int], list[int]]]


def reshaped(call: ChannelCall, labels: Labels, shape: tuple[int | None, ...], *, same: int = 0) -> Labels:
    """Labels after a reshape.

    Axes are sorted into the smallest runs that hold the same elements before and after. Labels are only moved within
    runs; a run whose size is unknown passes none on.

    Args:
        call: The call, which is told what ties and what cannot go.
        labels: The labels before.
        shape: The sizes after.
        same: How many leading axes surely stay as they are, also where their sizes are unknown.
    """
    if not labels.factors:
        return Labels(shape, (), labels.why)
    blocks = _runs(labels.shape, shape, same)
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


def _runs(before: Sizes, after: Sizes, same: int) -> Blocks:
    """Pairs of runs of axes, before and after, that hold the same elements."""
    head: Blocks = [([axis], [axis]) for axis in range(same)]
    one = two = same
    while one < len(before) and two < len(after):
        if before[one] is None and after[two] is None:
            # Equally long only if all the rest holds equally many elements.
            if _known_elements(before[one + 1 :]) != _known_elements(after[two + 1 :]):
                break
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


def _known_elements(sizes: Sizes) -> int | tuple[int | None, ...]:
    """How many elements these axes hold; the sizes themselves where one is unknown, so that only equal ones match."""
    if None in sizes:
        return tuple(sizes)
    return int(np.prod([size or 0 for size in sizes], dtype=np.int64))


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
    sizes = [[before[axis] for axis in block[0]], [after[axis] for axis in block[1]]]
    if None in sizes[0] or None in sizes[1]:
        return False
    return _known_elements(sizes[0]) == _known_elements(sizes[1])


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


def _first(ids: Ids, place: int) -> Ids:
    return np.broadcast_to(np.take(ids, [0], axis=place), ids.shape)
