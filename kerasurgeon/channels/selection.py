"""Choose how many units of every group go: by rankings over one group, several or all, down to a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.balance import balanced, held_back, roundest
from kerasurgeon.channels.candidates import Candidate
from kerasurgeon.channels.groups import Group
from kerasurgeon.channels.importance import Array
from kerasurgeon.channels.named import Names
from kerasurgeon.errors import OptionError, did_you_mean

Scope: TypeAlias = "str | Sequence[str] | Mapping[str, float]"
CostOf: TypeAlias = Callable[[Array], float]
"""What is left of something, by which units go."""

SCOPES = ("global", "local", "isomorphic")
CLOSE = 0.01
_HALVINGS = 40


@dataclass
class Section:
    """Groups whose units are ranked together.

    Attributes:
        name: What it is called in reports.
        places: Which of the candidates.
        ratio: A share of its channels to take that is its own; ``None`` for the common one.
    """

    name: str
    places: list[int]
    ratio: float | None = None
    _ranked: tuple[Array, Array, Array] | None = field(default=None, repr=False)

    def taken(self, candidates: Sequence[Candidate], share: float) -> dict[int, int]:
        """How many units of each group go when the least important share of the section's channels does."""
        if self._ranked is None:
            self._ranked = self._rank(candidates)
        of, before, order = self._ranked
        total = sum(candidates[place].size * candidates[place].group.granularity for place in self.places)
        number = int(np.searchsorted(before, share * total + 1e-9, side="right"))
        counts = np.bincount(of[order[:number]], minlength=len(candidates))
        return {place: candidates[place].nearest(int(counts[place])) for place in self.places}

    def wanted(self, candidates: Sequence[Candidate], share: float) -> dict[int, float]:
        """How many units of each group are the least important share of the section's channels, not rounded to levels.

        Of one group alone these are no whole units; of several, those in front of the channel that is nearest.
        """
        total = sum(candidates[place].size * candidates[place].group.granularity for place in self.places)
        if len(self.places) == 1:
            (place,) = self.places
            return {place: round(share * candidates[place].size, 9)}
        if self._ranked is None:
            self._ranked = self._rank(candidates)
        of, before, order = self._ranked
        ends = np.concatenate([[0], before])
        number = int(np.argmin(np.round(np.abs(ends - share * total), 9)))
        counts = np.bincount(of[order[:number]], minlength=len(candidates))
        return {place: float(counts[place]) for place in self.places}

    def below(self, candidates: Sequence[Candidate], threshold: float) -> dict[int, int]:
        """How many units of each group have a score below a threshold."""
        found = {}
        for place in self.places:
            levels = candidates[place].levels
            number = int(np.searchsorted(candidates[place].scores, threshold))
            found[place] = int(levels[np.searchsorted(levels, number, side="right") - 1])
        return found

    def forget(self) -> None:
        """Rank anew: other numbers may go."""
        self._ranked = None

    def _rank(self, candidates: Sequence[Candidate]) -> tuple[Array, Array, Array]:
        """The group of every unit that may go, channels gone after each in the ranking, and the ranking."""
        most = [candidates[place].levels[-1] for place in self.places]
        of = np.repeat(self.places, most).astype(int)
        scores = [candidates[place].scores[:count] for place, count in zip(self.places, most, strict=True)]
        order = np.argsort(np.concatenate([*scores, np.empty(0)]), kind="stable")
        each = np.array([candidates[place].group.granularity for place in of[order].tolist()])
        return of, np.cumsum(each), order


def sections(
    channels: Channels, candidates: Sequence[Candidate], scope: Scope, option: str = "scope="
) -> list[Section]:
    """The rankings that an option asks for.

    Args:
        channels: The analysis.
        candidates: What may go.
        scope: ``"global"``: one ranking. ``"local"``: one for each group. ``"isomorphic"``: one for all groups that
            weights of the same kinds of layers hold along the same axes (Fang et al., "Isomorphic Pruning for Vision
            Models", ECCV 2024). Patterns of names (of layers, nested models
            or regions): a ranking for each, and one for all the rest. Patterns with numbers: the numbers are the
            sections' own; the rest is left out.
        option: What the option is called.

    Raises:
        OptionError: A name means nothing, or two patterns mean the same group.
    """
    usable = [place for place, candidate in enumerate(candidates) if not candidate.why]
    if isinstance(scope, str):
        if scope == "global":
            return [Section("global", usable)]
        if scope == "local":
            return [Section(candidates[place].group.name, [place]) for place in usable]
        if scope == "isomorphic":
            alike: dict[Any, list[int]] = {}
            for place in usable:
                alike.setdefault(_form(channels, candidates[place].group), []).append(place)
            return [Section(candidates[several[0]].group.name, several) for several in alike.values()]
        raise OptionError(
            f"{option}{scope!r} is not known.",
            expected="'global', 'local', 'isomorphic', or patterns of names",
            hint=did_you_mean(scope, SCOPES),
        )
    names = Names(channels)
    groups = [candidate.group for candidate in candidates]
    left = set(usable)
    found = []
    for pattern in scope:
        # The first pattern that names a group counts.
        places = [place for place in names.groups(pattern, option, groups) if place in left]
        left -= set(places)
        found.append(Section(pattern, places, scope[pattern] if isinstance(scope, Mapping) else None))
    if left and not isinstance(scope, Mapping):
        found.append(Section("the rest", sorted(left)))
    return found


def _form(channels: Channels, group: Group) -> Any:
    """What groups of equal structure have in common: how many weights of which layers hold them, and how."""
    held = Counter(
        (channels.graph.layers[member.layer].kind, member.weight, member.axis, member.contracted)
        for member in group.members
    )
    return group.granularity, frozenset(held.items())


@dataclass(eq=False)
class Chosen:
    """What is to go.

    Attributes:
        counts: For every candidate how many of its units go.
        gone: For every unit of the analysis whether it goes.
        reached: What is left of what the target is about.
    """

    counts: Array
    gone: Array
    reached: float = float("nan")


class Chooser:
    """Chooses among candidates.

    Args:
        channels: The analysis.
        candidates: What may go.
        sections: The rankings.
    """

    def __init__(self, channels: Channels, candidates: Sequence[Candidate], sections: Sequence[Section]) -> None:
        self.channels = channels
        self.candidates = candidates
        self.sections = sections

    @property
    def nothing(self) -> Array:
        """For every unit that it stays."""
        return np.zeros(self.channels.units, bool)

    def chosen(self, counts: Array, reached: float = float("nan")) -> Chosen:
        """The units of some counts."""
        return Chosen(counts, self.gone(counts), reached)

    def gone(self, counts: Array) -> Array:
        """For every unit whether it goes."""
        gone = np.zeros(self.channels.units, bool)
        for candidate, count in zip(self.candidates, counts.tolist(), strict=True):
            gone[candidate.order[:count]] = True
        return gone

    def by_ratio(self, ratio: float | None = None) -> Chosen:
        """The least important share of the channels of every section, as near as widths allow.

        Sections without a ratio of their own are rounded so that what goes of all of them together is right.
        """
        counts = np.zeros(len(self.candidates), int)
        own = [section.wanted(self.candidates, section.ratio) for section in self.sections if section.ratio is not None]
        for wanted in [self._wanted(ratio), *own]:
            for place, count in balanced(self.candidates, wanted).items():
                counts[place] = count
        return self.chosen(counts)

    def nearly(self, channels: float) -> float:
        """How many channels count as so many: they may go several at a time."""
        several = (self.candidates[place].group.granularity for section in self.sections for place in section.places)
        return channels * (1 + CLOSE) + max(1.0, max(several, default=1) / 2)

    def to_ratio(self, ratio: float) -> Chosen:
        """As ``by_ratio``, with finer widths where the share is missed otherwise; others make up for what is held back.

        What is left is ``nearly`` the rest, if that can be reached.
        """
        target = (1 - ratio) * self.kept_channels(self.nothing)
        while True:
            chosen = self.by_ratio(ratio)
            missed = self.kept_channels(chosen.gone) - target
            allowed = self.nearly(target) - target
            if abs(missed) <= allowed:
                return chosen
            wanted = self._wanted(ratio)
            coarse = roundest(self.candidates, wanted) if held_back(self.candidates, wanted) <= allowed else None
            if coarse is None:
                return chosen if missed <= 0 else self.to_target(self.kept_channels, target)
            self.candidates[coarse].refine()
            for section in self.sections:
                section.forget()

    def by_threshold(self, threshold: float | None = None) -> Chosen:
        """The units of every section that score below its own threshold, or the common one."""
        counts = np.zeros(len(self.candidates), int)
        for section in self.sections:
            limit = section.ratio if section.ratio is not None else threshold
            if limit is not None:
                for place, count in section.below(self.candidates, limit).items():
                    counts[place] = count
        return self.chosen(counts)

    def kept_channels(self, gone: Array) -> float:
        """How many channels of all groups that may shrink are left."""
        return float(
            sum(
                candidate.group.granularity * (candidate.size - np.count_nonzero(gone[candidate.group.units]))
                for candidate in self.candidates
                if not candidate.why
            )
        )

    def to_target(self, cost_of: CostOf, target: float, *, evaluations: int = 10_000) -> Chosen:
        """As little as brings a cost to a target, never above it; all that may go where that is not enough.

        Args:
            cost_of: The cost by what goes.
            target: The most that may be left of it.
            evaluations: Most times to ask for the cost.
        """
        whole = np.zeros(len(self.candidates), int)
        full = cost_of(self.gone(whole))
        if full <= target:
            return self.chosen(whole, full)
        low, high = 0.0, 1.0
        most = self.everything(cost_of)
        if most.reached > target:
            return most
        best = self._at(1.0)
        reached = cost_of(self.gone(best))
        while reached > target and self._refine():
            best = self._at(1.0)
            reached = cost_of(self.gone(best))
        asked, halved = 3, 0
        above, least = whole, full
        while halved < _HALVINGS and asked < evaluations and (best != above).any():
            halved += 1
            middle = (low + high) / 2
            counts = self._at(middle)
            if (counts == best).all():
                cost = reached
            elif (counts == above).all():
                cost = least
            else:
                cost = cost_of(self.gone(counts))
                asked += 1
            if cost <= target:
                best, reached, high = counts, cost, middle
            else:
                above, least, low = counts, cost, middle
            if target - reached < 1e-6 * full or high - low < 1e-9:
                break
        return self._filled(best, reached, cost_of, target, full, evaluations - asked)

    def everything(self, cost_of: CostOf) -> Chosen:
        """All that may go, and what is left then: the least that there is."""
        counts = self._at(1.0)
        for section in self.sections:
            for place in section.places:
                counts[place] = self.candidates[place].most
        return self.chosen(counts, cost_of(self.gone(counts)))

    def held_back(self) -> str:
        """What keeps targets from being reached, for errors."""
        left = [candidate for candidate in self.candidates if candidate.why]
        why: Any = {candidate.why: candidate.group.name for candidate in reversed(left)}
        reasons = "; ".join(f"{name!r}: {reason}" for reason, name in list(why.items())[:3])
        options = "ignore=, max_ratio=, min_channels=, round_to= and exact_only= hold channels back"
        return options + (f"; left alone: {reasons}" if reasons else "")

    def _at(self, share: float) -> Array:
        counts = np.zeros(len(self.candidates), int)
        for section in self.sections:
            for place, count in section.taken(self.candidates, share).items():
                counts[place] = count
        return counts

    def _wanted(self, share: float | None) -> dict[int, float]:
        """What a common share asks of each group in sections without one of their own."""
        found: dict[int, float] = {}
        for section in self.sections:
            if section.ratio is None and share is not None:
                found |= section.wanted(self.candidates, share)
        return found

    def _filled(self, counts: Array, reached: float, cost_of: CostOf, target: float, full: float, asks: int) -> Chosen:
        """Give units back, the most important first, while the target holds; finer where that leaves too much."""
        counts, progress, close = counts.copy(), True, CLOSE / 10 * full
        while target - reached > close:
            if not progress:
                if target - reached <= CLOSE * full or not self._refine():
                    break
                close = CLOSE / 2 * full  # no more widths that pay less than it takes
            progress = False
            for place in sorted(np.flatnonzero(counts).tolist(), key=lambda place: -self._last_score(counts, place)):
                if asks <= 0 or target - reached <= close:
                    return self.chosen(counts, reached)
                levels = self.candidates[place].levels
                trial = counts.copy()
                trial[place] = levels[int(np.searchsorted(levels, counts[place])) - 1]
                asks -= 1
                cost = cost_of(self.gone(trial))
                if cost <= target:
                    counts, reached, progress = trial, cost, True
        return self.chosen(counts, reached)

    def _refine(self) -> bool:
        """Let all widths be finer, where some can be."""
        for section in self.sections:
            section.forget()
        return sum(candidate.refine() for candidate in self.candidates) > 0

    def _last_score(self, counts: Array, place: int) -> float:
        return float(self.candidates[place].scores[counts[place] - 1])
