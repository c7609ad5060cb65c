"""Which channels of which layers are kept, and what that means for the units of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.errors import OptionError, PlanError, did_you_mean

Kept = Mapping[str, "Sequence[int] | int"]


@dataclass(frozen=True)
class KeptChannels:
    """Which channels are kept, by the layers that make them. Layers that are not named keep what others leave them.

    Attributes:
        kept: For a layer (``"conv1"``; ``"attention#heads"`` where it makes several kinds of channels) the indices of
            the channels that are kept, or their number where a criterion is to choose them.
        widths: How many channels these layers have in the model that the plan was made for.
        model: The name of that model.
        note: Anything to remember about it.
    """

    kept: Kept
    widths: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        clean: dict[str, tuple[int, ...] | int] = {}
        for name, wanted in self.kept.items():
            clean[str(name)] = _checked(str(name), wanted)
        object.__setattr__(self, "kept", clean)
        object.__setattr__(self, "widths", dict(self.widths))

    @classmethod
    def of(cls, channels: Channels, gone: np.ndarray[Any, Any], note: str = "") -> Self:
        """The plan that takes some units of an analysis."""
        keep = channels.keep(np.asarray(gone, bool))
        kept, widths = {}, {}
        for name, source in channels.sources.items():
            mask = keep.mask(source.ids.ravel())
            if not mask.all():
                kept[name] = tuple(np.flatnonzero(mask).tolist())
                widths[name] = len(mask)
        return cls(kept, widths, channels.graph.name, note)

    @property
    def counts(self) -> dict[str, int]:
        """How many channels are kept, by layer."""
        return {name: wanted if isinstance(wanted, int) else len(wanted) for name, wanted in self.kept.items()}

    @property
    def chosen(self) -> bool:
        """Whether it names the channels everywhere, and not numbers only."""
        return not any(isinstance(wanted, int) for wanted in self.kept.values())

    def gone(self, channels: Channels) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For every unit of a model's analysis whether it goes.

        Raises:
            PlanError: The plan names layers or channels that the model does not have, takes channels that may not
                go, or says two things of channels that go together.
        """
        gone = np.zeros(channels.units, bool)
        kept_by = np.full(channels.units, -1)
        names = list(self.kept)
        for place, name in enumerate(names):
            units, mask = self._positions(channels, name)
            gone[units[~mask]] = True
            kept_by[units[mask]] = place
        self._check_conflicts(channels, gone, kept_by, names)
        for unit in np.flatnonzero(gone).tolist():
            if unit in channels.frozen:
                reason, about = channels.frozen[unit]
                raise PlanError(
                    "The plan takes channels that may not go.",
                    where=f"layer {self._first(channels, unit)!r}",
                    got=f"{reason} ({about})" if about else str(reason),
                    hint="print(kerasurgeon.groups(model)) shows what may be cut",
                )
        return gone

    def _positions(self, channels: Channels, name: str) -> tuple[Any, Any]:
        source = channels.sources.get(name)
        if source is None:
            of = f" It was made for {self.model!r}." if self.model and self.model != channels.graph.name else ""
            raise PlanError(
                f"The model {channels.graph.name!r} has no layer {name!r} that makes channels.{of}",
                hint=did_you_mean(name, channels.sources),
            )
        width = source.ids.size
        wanted = self.kept[name]
        if self.widths.get(name, width) != width:
            raise PlanError(
                f"The plan was made for another model: layer {name!r} has another width.",
                expected=f"{self.widths[name]} channels",
                got=f"{width} channels",
            )
        if isinstance(wanted, int):
            raise PlanError(
                f"The plan gives a number of channels for {name!r}, not which.",
                got=f"{wanted} of {width}",
                hint="let a criterion choose them: ApplyPlan(plan, importance='l2')",
            )
        outside = [index for index in wanted if index >= width]
        if outside:
            raise PlanError(
                f"Layer {name!r} has no channel {outside[0]}.", expected=f"indices below {width}", got=str(outside[:5])
            )
        mask = np.zeros(width, bool)
        mask[list(wanted)] = True
        return channels.unit[source.ids.ravel()], mask

    def _check_conflicts(self, channels: Channels, gone: Any, kept_by: Any, names: list[str]) -> None:
        both = np.flatnonzero(gone & (kept_by >= 0))
        if len(both):
            unit = int(both[0])
            taker = self._first(channels, unit)
            raise PlanError(
                f"The plan keeps a channel in {names[kept_by[unit]]!r} and takes the same channel in {taker!r}.",
                where=", ".join(self._indices(channels, unit)[:4]),
                hint="channels that are added to one another go together; name one of these layers only",
            )

    def _first(self, channels: Channels, unit: int) -> str:
        for name, wanted in self.kept.items():
            source = channels.sources.get(name)
            if source is not None and not isinstance(wanted, int):
                positions = np.flatnonzero(channels.unit[source.ids.ravel()] == unit)
                if len(positions) and not set(positions.tolist()) <= set(wanted):
                    return name
        return "?"

    def _indices(self, channels: Channels, unit: int) -> list[str]:
        found = []
        for name in self.kept:
            positions = np.flatnonzero(channels.unit[channels.sources[name].ids.ravel()] == unit)
            found += [f"{name}[{place}]" for place in positions.tolist()]
        return found


def _checked(name: str, wanted: Any) -> tuple[int, ...] | int:
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        if wanted < 0:
            raise OptionError(f"The plan keeps fewer than no channels of {name!r}.", got=str(wanted))
        return int(wanted)
    if isinstance(wanted, (str, bytes, Mapping)) or not hasattr(wanted, "__iter__"):
        raise OptionError(
            f"What the plan keeps of {name!r} cannot be used.", expected="indices, or how many", got=repr(wanted)
        )
    entries = list(wanted)
    kinds = set(map(type, entries))  # few, where there may be thousands of entries
    if entries and all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
        return tuple(index for index, entry in enumerate(entries) if entry)
    whole = all(issubclass(kind, (int, np.integer)) and not issubclass(kind, bool) for kind in kinds)
    if not whole or min(entries, default=0) < 0:
        raise OptionError(
            f"What the plan keeps of {name!r} cannot be used.", expected="indices from 0", got=repr(entries[:6])
        )
    if len(set(entries)) < len(entries):
        raise OptionError(
            f"What the plan keeps of {name!r} cannot be used: it names channels twice.",
            expected="each index once",
            got=", ".join(map(str, sorted(index for index, count in Counter(entries).items() if count > 1)))[:60],
        )
    return tuple(sorted(map(int, entries)))
