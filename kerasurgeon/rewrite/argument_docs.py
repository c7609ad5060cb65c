"""What the ``Args:`` section of a docstring says of each argument."""

from __future__ import annotations

import inspect


def option_docs(cls: type) -> dict[str, str]:
    """The description of each option of a class, on one line: its own, and what it inherits."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # a pass that is a special case of another describes only what is its own
        if base is not object and base.__doc__:
            found |= argument_docs(inspect.cleandoc(base.__doc__))
    return found


def argument_docs(docstring: str) -> dict[str, str]:
    """The description of each argument, on one line.

    Args:
        docstring: A docstring in Google style, without its indentation (``inspect.cleandoc``).
    """
    found: dict[str, str] = {}
    current, inside, indent = "", False, 0
    for line in docstring.splitlines():
        if line.strip() == "Args:":
            inside, indent = True, len(line) - len(line.lstrip()) + 4
            continue
        if not inside:
            continue
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            break
        head, colon, text = line.strip().partition(":")
        if colon and len(line) - len(line.lstrip()) == indent:
            current = head.split(" ")[0]
            found[current] = text.strip()
        elif current and line.strip():
            found[current] += " " + line.strip()
    return found
