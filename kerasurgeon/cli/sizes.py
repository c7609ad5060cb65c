"""``--sizes``: the sizes of the inputs that costs and budgets are counted for."""

from __future__ import annotations

from kerasurgeon.cli.errors import UsageError

_EXAMPLE = "--sizes 224,224,3, or --sizes NAME=224,224,3 for each input"


def sizes_of(texts: list[str] | None) -> tuple[int, ...] | dict[str, tuple[int, ...]] | None:
    """Sizes as ``kerasurgeon.cost`` takes them; ``None`` where none are given.

    Args:
        texts: ``"224,224,3"`` or ``"224x224x3"`` for a model with one input, ``"image=224,224,3"`` by name.

    Raises:
        UsageError: A text is of another form, or an input is named twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, equals, shape = text.rpartition("=")
        parts = [part.strip() for part in shape.replace("x", ",").split(",") if part.strip()]
        if not all(part.isdecimal() and int(part) for part in parts) or bool(equals) != bool(name.strip()):
            raise UsageError(
                "--sizes cannot be read.", expected="whole numbers without the batch", got=text, hint=_EXAMPLE
            )
        if name.strip() in found:
            raise UsageError("--sizes is given twice for the same input.", got=text, hint=_EXAMPLE)
        found[name.strip()] = tuple(map(int, parts))
    if "" in found and len(found) > 1:
        raise UsageError("--sizes does not say which inputs it is for.", got=" ".join(texts or ()), hint=_EXAMPLE)
    return found.get("", found or None)


__all__ = ["sizes_of"]
