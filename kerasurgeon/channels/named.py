"""What names and patterns of names mean in a graph: layers, and the channels that are theirs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.groups import Group
from kerasurgeon.channels.importance import Array
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.rewrite.regions import regions
from kerasurgeon.rules.labels import Ids


class Names:
    """What patterns of names mean in a graph: layers, sources, nested models, regions, and the channels of these.

    Args:
        channels: The analysis of the graph.
    """

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.graph = channels.graph
        self.sources = {name: source.layer for name, source in channels.sources.items()}
        self._regions: dict[str, frozenset[str]] | None = None

    def layers(self, pattern: str, option: str) -> frozenset[str]:
        """Keys of the layers and names of the sources that a pattern means; see ``names_match``.

        Raises:
            OptionError: It means nothing; the message has the nearest names.
        """
        known = {*self.graph.layers, *self.sources}
        found = {name for name in known if names_match([name], pattern)}
        found |= {name for name, layer in self.sources.items() if layer in found}
        if not found:
            inside = self.regions().get(pattern, ())
            found = {self.graph[name].layer for name in inside}
            found |= {name for name, layer in self.sources.items() if layer in found}
        if not found:
            hint = did_you_mean(pattern, {*known, *self.regions(), *self.graph.scopes})
            raise OptionError(f"{option}: no layer, nested model or region is called {pattern!r}.", hint=hint)
        return frozenset(found)

    def regions(self) -> dict[str, frozenset[str]]:
        """The nodes of every region by its name."""
        if self._regions is None:
            self._regions = {region.name: frozenset(region.nodes) for region in regions(self.graph)}
        return self._regions

    def groups(self, pattern: str, option: str, groups: Iterable[Group]) -> list[int]:
        """Places of the groups that a pattern means.

        Those that its layers make; where they make none, those that their weights work on, or else those that pass
        through them.

        Raises:
            OptionError: It means nothing, or layers without channels.
        """
        found = self.layers(pattern, option)
        units = self._made(found)
        if not units.any():
            units = self._worked_on(found)
        if not units.any():
            units = self._carried(found, pattern, option)
        return [place for place, group in enumerate(groups) if units[group.units].any()]

    def units(self, pattern: str, option: str) -> Array:
        """For every unit whether a pattern names a layer that makes it, or that works on it and makes none.

        Layers without weights (an activation, a sum) count where the pattern names no other: then those units are meant
        that pass through them.

        Raises:
            OptionError: It means nothing, or layers without channels.
        """
        found = self.layers(pattern, option)
        units = self._made(found) | self._worked_on(found)
        return units if units.any() else self._carried(found, pattern, option)

    def _made(self, found: frozenset[str]) -> Array:
        return self._units(self.channels.sources[name].ids for name in found if name in self.sources)

    def _worked_on(self, found: frozenset[str]) -> Array:
        """Units held by weights of layers that make no channels: a depthwise convolution, a norm."""
        making = set(self.sources.values())
        return self._units(
            held.ids
            for (layer, _), several in self.channels.weights.items()
            if layer in found and layer not in making
            for held in several
        )

    def _carried(self, found: frozenset[str], pattern: str, option: str) -> Array:
        """Units of what layers return."""
        units = self._units(
            factor.ids
            for name in found & set(self.graph.layers)
            for node in self.graph.calls(name)
            for labels in self.channels.labels[node.name]
            for factor in labels.factors
        )
        if not units.any():
            raise OptionError(
                f"{option}: what {pattern!r} names has no channels that could go.",
                got=", ".join(sorted(found)[:4]),
                hint="name a layer that makes channels: print(kerasurgeon.groups(model)) lists them",
            )
        return units

    def _units(self, several: Iterable[Ids]) -> Array:
        units = np.zeros(self.channels.units, bool)
        for ids in several:
            units[self.channels.unit[ids.ravel()]] = True
        return units
