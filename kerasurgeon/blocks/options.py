"""Options of the passes that replace blocks, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasurgeon.blocks.bridges import check_architecture
from kerasurgeon.errors import OptionError, PlaceError, did_you_mean
from kerasurgeon.ir.name_patterns import names_match
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


def architecture_of(architectures: Any, region: Region) -> Any:
    """The architecture for a region, of what ``architectures`` gave.

    Raises:
        PlaceError: None is given for it.
    """
    if not isinstance(architectures, Mapping):
        return architectures
    for pattern, arch in architectures.items():
        if pattern == region.name or names_match([region.name], pattern):
            return arch
    raise PlaceError(
        f"No architecture is given for the region {region.name!r}.",
        got=", ".join(map(repr, architectures)),
        hint=f"{did_you_mean(region.name, architectures)} '*' stands for all others",
    )


def cuts_option(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of names of layers: one, or several.

    Raises:
        OptionError: It is none.
    """
    one = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(item, str) for item in value)
    several = (value,) if one else value
    if (
        not isinstance(several, Sequence)
        or isinstance(several, (str, bytes))
        or not several
        or not all(isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 for pair in several)
        or not all(isinstance(item, str) and item for pair in several for item in pair)
    ):
        raise OptionError(
            f"{name}: option 'cuts' cannot be used.",
            expected='pairs of names of layers, as [("block_5_add", "block_16_expand")]',
            got=repr(value)[:80],
        )
    return tuple((pair[0], pair[1]) for pair in several)


__all__ = ["architecture_of", "architectures", "cuts_option", "region_option"]
