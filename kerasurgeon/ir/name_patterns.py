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
