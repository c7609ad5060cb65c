"""How much each unit of a group matters: criteria by name, as objects, or as any function.

A criterion gives one number per unit of a group: what matters least goes first. It is anything that can be called
with a ``Group`` and an ``Evidence`` and returns an array, or raises ``Skip`` where it has nothing to say of a group,
which is then left alone. Those of the library are registered by name; most score every weight or tensor that holds the
units and let ``Evidence.reduce`` make one score of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.groups import Group
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.labels import Ids
from kerasurgeon.trust import import_object

Array: TypeAlias = np.ndarray[Any, Any]
Scores: TypeAlias = Iterable[tuple[Ids, Array]]
"""Units and their scores, once for every weight or tensor that was looked at."""


@dataclass
class Evidence:
    """What a criterion may look at beside the group.

    Attributes:
        channels: The analysis of the model.
        data: Inputs, or ``(inputs, labels)``, or an iterable of such batches; ``None`` without data.
        loss: The loss: a name, a Keras loss, or a function of labels and outputs.
        rng: A seeded generator.
        reduction: How the scores that a unit has in several weights or tensors become one.
        memory: For criteria that compute something once for all groups.
        notes: What criteria want the report to say of how they judged.
        target: What the choice is about: ``"macs"``, ``"params"``, ``"bytes"``, ``"latency"``, ``"ratio"``,
            ``"threshold"``; empty where it is not known.
    """

    channels: Channels
    data: Any = None
    loss: Any = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    reduction: str = "mean"
    memory: dict[Any, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    target: str = ""

    @property
    def graph(self) -> Graph:
        """The graph that was analysed."""
        return self.channels.graph

    def reduce(self, group: Group, scores: Scores) -> Array:
        """One score per unit from those that several members give.

        Members that hold only some of the units count for these.

        Raises:
            Skip: A unit has no score at all.
        """
        table = []
        for units, values in scores:
            row = np.full(group.size, np.nan)
            row[np.searchsorted(group.units, units)] = values
            table.append(row)
        rows = np.array(table).reshape(-1, group.size)
        known = ~np.isnan(rows)
        if not known.any(axis=0).all():
            raise Skip("the criterion finds nothing to judge its channels by")
        return REDUCTIONS[self.reduction](rows, known)


Criterion: TypeAlias = Callable[[Group, Evidence], Any]


def _first(rows: Array, known: Array) -> Array:
    return np.asarray(rows[known.argmax(axis=0), np.arange(rows.shape[1])])


REDUCTIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "sum": lambda rows, known: np.where(known, rows, 0.0).sum(axis=0),
    "mean": lambda rows, known: np.where(known, rows, 0.0).sum(axis=0) / known.sum(axis=0),
    "max": lambda rows, known: np.where(known, rows, -np.inf).max(axis=0),
    "product": lambda rows, known: np.where(known, rows, 1.0).prod(axis=0),
    "first": _first,
}
"""How several scores of a unit become one: rows of scores, and which of them there are."""


def _over(total: Callable[[Array], Any]) -> Callable[[Array], Array]:
    def normaliser(scores: Array) -> Array:
        size = float(total(scores))
        return scores / size if size else scores

    return normaliser


def _standardise(scores: Array) -> Array:
    spread = float(scores.std()) or 1.0
    return np.asarray((scores - scores.mean()) / spread)


NORMALISERS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda scores: scores,
    "sum": _over(lambda scores: np.abs(scores).sum()),
    "mean": _over(lambda scores: np.abs(scores).mean()),
    "max": _over(lambda scores: np.abs(scores).max(initial=0.0)),
    "l2": _over(np.linalg.norm),
    "standardise": _standardise,
}
"""How the scores of one group are made comparable with those of others. All zeros stay zeros."""

_REGISTERED: dict[str, Criterion] = {}


def register_criterion(name: str, criterion: Criterion) -> None:
    """Let ``importance=name`` mean this criterion, in place of any there was.

    Args:
        name: The name.
        criterion: A function of a group and the evidence that returns one score per unit. An attribute ``normalise``
            names the normaliser that it has unless told otherwise (``"none"`` without it).
    """
    if not name.isidentifier() or not callable(criterion):
        raise OptionError("A criterion is registered as a name and a callable.", got=f"{name!r}, {criterion!r}")
    _REGISTERED[name] = criterion


def known_criteria() -> tuple[str, ...]:
    """Names of all criteria, sorted."""
    return tuple(sorted(_REGISTERED))


def criterion_for(importance: str | Criterion) -> Criterion:
    """The criterion that an option names: a registered one, ``"module:name"`` of a function, or a function.

    Raises:
        OptionError: There is none of this name, or it cannot be called.
        RecipeError: There is no such module or name.
    """
    if isinstance(importance, str) and importance not in _REGISTERED and ":" in importance:
        importance = import_object(importance, "importance")
    if isinstance(importance, str):
        if importance not in _REGISTERED:
            raise OptionError(
                f"There is no criterion {importance!r} (importance=).", hint=did_you_mean(importance, _REGISTERED)
            )
        return _REGISTERED[importance]
    if not callable(importance) or isinstance(importance, type):
        raise OptionError(
            "importance= cannot be used.",
            expected="the name of a criterion, or a function of a group and the evidence",
            got=repr(importance),
            hint=f"names: {', '.join(known_criteria())}",
        )
    return importance


def name_of_criterion(importance: str | Criterion) -> str:
    """How reports call a criterion."""
    return importance if isinstance(importance, str) else str(getattr(importance, "__name__", importance))


def score(group: Group, criterion: Criterion, evidence: Evidence, normalise: str | None = None) -> Array:
    """What a criterion says of a group, checked and normalised.

    Args:
        group: The group.
        criterion: The criterion.
        evidence: What it may look at.
        normalise: One of ``NORMALISERS``; ``None`` for the criterion's own.

    Returns:
        A number per unit, in the order of ``group.units``.

    Raises:
        Skip: The criterion has nothing to say of this group.
        OptionError: It returned something else than one finite number per unit.
    """
    given = criterion(group, evidence)
    try:
        found = np.asarray(given, dtype="float64")
    except (TypeError, ValueError):
        found = np.empty(0)
    name = name_of_criterion(criterion)
    if found.shape != (group.size,):
        raise OptionError(
            f"The criterion {name!r} does not give one score per unit.",
            where=f"group {group.name!r}",
            expected=f"an array of shape ({group.size},), in the order of group.units",
            got=f"shape {found.shape}" if found.size else repr(given)[:80],
        )
    if not np.isfinite(found).all():
        bad = int(np.count_nonzero(~np.isfinite(found)))
        raise OptionError(
            f"The criterion {name!r} gives scores that are NaN or infinite.",
            where=f"group {group.name!r}",
            got=f"{bad} of {group.size} scores",
            hint="check that the model's weights, the data and the loss are finite",
        )
    own: str = getattr(criterion, "normalise", "none")
    return NORMALISERS[normalise or own](found)


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a value that is none of some names.

    Raises:
        OptionError: It is none of them.
    """
    known = sorted(choices)
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else None
        raise OptionError(f"{option}={value!r} is not known.", expected=" or ".join(map(repr, known)), hint=hint)
