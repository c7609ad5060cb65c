"""Checks of options that many passes share, so that the same mistake reads the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kerasurgeon.errors import GraphError, OptionError, PlaceError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.trust import import_object


def is_number(value: Any) -> bool:
    """Whether a value is a finite int or float; truth values are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is an int from ``least`` on; truth values are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def wrong_option(owner: str, option: str, value: Any, expected: str, hint: str | None = None) -> OptionError:
    """The error for an option, to be raised.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        expected: What would have been accepted, as ``"a number in (0, 1]"``.
        hint: What to do, as ``did_you_mean`` says it.
    """
    begin = f"{owner}: " if owner else ""
    return OptionError(f"{begin}option {option!r} cannot be used.", expected=expected, got=repr(value), hint=hint)


def check_count(owner: str, option: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number from ``least`` on.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        least: The least number that is accepted.

    Raises:
        OptionError: It is none.
    """
    if not is_count(value, least):
        raise wrong_option(owner, option, value, f"a whole number from {least}")


def check_fraction(owner: str, option: str, value: Any, *, zero: bool = False) -> None:
    """Refuse what is no fraction.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        zero: Whether 0 is allowed.

    Raises:
        OptionError: ``value`` is outside (0, 1], or [0, 1] if ``zero`` is allowed.
    """
    if not is_number(value) or not 0 <= value <= 1 or (value == 0 and not zero):
        begin = f"{owner}: " if owner else ""
        raise OptionError(
            f"{begin}option {option!r} must be a fraction.",
            expected=f"a number in {'[' if zero else '('}0, 1]",
            got=repr(value),
        )


def check_budget(owner: str, option: str, value: Any) -> None:
    """Refuse what is no budget.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.

    Raises:
        OptionError: It is no number above 0.
    """
    if not is_number(value) or value <= 0:
        raise wrong_option(owner, option, value, "what is kept: a fraction in (0, 1], or a number above 1")


def check_flag(owner: str, option: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.

    Raises:
        OptionError: It is neither.
    """
    if not isinstance(value, bool):
        raise wrong_option(owner, option, value, "True or False")


def check_choice(owner: str, option: str, value: Any, known: Iterable[Any]) -> None:
    """Refuse what is none of a few values; for a word the nearest of them is named.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        known: The values that are accepted.

    Raises:
        OptionError: It is none.
    """
    values = tuple(known)
    if value not in values:
        words = [entry for entry in values if isinstance(entry, str)]
        hint = did_you_mean(value, words) if isinstance(value, str) and words else None
        raise wrong_option(owner, option, value, " or ".join(map(repr, values)), hint)


def check_several(owner: str, option: str, value: Any, known: Iterable[str]) -> tuple[str, ...]:
    """Some of a few words: one, or several.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        known: The words that are accepted.

    Returns:
        All of them, as a tuple.

    Raises:
        OptionError: One of them is none of these.
    """
    words = tuple(known)
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence):
        raise wrong_option(owner, option, value, "some of " + ", ".join(words))
    for entry in several:
        check_choice(owner, option, entry, words)
    return tuple(several)


def check_patterns(owner: str, option: str, value: Any, *, excluding: bool = False) -> tuple[str, ...]:
    """Name patterns (see ``names_match``): one, or several.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.
        excluding: Whether a pattern may have ``!`` before it, to leave out what it names.

    Returns:
        All of them, as a tuple.

    Raises:
        OptionError: They are none.
    """
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence) or not all(
        isinstance(entry, str) and (entry.strip("!") if excluding else entry) for entry in several
    ):
        example = '("block1_*", "!*_proj")' if excluding else '("stem", "block1_*")'
        raise wrong_option(owner, option, value, f"name patterns, as {example}")
    return tuple(several)


def check_known_patterns(owner: str, option: str, patterns: Iterable[str], graph: Graph) -> None:
    """Refuse a name pattern, with or without ``!``, that names no layer of a model: it is a slip of the pen.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        patterns: The option's.
        graph: The model.

    Raises:
        OptionError: It names none; the message has the nearest names.
    """
    known = {*graph.layers, *(node.name for node in graph.nodes())}
    for pattern in patterns:
        name = pattern.removeprefix("!")
        if not names_match(known, name):
            raise OptionError(
                f"{owner}: {option}= names no layer and no nested model by {pattern!r}.",
                hint=did_you_mean(name, {*known, *graph.scopes}),
            )


@contextmanager
def naming() -> Iterator[None]:
    """Let what a graph says of names that it does not hold be the fault of the option that has them.

    Raises:
        PlaceError: In place of any other ``GraphError`` that the block raises.
    """
    try:
        yield
    except PlaceError:
        raise
    except GraphError as error:
        parts = {"expected": error.expected, "got": error.got, "hint": error.hint, "context": error.context}
        raise PlaceError(error.what, where=error.where, **parts) from error


def check_function(owner: str, option: str, value: Any) -> Callable[..., Any] | None:
    """A function, or what ``"module:name"`` names; ``None`` stays.

    Args:
        owner: What has the option and starts the message; empty for none.
        option: Name of the option.
        value: What was given.

    Raises:
        OptionError: It is none.
        RecipeError: There is no such module or name.
    """
    found = import_object(value, f"{owner}.{option}" if owner else option) if isinstance(value, str) else value
    if found is not None and not callable(found):
        raise wrong_option(owner, option, value, "a function, or 'module:name' of one")
    return found  # type: ignore[no-any-return]


__all__ = [
    "check_budget",
    "check_choice",
    "check_count",
    "check_flag",
    "check_fraction",
    "check_function",
    "check_known_patterns",
    "check_patterns",
    "check_several",
    "is_count",
    "is_number",
    "naming",
    "wrong_option",
]
