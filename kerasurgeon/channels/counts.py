"""Plans that give numbers of channels: a criterion chooses which."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.groups import Group, groups
from kerasurgeon.channels.importance import Array, Criterion, Evidence, score
from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.errors import PlanError, did_you_mean
from kerasurgeon.rewrite.passes import Skip


def chosen_units(plan: KeptChannels, criterion: Criterion, evidence: Evidence) -> Array:
    """The units that go by a plan, where numbers of channels are filled in by importance.

    Args:
        plan: The plan, with indices or numbers.
        criterion: Says what matters least; only asked of groups that a number is about.
        evidence: What the criterion may look at; has the analysis of the model.

    Returns:
        For every unit of the analysis whether it goes.

    Raises:
        PlanError: The plan does not fit the model, numbers of layers that go together disagree, a number cannot be had
            because channels go several at a time or may not go, or the criterion has nothing to say of a layer.
    """
    channels = evidence.channels
    if plan.chosen:
        return plan.gone(channels)

    def scores(group: Group) -> Array:
        try:
            return score(group, criterion, evidence)
        except Skip as skip:
            raise PlanError(
                f"Which channels of {group.name!r} are kept cannot be chosen by this criterion: {skip.reason}.",
                hint="take another: importance='l2'",
            ) from skip

    return _choose(plan, channels, scores)


def _choose(plan: KeptChannels, channels: Channels, scores: Callable[[Group], Array]) -> Array:
    fixed = {name: wanted for name, wanted in plan.kept.items() if not isinstance(wanted, int)}
    gone = KeptChannels(fixed, plan.widths, plan.model).gone(channels)
    decided = gone.copy()
    for name in fixed:
        decided[channels.unit[channels.sources[name].ids.ravel()]] = True
    decided[list(channels.frozen)] = True
    numbers = {name: wanted for name, wanted in plan.kept.items() if isinstance(wanted, int)}
    group_of = {source.name: group for group in groups(channels) for source in group.sources}
    known: dict[str, Array] = {}
    set_by: dict[int, str] = {}
    for name, wanted in numbers.items():
        _check(plan, channels, name, wanted)
        units, each = np.unique(channels.unit[channels.sources[name].ids.ravel()], return_counts=True)
        group = group_of[name]
        open_units = units[~decided[units]]
        if len(open_units):
            if group.name not in known:
                known[group.name] = scores(group)
            ranked = known[group.name][np.searchsorted(group.units, open_units)]
            sizes = dict(zip(units.tolist(), each.tolist(), strict=True))
            have = int(each[~gone[units]].sum())
            for unit in open_units[np.argsort(ranked, kind="stable")].tolist():
                if have - sizes[unit] < wanted:
                    break
                gone[unit] = True
                have -= sizes[unit]
            decided[open_units] = True
            set_by.update(dict.fromkeys(units.tolist(), name))
        kept = int(each[~gone[units]].sum())
        if kept != wanted:
            raise _disagrees(channels, name, wanted, kept, units, gone, set_by, int(each.max()))
    return gone


def _check(plan: KeptChannels, channels: Channels, name: str, wanted: int) -> None:
    if name not in channels.sources:
        raise PlanError(
            f"The model {channels.graph.name!r} has no layer {name!r} that makes channels.",
            hint=did_you_mean(name, channels.sources),
        )
    width = channels.sources[name].ids.size
    if plan.widths.get(name, width) != width:
        raise PlanError(
            f"The plan was made for another model: layer {name!r} has another width.",
            expected=f"{plan.widths[name]} channels",
            got=f"{width} channels",
        )
    if wanted > width:
        raise PlanError(
            f"The plan keeps more channels of {name!r} than there are.", expected=f"at most {width}", got=str(wanted)
        )


def _disagrees(
    channels: Channels, name: str, wanted: int, kept: int, units: Array, gone: Array, set_by: dict[int, str], each: int
) -> PlanError:
    other = next((set_by[unit] for unit in units.tolist() if set_by.get(unit, name) != name), None)
    if other is not None:
        what = f"it shares channels with {other!r}, of which the plan keeps another number"
        hint = "layers whose channels go together must keep the same number; name one of them only"
    elif any(unit in channels.frozen for unit in units.tolist()):
        reason, about = next(channels.frozen[unit] for unit in units.tolist() if unit in channels.frozen)
        what, hint = f"{reason} ({about})", "print(kerasurgeon.groups(model)) shows what may be cut"
    elif each > 1:
        what, hint = f"its channels go {each} at a time", f"keep a multiple of {each}"
    else:
        what, hint = "other layers of the plan, which share its channels, say which stay", "name one of them only"
    return PlanError(
        f"The plan keeps {wanted} channels of {name!r}, which cannot be had: {what}.",
        expected=str(wanted),
        got=str(kept),
        hint=hint,
    )
