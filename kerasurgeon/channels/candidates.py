"""What may go, in which order, and how many at least stay: per group, before anything is decided.

Within a group units go from the least important on. What that leaves to decide is one number per group: how many go.
So that nothing becomes empty, the most important unit of every axis of every tensor and weight is put at the end of the
order and stays; of the channels of a layer, as many as the floor says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, gcd
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.avoided import levels_for_numbers
from kerasurgeon.channels.groups import Group, Groups
from kerasurgeon.channels.importance import Array, Criterion, Evidence, score
from kerasurgeon.channels.named import Names
from kerasurgeon.errors import did_you_mean
from kerasurgeon.rewrite.option_checks import wrong_option
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.labels import Ids
from kerasurgeon.rules.reasons import Reason

RUNTIME_MULTIPLES = {"onnxruntime": 16, "tflite": 32, "xnnpack": 32}
"""Multiples of channels that a runtime's kernels work on, as measured on AVX-512: widths between cost as the next."""

PAYS = ((64, 8), (16, 4), (0, 1))
"""From a width on, the multiple of channels that pays on all runtimes: docs/processors.md. Below it, all widths do."""


@dataclass(eq=False)
class Candidate:
    """A group with what may go of it.

    Attributes:
        group: The group.
        order: Its units that may go, by number in the analysis, the least important first.
        scores: Their scores.
        levels: How many of them may go at once, ascending from 0: rounding leaves gaps.
        why: Why none may go; empty if some may.
        limit: What keeps the rest from going.
        finer: Levels of widths that pay less, for targets that are not met otherwise: the coarsest first.
    """

    group: Group
    order: Ids
    scores: Array
    levels: Ids
    why: str = ""
    limit: str = ""
    finer: tuple[Ids, ...] = ()

    @property
    def most(self) -> int:
        """How many may go at most, at the finest levels."""
        return int((self.finer or (self.levels,))[-1][-1])

    def refine(self) -> bool:
        """Take the next finer levels, if there are any."""
        if self.finer:
            self.levels, *rest = self.finer
            self.finer = tuple(rest)
            return True
        return False

    @property
    def size(self) -> int:
        """How many units it has in all."""
        return self.group.size

    def nearest(self, number: float) -> int:
        """The level nearest to a number of units; the lower one between two."""
        place = int(np.searchsorted(self.levels, number))
        around = self.levels[max(place - 1, 0) : place + 1]
        return int(around[np.argmin(np.abs(around - number))])


@dataclass(frozen=True)
class Limits:
    """What must stay.

    Attributes:
        ignore: Patterns of names of layers whose channels are left alone.
        round_to: Kept widths are multiples of this; groups that are narrower are left alone. ``"auto"``: of what pays
            at their width (``PAYS``), of less where a target is not met otherwise.
        min_channels: Fewest channels of a layer that stay.
        max_ratio: Largest share of a group's channels that may go.
        exact_only: Whether channels that a layer normalises over, or reduces over by number, stay.
        widths: The widths that ``max_ratio`` refers to, by group, where they are not those of the graph.
    """

    ignore: tuple[str, ...] = ()
    round_to: int | str = 1
    min_channels: int = 1
    max_ratio: float = 1.0
    exact_only: bool = False
    widths: dict[str, int] = field(default_factory=dict)


def round_to_number(owner: str, option: int | str) -> int:
    """The multiple that ``round_to=`` means: a number, or a runtime's.

    Args:
        owner: What has the option and starts the message.
        option: What was given.

    Raises:
        OptionError: It is neither.
    """
    return _multiple(owner, option, "")


def rounding(owner: str, option: int | str) -> int | str:
    """What ``round_to=`` means where it may be ``"auto"``: that, or a multiple as ``round_to_number`` says.

    Raises:
        OptionError: It is none of these.
    """
    return option if option == "auto" else _multiple(owner, option, "'auto', ")


def _multiple(owner: str, option: int | str, besides: str) -> int:
    if isinstance(option, str) and option in RUNTIME_MULTIPLES:
        return RUNTIME_MULTIPLES[option]
    if isinstance(option, (int, np.integer)) and not isinstance(option, bool) and option >= 1:
        return int(option)
    runtimes = ", ".join(map(repr, RUNTIME_MULTIPLES))
    known = [*(["auto"] if besides else []), *RUNTIME_MULTIPLES]
    hint = did_you_mean(option, known) if isinstance(option, str) else None
    raise wrong_option(owner, "round_to", option, f"{besides}a whole number from 1, or a runtime ({runtimes})", hint)


def unit_steps(round_to: int | str, width: int, each: int) -> list[int]:
    """By how many units of several channels each a width may go, the coarsest first.

    Args:
        round_to: A multiple of channels, or ``"auto"``: what pays at the width (``PAYS``), then finer ones.
        width: In channels.
        each: Channels of a unit.
    """
    multiples = [round_to] if isinstance(round_to, int) else [pays for least, pays in PAYS if least <= width]
    return list(dict.fromkeys(multiple // gcd(multiple, each) for multiple in multiples))


def candidates(
    groups: Groups,
    limits: Limits,
    criterion: Criterion,
    evidence: Evidence,
    normalise: str | None = None,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
) -> list[Candidate]:
    """What may go of each group, in order.

    Args:
        groups: The groups.
        limits: What must stay.
        criterion: Says what matters least.
        evidence: What the criterion may look at.
        normalise: How scores are made comparable; ``None`` for the criterion's own way.
        progress: Called with the fraction of groups scored and the name of one.

    Raises:
        OptionError: A name in ``limits.ignore`` means nothing, or the criterion does not do.
    """
    channels = groups.channels
    may_go = np.ones(channels.units, bool)
    may_go[list(channels.frozen)] = False
    ignored = _ignored(channels, limits.ignore)
    may_go &= ~ignored
    if limits.exact_only:
        may_go[list(channels.inexact)] = False
    scores = np.full(channels.units, np.inf)
    rank = np.full(channels.units, np.inf)
    found: list[Candidate] = []
    for place, group in enumerate(groups):
        progress(place / len(groups), group.name)
        why = "" if may_go[group.units].any() else _why_none(group, ignored, limits)
        if not why:
            try:
                scores[group.units] = score(group, criterion, evidence, normalise)
            except Skip as skip:
                why = skip.reason
        if why:
            may_go[group.units] = False
        else:
            order = np.argsort(scores[group.units], kind="stable")
            rank[group.units[order]] = np.arange(group.size) / group.size
        found.append(Candidate(group, group.units[:0], np.empty(0), np.zeros(1, int), why))
    protected = _protected(channels, may_go, rank, limits.min_channels)
    for candidate in found:
        if not candidate.why:
            _settle(channels, candidate, may_go, protected, scores, limits)
    return found


def _settle(
    channels: Channels, candidate: Candidate, may_go: Array, protected: Array, scores: Array, limits: Limits
) -> None:
    group = candidate.group
    units = group.units[may_go[group.units] & ~protected[group.units]]
    candidate.order = units[np.argsort(scores[units], kind="stable")]
    candidate.scores = scores[candidate.order]
    width = limits.widths.get(group.name, group.size)
    most = min(len(candidate.order), group.size - ceil(round(width * (1 - limits.max_ratio), 9)))
    several = unit_steps(limits.round_to, group.size * group.granularity, group.granularity)
    candidate.levels, *finer = (levels_for_numbers(channels, group, _levels(group, step, most)) for step in several)
    candidate.finer = tuple(finer)
    if most < len(candidate.order):
        candidate.limit = f"max_ratio={limits.max_ratio:g}"
    elif limits.min_channels > 1:
        candidate.limit = f"min_channels={limits.min_channels}"
    elif most > 0 and len(levels_for_numbers(channels, group, np.arange(most + 1))) == 1:
        candidate.limit = str(Reason.BIAS_AXIS)
    while len(candidate.levels) == 1 and candidate.refine():
        pass
    if len(candidate.levels) == 1:
        candidate.why = f"of its {group.size * group.granularity} channels"
        candidate.why += f", {group.granularity} each" if group.granularity > 1 else ""
        candidate.why += ", none may go"
        if candidate.limit:
            candidate.why += f": {candidate.limit}"
        if several[0] > 1:
            candidate.why += f" (round_to={limits.round_to})"


def _levels(group: Group, step: int, most: int) -> Ids:
    """How many units may go so that a multiple of some stays."""
    kept = np.arange(0, group.size, step)
    levels = np.sort(group.size - kept[kept > 0])
    return np.concatenate([[0], levels[(levels > 0) & (levels <= most)]]).astype(int)


def _ignored(channels: Channels, patterns: Iterable[str]) -> Array:
    ignored = np.zeros(channels.units, bool)
    names = Names(channels)
    for pattern in patterns:
        ignored |= names.units(pattern, "ignore=")
    return ignored


def _why_none(group: Group, ignored: Array, limits: Limits) -> str:
    if ignored[group.units].any():
        return "ignore= names it"
    if group.frozen or not group.free.any():
        return group.frozen or "none of its channels may go"
    return f"exact_only: {group.inexact}"


def _protected(channels: Channels, may_go: Array, rank: Array, floor: int) -> Array:
    """Units that stay so that no axis becomes empty, and no layer narrower than the floor."""
    stays = ~may_go
    for ids, least in axes(channels, floor):
        along = channels.unit[ids.ravel()]
        held = int(np.count_nonzero(stays[along]))
        if held >= least:
            continue
        units, counts = np.unique(along, return_counts=True)
        for place in np.argsort(-rank[units], kind="stable").tolist():
            if not stays[units[place]]:
                stays[units[place]] = True
                held += int(counts[place])
                if held >= least:
                    break
    return stays & may_go


def axes(channels: Channels, floor: int = 1) -> Iterator[tuple[Ids, int]]:
    """Every array of labels once, sources first, with how many of its positions must stay."""
    for source in channels.sources.values():
        yield source.ids, min(floor, source.ids.size)
    seen: dict[int, Any] = {id(source.ids): source.ids for source in channels.sources.values()}
    held = (item.ids for call in channels.calls.values() for item in call.held)
    shown = (factor.ids for several in channels.labels.values() for one in several for factor in one.factors)
    for arrays in (shown, held):
        for ids in arrays:
            if id(ids) not in seen and ids.size:
                seen[id(ids)] = ids
                yield ids, 1
