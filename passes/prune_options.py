"""The options of PruneChannels, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasurgeon.authoring import NORMALISERS, REDUCTIONS, OptionError, did_you_mean, import_object

TARGETS = ("ratio", "macs", "params", "bytes", "latency", "threshold")
KEPT = ("macs", "params", "bytes", "latency")
SHORTCUTS = ("couple", "scatter")


def patterns(name: str, option: str, value: Any) -> tuple[str, ...]:
    """Name patterns: one, or several.

    Raises:
        OptionError: They are none.
    """
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence) or not all(isinstance(item, str) and item for item in several):
        raise wrong(name, option, value, 'patterns of names, as ("stem", "block1_*")')
    return tuple(several)


def shares(name: str, option: str, value: Any, *, below: float = 1.0) -> Any:
    """A share in [0, 1), or shares by name pattern.

    Raises:
        OptionError: It is none.
    """
    for share in value.values() if isinstance(value, Mapping) else [value]:
        if not is_number(share) or not 0 <= share < below:
            wanted = f"from 0 and below {below:g}" if below < float("inf") else "from 0"
            raise wrong(name, option, value, f"a number {wanted}, or such numbers by name pattern")
    if isinstance(value, Mapping) and not (value and all(isinstance(key, str) for key in value)):
        raise wrong(name, option, value, 'numbers by name pattern, as {"block1_*": 0.2}')
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
        raise wrong(name, target, value, "what is kept: a fraction in (0, 1], or a number above 1")
    return target


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def whole(name: str, option: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number.

    Raises:
        OptionError: It is none, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(name, option, value, f"a whole number from {least}")


def function(name: str, option: str, value: Any) -> Callable[..., Any] | None:
    """A function, or what ``"module:name"`` names.

    Raises:
        OptionError: It is none.
    """
    found = import_object(value, f"{name}.{option}") if isinstance(value, str) else value
    if found is not None and not callable(found):
        raise wrong(name, option, value, "a function, or 'module:name' of one")
    return found  # type: ignore[no-any-return]


def check_ways(name: str, reduction: str, normalise: str | None) -> None:
    """Refuse reductions and normalisers that there are not.

    Raises:
        OptionError: There is none of this name.
    """
    for option, value, known in (("reduction", reduction, REDUCTIONS), ("normalise", normalise, NORMALISERS)):
        if value not in known and not (option == "normalise" and value is None):
            hint = did_you_mean(str(value), known)
            raise OptionError(f"{name}: option {option!r} cannot be used.", got=repr(value), hint=hint)


def check_shortcuts(name: str, value: Any) -> None:
    """Refuse ways to treat shortcuts that there are not.

    Raises:
        OptionError: There is none of this name.
    """
    if value not in SHORTCUTS:
        hint = did_you_mean(value, SHORTCUTS) if isinstance(value, str) else None
        expected = " or ".join(map(repr, SHORTCUTS))
        raise OptionError(f"{name}: option 'shortcuts' cannot be used.", expected=expected, got=repr(value), hint=hint)


def wrong(name: str, option: str, value: Any, expected: str) -> OptionError:
    """The error for an option."""
    return OptionError(f"{name}: option {option!r} cannot be used.", expected=expected, got=repr(value))
