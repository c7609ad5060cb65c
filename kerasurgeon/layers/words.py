"""Lists of kinds as text."""

from __future__ import annotations


def words(text: str, prefix: str = "") -> tuple[str, ...]:
    """The words of a text, with something before each."""
    return tuple(prefix + word for word in text.split())
