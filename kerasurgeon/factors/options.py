"""The options of Factorise, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.errors import OptionError
from kerasurgeon.factors import METHODS
from kerasurgeon.rewrite.option_checks import check_choice, is_count, is_number, wrong_option

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
        raise wrong_option(name, way, value, "a number in (0, 1]")
    if way == "error" and not (is_number(value) and 0 < value < 1):
        raise wrong_option(name, way, value, "a relative error in (0, 1)")
    if way in BUDGETS and not (is_number(value) and value > 0):
        raise wrong_option(name, way, value, "what is kept: a fraction in (0, 1], or a number above 1")
    if way == "max_accuracy_loss" and not (is_number(value) and value >= 0):
        raise wrong_option(name, way, value, "a number from 0")
    return way


def methods(name: str, value: Any) -> Methods:
    """Methods by name pattern.

    Raises:
        OptionError: There is no such method.
    """
    by_pattern = value if isinstance(value, Mapping) else {"*": value}
    if not by_pattern or not all(isinstance(pattern, str) and pattern for pattern in by_pattern):
        raise wrong_option(name, "method", value, 'a method, several, or those by name pattern, as {"block1_*": "svd"}')
    return tuple((pattern, _methods(name, several)) for pattern, several in by_pattern.items())


def _methods(name: str, value: Any) -> tuple[str, ...]:
    if value == "auto":
        return AUTO
    several = (value,) if isinstance(value, str) else value
    known = ("auto", *METHODS)
    if not isinstance(several, Sequence) or not several:
        raise wrong_option(name, "method", value, " or ".join(map(repr, known)))
    for one in several:
        # "auto" stands by itself, in the place of all.
        check_choice(name, "method", one, known if isinstance(value, str) else METHODS)
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
        raise wrong_option(name, "ranks", value, expected)
    found: dict[str, tuple[int, ...] | str] = {}
    for pattern, wanted in value.items():
        several = (wanted,) if is_count(wanted, 1) or wanted == "vbmf" else wanted
        if not isinstance(pattern, str) or not pattern or not isinstance(several, Sequence) or not several:
            raise wrong_option(name, "ranks", value, expected)
        if several == ("vbmf",):
            found[pattern] = "vbmf"
        elif all(is_count(rank, 1) for rank in several):
            found[pattern] = tuple(several)
        else:
            raise wrong_option(name, "ranks", value, expected)
    return found


__all__ = [
    "AUTO",
    "BUDGETS",
    "COSTS",
    "MINIMISE",
    "WAYS",
    "Methods",
    "methods",
    "one_way",
    "ranks",
]
