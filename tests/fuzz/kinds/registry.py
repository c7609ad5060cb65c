"""Which kinds there are makers for: functions that add a call of a kind to a description in the making."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.fuzz.drawing import Draw, Live

Make = Callable[[Draw, str, Live], Any]


@dataclass(frozen=True)
class Maker:
    """How a call of a kind is made.

    Attributes:
        ranks: Ranks of the tensor that it starts from, with the batch.
        make: Adds it, and what it needs before and behind it.
    """

    ranks: tuple[int, ...]
    make: Make


MAKERS: dict[str, Maker] = {}


def words(text: str) -> list[str]:
    """What stands between blanks."""
    return text.split()


def made(kinds: str | Iterable[str], *ranks: int, prefix: str = "") -> Callable[[Make], Make]:
    """Enter a function for kinds, separated by blanks; without ranks, their names say the rank: ``Conv2D`` takes 4."""

    def enter(make: Make) -> Make:
        for kind in kinds.split() if isinstance(kinds, str) else kinds:
            assert prefix + kind not in MAKERS, kind
            MAKERS[prefix + kind] = Maker(ranks or (int(re.findall(r"(\d)D", kind)[0]) + 2,), make)
        return make

    return enter


def ops(kinds: str | Iterable[str], *ranks: int) -> Callable[[Make], Make]:
    """The same for ops; the maker gets the name without ``ops.``; by default any rank will do."""

    def enter(make: Make) -> Make:
        made(kinds, *(ranks or (2, 3, 4)), prefix="ops.")(lambda draw, kind, x: make(draw, kind[4:], x))
        return make

    return enter
