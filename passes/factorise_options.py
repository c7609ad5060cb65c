"""The options of Factorise, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.authoring import METHODS, OptionError, did_you_mean

AUTO = ("svd", "tucker")
"""What ``method="auto"`` tries, in this order."""

BUDGETS = ("macs", "params", "bytes", "latency", "compression_factor")
WAYS = ("ratio", "energy", "error", "ranks", *BUDGETS, "max_accuracy_loss")
COSTS = ("macs", "params", "bytes")
MINIMISE = ("kernel", "output")

Methods = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of methods by name pattern, in order."""


def one_way(name: str, options: Mapping[str, Any]) -> str:
    """Which option chooses the ranks.

    Raises:
        OptionError: Not exactly one is given, or it has a value that it may not have.
    """
    given = [way for way in WAYS if options[way] is not None]
    if len(given) != 1:
        raise OptionError(
            f"{name}: the ranks must be chosen in one way.",
            expected=f"one of {', '.join(WAYS)}",
            got=" and ".join(f"{way}={options[way]!r}" for way in given) or "none of them",
            hint=f"{name}(energy=0.9) is a start; {name}(macs=0.5) halves the model",
        )
    way, value = given[0], options[given[0]]
    if way in ("ratio", "energy", "compression_factor") and not (is_number(value) and 0 < value <= 1):
        raise wrong(name, way, value, "a number in (0, 1]")
    if way == "error" and not (is_number(value) and 0 < value < 1):
        raise wrong(name, way, value, "a relative error in (0, 1)")
    if way in BUDGETS and not (is_number(value) and value > 0):
        raise wrong(name, way, value, "what is kept: a fraction in (0, 1], or a number above 1")
    if way == "max_accuracy_loss" and not (is_number(value) and value >= 0):
        raise wrong(name, way, value, "a number from 0")
    return way


def methods(name: str, value: Any) -> Methods:
    """Methods by name pattern.

    Raises:
        OptionError: There is no such method.
    """
    by_pattern = value if isinstance(value, Mapping) else {"*": value}
    if not by_pattern or not all(isinstance(pattern, str) and pattern for pattern in by_pattern):
        raise wrong(name, "method", value, 'a method, several, or those by name pattern, as {"block1_*": "svd"}')
    return tuple((pattern, _methods(name, several)) for pattern, several in by_pattern.items())


def _methods(name: str, value: Any) -> tuple[str, ...]:
    if value == "auto":
        return AUTO
    several = (value,) if isinstance(value, str) else value
    known = ("auto", *METHODS)
    if not isinstance(several, Sequence) or not several:
        raise wrong(name, "method", value, " or ".join(map(repr, known)))
    for one in several:
        if one not in METHODS:
            hint = did_you_mean(one, known) if isinstance(one, str) else None
            error = wrong(name, "method", one, " or ".join(map(repr, known)))
            raise error if hint is None else OptionError(error.what, expected=error.expected, got=error.got, hint=hint)
    return tuple(several)


def ranks(name: str, value: Any) -> dict[str, tuple[int, ...] | str]:
    """Ranks by name pattern: numbers, or ``"vbmf"``.

    Raises:
        OptionError: They are none.
    """
    expected = '{"name pattern": rank, or (input rank, output rank)}, ranks from 1; "vbmf"; or {"name pattern": "vbmf"}'
    if value == "vbmf":
        return {"*": "vbmf"}
    if not isinstance(value, Mapping) or not value:
        raise wrong(name, "ranks", value, expected)
    found: dict[str, tuple[int, ...] | str] = {}
    for pattern, wanted in value.items():
        several = (wanted,) if is_count(wanted, 1) or wanted == "vbmf" else wanted
        if not isinstance(pattern, str) or not pattern or not isinstance(several, Sequence) or not several:
            raise wrong(name, "ranks", value, expected)
        if several == ("vbmf",):
            found[pattern] = "vbmf"
        elif all(is_count(rank, 1) for rank in several):
            found[pattern] = tuple(several)
        else:
            raise wrong(name, "ranks", value, expected)
    return found


def patterns(name: str, option: str, value: Any) -> tuple[str, ...]:
    """Name patterns, one or several, each perhaps with ``!`` before it.

    Raises:
        OptionError: They are none.
    """
    several = (value,) if isinstance(value, str) else value
    listed = isinstance(several, Sequence)
    if not listed or not all(isinstance(pattern, str) and pattern.strip("!") for pattern in several):
        raise wrong(name, option, value, 'name patterns, as ("block1_*", "!*_proj")')
    return tuple(several)


def one_of(name: str, option: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is none of a few words.

    Raises:
        OptionError: It is none.
    """
    if value not in known:
        raise wrong(name, option, value, " or ".join(map(repr, known)))


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def is_count(value: Any, least: int) -> bool:
    """Whether a value is a whole number from a least one."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def wrong(name: str, option: str, value: Any, expected: str) -> OptionError:
    """The error for an option."""
    return OptionError(f"{name}: option {option!r} cannot be used.", expected=expected, got=repr(value))


__all__ = [
    "AUTO",
    "BUDGETS",
    "COSTS",
    "MINIMISE",
    "WAYS",
    "Methods",
    "is_count",
    "is_number",
    "methods",
    "one_of",
    "one_way",
    "patterns",
    "ranks",
    "wrong",
]
