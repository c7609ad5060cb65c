"""The options of passes on channels, checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasurgeon.channels.candidates import rounding
from kerasurgeon.channels.importance import NORMALISERS, REDUCTIONS, criterion_for
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.selection import SCOPES
from kerasurgeon.costs import check_unreachable
from kerasurgeon.errors import OptionError
from kerasurgeon.generating import checked_generating
from kerasurgeon.rewrite.option_checks import (
    check_budget,
    check_choice,
    check_count,
    check_function,
    check_patterns,
    is_number,
    wrong_option,
)

TARGETS = ("ratio", "macs", "params", "bytes", "latency", "threshold")
KEPT = ("macs", "params", "bytes", "latency")
SHORTCUTS = ("couple", "scatter")
AUTO = "auto"
COMPENSATIONS = (AUTO, "none", "batch_norm", "data", "least_squares", "generated")


@dataclass(frozen=True)
class PruneOptions:
    """What ``PruneChannels`` was asked for, checked: its options, under the name that messages begin with.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one target is given.
    """

    name: str
    ratio: float | Mapping[str, float] | None
    macs: float | None
    params: float | None
    bytes: float | None
    latency: float | None
    threshold: float | Mapping[str, float] | None
    importance: str | Callable[..., Any]
    scope: str | tuple[str, ...] | Mapping[str, float]
    ignore: str | tuple[str, ...]
    round_to: int | str
    min_channels: int
    max_ratio: float
    reduction: str
    normalise: str | None
    shortcuts: str
    exact_only: bool
    compensate: str
    input_range: Any
    generate_seconds: float
    steps: int
    callback: str | Callable[..., Any] | None
    max_loss: float | None
    latency_of: str | Callable[..., Any] | None
    try_zeros: bool
    unreachable: str

    def __post_init__(self) -> None:
        name, target = self.name, self.target
        for option, below in (("ratio", 1.0), ("threshold", float("inf"))):
            if getattr(self, option) is not None:
                object.__setattr__(self, option, shares(name, option, getattr(self, option), below=below))
        if isinstance(self.scope, Mapping):
            object.__setattr__(self, "scope", shares(name, "scope", self.scope))
        elif self.scope not in (AUTO, *SCOPES):
            object.__setattr__(self, "scope", check_patterns(name, "scope", self.scope))
        object.__setattr__(self, "ignore", check_patterns(name, "ignore", self.ignore))
        rounding(name, self.round_to)
        check_count(name, "min_channels", self.min_channels)
        check_count(name, "steps", self.steps)
        if not is_number(self.max_ratio) or not 0 < self.max_ratio <= 1:
            raise wrong_option(name, "max_ratio", self.max_ratio, "a number in (0, 1]")
        check_ways(name, self.reduction, self.normalise)
        check_shortcuts(name, self.shortcuts)
        check_choice(name, "compensate", self.compensate, COMPENSATIONS)
        if self.importance != AUTO:
            criterion_for(self.importance)
        given = checked_generating(name, self.input_range, self.generate_seconds)
        object.__setattr__(self, "input_range", given)
        check_unreachable(name, self.unreachable)
        for option in ("callback", "latency_of"):
            check_function(name, option, getattr(self, option))
        if target == "latency" and self.latency_of is None:
            raise wrong_option(name, "latency_of", None, "a function that gives the latency of a model")
        if self.max_loss is not None and (not is_number(self.max_loss) or self.max_loss < 0):
            raise wrong_option(name, "max_loss", self.max_loss, "a number from 0")
        if self.steps > 1 and (target == "threshold" or self.try_zeros):
            raise wrong_option(name, "steps", self.steps, "1 with threshold= or try_zeros=")

    @property
    def target(self) -> str:
        """The option that says how much goes."""
        return one_target(self.name, vars(self))


def shares(name: str, option: str, value: Any, *, below: float = 1.0) -> Any:
    """A share in [0, 1), or shares by name pattern.

    Raises:
        OptionError: It is none.
    """
    for share in value.values() if isinstance(value, Mapping) else [value]:
        if not is_number(share) or not 0 <= share < below:
            wanted = f"from 0 and below {below:g}" if below < float("inf") else "from 0"
            raise wrong_option(name, option, value, f"a number {wanted}, or such numbers by name pattern")
    if isinstance(value, Mapping) and not (value and all(isinstance(key, str) for key in value)):
        raise wrong_option(name, option, value, 'numbers by name pattern, as {"block1_*": 0.2}')
    return dict(value) if isinstance(value, Mapping) else float(value)


def one_target(name: str, options: Mapping[str, Any]) -> str:
    """Which target is given: the option's name, ``"scope"`` where that has ratios.

    Raises:
        OptionError: Not exactly one is given, or it has a value that it may not have.
    """
    given = [target for target in TARGETS if options[target] is not None]
    if isinstance(options["scope"], Mapping):
        given.append("scope")
    if len(given) != 1:
        raise OptionError(
            f"{name} needs one target.",
            expected=f"one of {', '.join(TARGETS)}, or scope= with a ratio for each section",
            got=" and ".join(f"{target}={options[target]!r}" for target in given) or "none",
        )
    target = given[0]
    value = options[target]
    if target in KEPT:
        check_budget(name, target, value)
    return target


def check_ways(name: str, reduction: str, normalise: str | None) -> None:
    """Refuse reductions and normalisers that there are not.

    Raises:
        OptionError: There is none of this name.
    """
    check_choice(name, "reduction", reduction, REDUCTIONS)
    if normalise is not None:
        check_choice(name, "normalise", normalise, NORMALISERS)


def check_shortcuts(name: str, value: Any) -> None:
    """Refuse ways to treat shortcuts that there are not.

    Raises:
        OptionError: There is none of this name.
    """
    check_choice(name, "shortcuts", value, SHORTCUTS)


def plan_option(name: str, value: Any) -> str | dict[str, Any]:
    """A plan as plain data, which a recipe can hold: its path, or what is kept by layer.

    Raises:
        OptionError: It is none, or names what cannot be kept.
        PlanError: It does not have the form of a plan.
    """
    if isinstance(value, (str, Path)) and str(value):
        return str(value)
    if isinstance(value, ChannelPlan):
        return dict(json.loads(value.to_json()))
    if isinstance(value, Mapping):
        read_plan(dict(value))
        return dict(value)
    raise OptionError(
        f"{name}: option 'plan' cannot be used.",
        expected="a ChannelPlan, the path of one, or what is kept by layer",
        got=repr(value)[:80],
    )


def read_plan(option: Any) -> ChannelPlan:
    """The plan that ``plan_option`` gave as plain data.

    Raises:
        PlanError: It cannot be read.
    """
    if isinstance(option, str):
        return ChannelPlan.load(option)
    return ChannelPlan.from_json(json.dumps(option)) if "format" in option else ChannelPlan(option)
