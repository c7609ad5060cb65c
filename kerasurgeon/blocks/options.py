"""Options of the passes that replace blocks, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.blocks.bridges import check_architecture
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.regions import Region

REGIONS = "a region, its name or a pattern of names, 'first..last', 'entry->exit', or several of these"


def region_option(name: str, option: str, value: Any) -> Any:
    """What names regions, as plain data that a recipe can hold: regions as ``"entry->exit"``, sequences as tuples.

    Raises:
        OptionError: It names none.
    """
    if isinstance(value, Region):
        return f"{value.entry}->{value.exit}"
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and value:
        return tuple(region_option(name, option, item) for item in value)
    raise OptionError(f"{name}: option {option!r} cannot be used.", expected=REGIONS, got=repr(value)[:80])


def architectures(name: str, value: Any) -> Any:
    """An architecture, or architectures by name or pattern of regions.

    Raises:
        OptionError: There is none of that name.
    """
    where = f"{name}: option 'arch'"
    if not isinstance(value, Mapping):
        return check_architecture(value, where)
    if not value or not all(isinstance(key, str) for key in value):
        raise OptionError(
            f"{where} cannot be used.",
            expected='architectures by name or pattern of regions, as {"block_3": "4", "*": "1"}',
            got=repr(value)[:80],
        )
    return {key: check_architecture(arch, f"{where}, key {key!r}") for key, arch in value.items()}


__all__ = ["architectures", "region_option"]
