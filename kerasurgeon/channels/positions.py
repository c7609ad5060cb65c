"""Which position of a grown network is a copy of which position of the network before.

Both are analysed by the same rules. Labels that a layer makes are matched by its layout of copies; from there on the
labels of the grown network carry the answer wherever they go, as they do in a cut. A label that stands at several
places (behind a Flatten) stands there in the same order in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.copies import Copies
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]


class Mismatch(Exception):  # noqa: N818 - an outcome: these units are then left as they are
    """What the grown network does with its channels is not what the old one did."""

    def __init__(self, text: str, units: set[int]) -> None:
        super().__init__(text)
        self.units = units


class Origins:
    """Where the channels of a grown network come from.

    Args:
        old: The analysis of the network before.
        new: That of the grown one.
        keep: The copies.

    Attributes:
        label: For every label of the grown network that of the old one which it is a copy of.

    Raises:
        Mismatch: The two do not agree.
    """

    def __init__(self, old: Channels, new: Channels, keep: Copies) -> None:
        self.old, self.new, self.keep = old, new, keep
        self.label: Ids = np.full(len(new.unit), -1, np.int64)
        if list(old.calls) != list(new.calls):
            missing = next(iter(set(old.calls) ^ set(new.calls)), "?")
            raise Mismatch(f"{missing!r} does not take more channels", set())
        starts = [0, 0]
        for name, before in old.calls.items():
            after = new.calls[name]
            self._match_labels(name, before, after, starts)
            starts = [before.next_label, after.next_label]
        for name, before in old.calls.items():
            self._check(name, before, new.calls[name])

    def __contains__(self, name: str) -> bool:
        return name in self.old.calls

    def positions(self, before: Ids, after: Ids) -> Ids:
        """For every position of an array of labels of the grown network, flat, that of the old one it is a copy of.

        Raises:
            Mismatch: A label does not stand as often in both.
        """
        own, labels = after.ravel(), before.ravel()
        order = np.argsort(labels, kind="stable")
        ordered = labels[order]
        mine = np.argsort(own, kind="stable")
        sorted_own = own[mine]
        first = np.searchsorted(sorted_own, sorted_own, "left")
        occurrence = np.empty(len(own), np.int64)
        occurrence[mine] = np.arange(len(own)) - first
        wanted = self.label[own]
        start, end = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
        place = start + occurrence
        if (place >= end).any():
            raise self._mismatch(labels, "its channels do not keep their order")
        found: Ids = order[place]
        expected = self.keep.times[self.old.unit[labels]]
        if len(own) != int(expected.sum()) and before.ndim == 1:
            raise self._mismatch(labels, "it does not take as many channels as it should")
        return found

    def _match_labels(self, name: str, before: ChannelCall, after: ChannelCall, starts: list[int]) -> None:
        if len(before.blocks) != len(after.blocks):
            raise Mismatch(f"{name!r} makes other channels when it is grown", set())
        made = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for one, other in zip(before.blocks, after.blocks, strict=True):
            _, flat = self.keep.layout(one.ids)
            if other.ids.size != len(flat):
                raise self._mismatch(one.ids, f"{name!r} does not make as many channels as it should")
            self.label[other.ids.ravel()] = one.ids.ravel()[flat]
            made[0].append(one.ids.ravel())
            made[1].append(other.ids.ravel())
        # What is left are labels of positions that stay: they are made in the same order in both.
        fixed = [
            np.setdiff1d(np.arange(start, call.next_label), np.concatenate(ids))
            for start, call, ids in zip(starts, (before, after), made, strict=True)
        ]
        if len(fixed[0]) != len(fixed[1]):
            raise Mismatch(f"{name!r} makes other channels when it is grown", self._units(before))
        self.label[fixed[1]] = fixed[0]

    def _check(self, name: str, before: ChannelCall, after: ChannelCall) -> None:
        """What is tied in the grown network was tied in the old one; shapes are what they should be."""
        recorded = self.new.graph[name].outputs
        for labels, spec in zip(self.new.labels[name], recorded, strict=True):
            for factor in labels.factors:
                if tuple(spec.shape[axis] for axis in factor.axes) != factor.ids.shape:
                    raise Mismatch(f"{name!r} does not pass on as many channels as it should", self._units(before))
        known = [np.zeros(0, np.int64)]
        size = len(self.old.unit)
        for one, other in before.pairs:
            known += [one * size + other, other * size + one]
        ties = np.unique(np.concatenate(known))
        for one, other in after.pairs:
            first, second = self.label[one], self.label[other]
            strange = (first != second) & ~np.isin(first * size + second, ties)
            if strange.any():
                raise Mismatch(
                    f"copies do not meet their like in {name!r}",
                    set(self.old.unit[np.concatenate([first[strange], second[strange]])].tolist()),
                )

    def _units(self, call: ChannelCall) -> set[int]:
        several = [factor.ids for labels in call.inputs for factor in labels.factors]
        several += [block.ids for block in call.blocks]
        return {unit for ids in several for unit in self.old.unit[ids.ravel()].tolist()}

    def _mismatch(self, labels: Ids, text: str) -> Mismatch:
        return Mismatch(text, set(self.old.unit[labels.ravel()].tolist()))
