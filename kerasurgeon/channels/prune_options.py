"""The options of PruneChannels, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasurgeon.channels.importance import NORMALISERS, REDUCTIONS
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import check_choice, is_number, wrong_option

TARGETS = ("ratio", "macs", "params", "bytes", "latency", "threshold")
KEPT = ("macs", "params", "bytes", "latency")
SHORTCUTS = ("couple", "scatter")


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
    if target in KEPT and not (is_number(value) and value > 0):
        raise wrong_option(name, target, value, "what is kept: a fraction in (0, 1], or a number above 1")
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
