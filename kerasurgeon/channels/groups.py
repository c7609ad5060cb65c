"""Groups: the channels of the layers that shrink together, with every place where they are held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from rich.table import Table
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kerasurgeon.channels.analysis import Channels, Source, analyse
from kerasurgeon.report import Printed, format_bytes, format_count, grid
from kerasurgeon.rules import CannotTell, Sizes, resolve, rule_for
from kerasurgeon.rules.call import call_of
from kerasurgeon.rules.labels import Ids


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One axis of one weight that holds channels of a group.

    Attributes:
        layer: Key of the layer.
        weight: Path of the weight.
        axis: The axis; of labels over several axes, the first.
        indices: The positions along the axis that belong to the group.
        units: The unit of each of these positions.
        contracted: Whether the layer sums over this axis: it reads the channels, and does not make them.
    """

    layer: str
    weight: str
    axis: int
    indices: Ids
    units: Ids
    contracted: bool


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that layers share: what stands at one place lives and dies together.

    Attributes:
        name: Name of the first source.
        sources: The layers that make these channels.
        units: Numbers of its units: what can be kept or cut, one by one.
        granularity: Channels of the first source per unit: 1, the width of a head, a convolution's group.
        members: Every axis of every weight that holds them.
        frozen: Why none of its units may go; empty if some may.
        free: For each of its units whether it may go.
        inexact: Why the result is not exact when units go; empty if it is exact.
        macs: MACs that go with the whole group, for one sample; ``None`` where they cannot be told.
        parameters: Parameters that go with the whole group.
        bytes: Bytes of weights that go with the whole group.
    """

    name: str
    sources: tuple[Source, ...]
    units: Ids
    granularity: int
    members: tuple[Member, ...]
    frozen: str
    free: np.ndarray[Any, np.dtype[np.bool_]]
    inexact: str
    macs: int | None
    parameters: int
    bytes: int

    @property
    def size(self) -> int:
        """How many units it has."""
        return len(self.units)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers whose weights hold them, in order."""
        return tuple(dict.fromkeys(member.layer for member in self.members))


class Groups(Printed):
    """The groups of a network, in the order of their first layers. A sequence that prints as a table."""

    def __init__(self, channels: Channels, groups: tuple[Group, ...]) -> None:
        self.channels = channels
        self.all = groups

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.all)

    @overload
    def __getitem__(self, key: int) -> Group: ...
    @overload
    def __getitem__(self, key: str) -> Group: ...
    def __getitem__(self, key: int | str) -> Group:
        """A group by its place, or by the name of any layer that makes its channels."""
        if isinstance(key, int):
            return self.all[key]
        for group in self.all:
            if any(key in (source.name, source.layer) for source in group.sources):
                return group
        raise KeyError(key)

    def to_dict(self) -> list[dict[str, Any]]:
        """Everything as plain data that JSON can hold."""
        return [
            {
                "name": group.name,
                "units": group.size,
                "granularity": group.granularity,
                "may_go": int(group.free.sum()),
                "frozen": group.frozen,
                "inexact": group.inexact,
                "sources": [source.name for source in group.sources],
                "members": [
                    {
                        "layer": member.layer,
                        "weight": member.weight,
                        "axis": member.axis,
                        "channels": len(member.indices),
                        "reads": member.contracted,
                    }
                    for member in group.members
                ],
                "macs": group.macs,
                "parameters": group.parameters,
                "bytes": group.bytes,
            }
            for group in self.all
        ]

    def table(self) -> Table:
        """A rich table, one row a group."""
        left = ("group", "made by", "read by", "")
        table = grid(
            ("group", "units", "each", "made by", "read by", "MACs", "weights", ""),
            left=left,
            title=f"channels of {self.channels.graph.name} that go together",
        )
        for group in self.all:
            readers = dict.fromkeys(member.layer for member in group.members if member.contracted)
            table.add_row(
                group.name,
                str(group.size),
                str(group.granularity),
                _several([source.name for source in group.sources]),
                _several(list(readers)),
                "?" if group.macs is None else format_count(group.macs),
                format_bytes(group.bytes),
                f"frozen: {group.frozen}" if group.frozen else f"inexact: {group.inexact}" * bool(group.inexact),
            )
        return table


def groups(model: Any, *, sizes: Sizes | None = None) -> Groups:
    """The groups of channels of a model: what can be cut, what goes with it, and what cannot go and why.

    Args:
        model: A Keras model, a graph, or its analysis. It is only read.
        sizes: Sizes of the inputs that MACs are counted for, as for ``kerasurgeon.cost``.

    Returns:
        The groups. ``print`` shows them as a table.

    Example:
        >>> for group in groups(model):
        ...     print(group.name, group.size, group.frozen or group.layers)
    """
    channels = model if isinstance(model, Channels) else analyse(model)
    return Groups(channels, _Finder(channels, sizes).run())


class _Finder:
    def __init__(self, channels: Channels, sizes: Sizes | None) -> None:
        self.channels, self.sizes = channels, sizes
        self.sources = list(channels.sources.values())
        self.frozen, self.inexact = (np.zeros(channels.units, bool) for _ in range(2))
        self.frozen[list(channels.frozen)] = True
        self.inexact[list(channels.inexact)] = True

    def run(self) -> tuple[Group, ...]:
        if not self.sources:
            return ()
        owner, count = self._owners()
        members = self._members(owner)
        macs = self._macs_per_element()
        by_group: list[list[Source]] = [[] for _ in range(count)]
        for source in self.sources:
            by_group[owner[self.channels.unit[source.ids[:1].ravel()[0]]]].append(source)
        found = [self._group(index, by_group[index], owner, members.get(index, []), macs) for index in range(count)]
        order = {source.name: place for place, source in enumerate(self.sources)}
        return tuple(sorted(found, key=lambda group: order[group.name]))

    def _owners(self) -> tuple[Ids, int]:
        """For every unit the group that it belongs to, -1 for units that no layer makes."""
        units = self.channels.units
        rows = np.concatenate([np.full(source.ids.size, place) for place, source in enumerate(self.sources)])
        columns = self.channels.unit[np.concatenate([source.ids.ravel() for source in self.sources])]
        size = len(self.sources) + units
        links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns + len(self.sources))), shape=(size, size))
        _, component = connected_components(links, directed=False)
        _, numbers = np.unique(component[: len(self.sources)], return_inverse=True)
        lookup = np.full(int(component.max()) + 1, -1)
        lookup[component[: len(self.sources)]] = numbers
        return lookup[component[len(self.sources) :]], int(numbers.max()) + 1

    def _members(self, owner: Ids) -> dict[int, list[Member]]:
        members: dict[int, list[Member]] = {}
        split: dict[tuple[int, int], list[tuple[int, Ids, Ids]]] = {}
        for (layer, weight), several in self.channels.weights.items():
            for held in several:
                for place, axis in enumerate(held.axes):
                    # Weights of one layer and those around it share their labels: most are split once.
                    known = id(held.ids), place
                    if known not in split:
                        split[known] = self._split(held.ids, place, owner)
                    for index, positions, units in split[known]:
                        member = Member(layer, weight, axis, positions, units, held.contracted)
                        members.setdefault(index, []).append(member)
        return members

    def _split(self, ids: Ids, place: int, owner: Ids) -> list[tuple[int, Ids, Ids]]:
        """The groups along one axis of labels: for each its number, the positions, and their units."""
        if not ids.size:
            return []
        along = self.channels.unit[ids[tuple(slice(None) if other == place else 0 for other in range(ids.ndim))]]
        if place and np.all(along == along[0]):
            return []
        owners = owner[along]
        if np.all(owners == owners[0]):
            return [(int(owners[0]), np.arange(len(along)), along)] if owners[0] >= 0 else []
        found = [(index, np.flatnonzero(owners == index)) for index in np.unique(owners[owners >= 0]).tolist()]
        return [(index, positions, along[positions]) for index, positions in found]

    def _macs_per_element(self) -> dict[str, float | None]:
        """MACs per weight element of each layer: what a call costs is proportional to its kernels' elements."""
        graph = self.channels.graph
        specs = resolve(graph, sizes=self.sizes)
        found: dict[str, float | None] = {}
        for node in graph.nodes():
            layer = graph.layers[node.layer]
            size = sum(weight.array.size for weight in layer.weights.values() if weight.array.ndim > 1)
            if not size:
                continue
            try:
                macs = rule_for(layer.kind).macs(call_of(graph, node, specs))
            except CannotTell:
                found[node.layer] = None
                continue
            before = found.get(node.layer, 0.0)
            found[node.layer] = None if before is None else before + macs / size
        return found

    def _group(
        self, index: int, sources: list[Source], owner: Ids, members: list[Member], macs: dict[str, float | None]
    ) -> Group:
        channels = self.channels
        units = np.flatnonzero(owner == index)
        free = ~self.frozen[units]
        reason = None if free.all() else channels.frozen[int(units[~free][0])]
        warned = units[self.inexact[units]]
        inexact = channels.inexact[int(warned[0])] if len(warned) else None
        held = channels.unit[sources[0].ids.ravel()]
        total, elements, size = self._cost(members, macs)
        return Group(
            sources[0].name,
            tuple(sources),
            units,
            max(1, round(len(held) / max(len(np.unique(held)), 1))),
            tuple(members),
            _phrase(reason) if reason and not free.any() else "",
            free,
            _phrase(inexact) if inexact else "",
            total,
            elements,
            size,
        )

    def _cost(self, members: list[Member], macs: dict[str, float | None]) -> tuple[int | None, int, int]:
        left: dict[tuple[str, str], float] = {}
        layers = self.channels.graph.layers
        for member in members:
            key = member.layer, member.weight
            size = layers[member.layer].weights[member.weight].array.shape[member.axis]
            left[key] = left.get(key, 1.0) * (1 - len(member.indices) / size)
        total: float | None = 0.0
        elements, size = 0, 0
        for (layer, weight), share in left.items():
            array = layers[layer].weights[weight].array
            gone = round(array.size * (1 - share))
            elements += gone
            size += gone * array.itemsize
            if array.ndim > 1:
                rate = macs.get(layer, 0.0)
                total = None if rate is None or total is None else total + gone * rate
        return None if total is None else round(total), elements, size


def _phrase(why: tuple[Any, str]) -> str:
    reason, about = why
    return f"{reason} ({about})" if about else str(reason)


def _several(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
