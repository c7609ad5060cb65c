"""What patterns of names mean, in every option that takes them."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def names_match(names: Iterable[str], pattern: str) -> bool:
    """Whether a pattern names something that goes by these names.

    Patterns are those of ``fnmatch``. One without a slash is compared with the last part of a name, so that a layer is
    found at every depth: ``"conv1"`` and ``"conv*"`` name ``backbone/conv1`` as well as ``conv1``. One with a slash is
    compared with the whole name: ``"backbone/conv*"``, ``"*/conv1"``. The name of a nested model (``"backbone"``, or
    the path of one inside another) stands for all that is in it.

    Args:
        names: Names of a layer and its calls, as graphs write them: behind the nested models that they are in.
        pattern: The pattern.
    """
    if "/" in pattern:
        return any(fnmatchcase(name, pattern) or name.startswith(f"{pattern}/") for name in names)
    for name in names:
        *models, last = name.split("/")
        if fnmatchcase(last, pattern) or pattern in models:
            return True
    return False


def where_refusal(names: Iterable[str], patterns: Iterable[str]) -> str:
    """Why the patterns of an option ``where=`` leave something out; empty if they do not.

    They mean what one of them names, or everything where none is without ``!``, less what one with ``!`` before it
    names.

    Args:
        names: As for ``names_match``.
        patterns: The option's.
    """
    names, patterns = tuple(names), tuple(patterns)
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    if wanted and not any(names_match(names, pattern) for pattern in wanted):
        return f"where={patterns!r} does not name it"
    for pattern in patterns:
        if pattern.startswith("!") and names_match(names, pattern[1:]):
            return f"where= leaves it out: {pattern!r}"
    return ""
