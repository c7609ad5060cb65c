"""The options of Factorise, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasurgeon.channels import round_to_number
from kerasurgeon.costs import check_unreachable
from kerasurgeon.errors import OptionError
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.generating import checked_generating
from kerasurgeon.rewrite.option_checks import (
    check_budget,
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_function,
    check_patterns,
    is_count,
    is_number,
    wrong_option,
)
from kerasurgeon.sparsity.structures import Structure

AUTO = ("svd", "tucker")
"""What ``method="auto"`` tries, in this order."""

BUDGETS = ("macs", "params", "bytes", "latency", "compression_factor")
WAYS = ("ratio", "energy", "error", "ranks", *BUDGETS, "max_accuracy_loss")
COSTS = ("macs", "params", "bytes")
MINIMISE = ("auto", "kernel", "output", "generated")

Methods = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of methods by name pattern, in order."""


@dataclass(frozen=True)
class FactoriseOptions:
    """What ``Factorise`` was asked for, checked: its options, under the name that messages begin with.

    Raises:
        OptionError: An option has a value that it may not have, or the ranks are not chosen in exactly one way.
    """

    name: str
    method: str | tuple[str, ...] | Mapping[str, Any]
    ratio: float | None
    energy: float | None
    error: float | None
    ranks: str | Mapping[str, Any] | None
    macs: float | None
    params: float | None
    bytes: float | None
    latency: float | None
    compression_factor: float | None
    max_accuracy_loss: float | None
    latency_of: str | Callable[..., Any] | None
    cost: str
    minimise: str
    input_range: Any
    generate_seconds: float
    sparsity: float | str
    structure: str
    block_size: tuple[int, int] | None
    sparsity_weight: float
    rescale: bool | str
    round_to: int | str
    min_rank: int
    where: str | Sequence[str]
    only_if_cheaper: bool
    sweeps: int
    search_log: str | None
    evaluations: int
    held_out: float
    confidence: float
    unreachable: str

    def __post_init__(self) -> None:
        name, way = self.name, self.way
        methods(name, self.method)
        if self.ranks is not None:
            ranks(name, self.ranks)
        check_function(name, "latency_of", self.latency_of)
        if way == "latency" and self.latency_of is None:
            raise wrong_option(name, "latency_of", None, "a function that gives the latency of a model")
        check_choice(name, "cost", self.cost, COSTS)
        check_unreachable(name, self.unreachable)
        check_choice(name, "minimise", self.minimise, MINIMISE)
        given = checked_generating(name, self.input_range, self.generate_seconds)
        object.__setattr__(self, "input_range", given)
        self._check_sparsity()
        if not is_number(self.sparsity_weight) or self.sparsity_weight <= 0:
            raise wrong_option(name, "sparsity_weight", self.sparsity_weight, "a number above 0")
        round_to_number(name, self.round_to)
        for option, least in (("min_rank", 1), ("sweeps", 0), ("evaluations", 1)):
            check_count(name, option, getattr(self, option), least)
        for option, lowest in (("held_out", 0.0), ("confidence", 0.5)):
            value = getattr(self, option)
            if not is_number(value) or not lowest <= value < 1:
                raise wrong_option(name, option, value, f"a number in [{lowest:g}, 1)")
        check_flag(name, "only_if_cheaper", self.only_if_cheaper)
        if not isinstance(self.rescale, bool) and self.rescale != "auto":
            raise wrong_option(name, "rescale", self.rescale, "True, False or 'auto'")
        object.__setattr__(self, "where", check_patterns(name, "where", self.where, excluding=True))
        if self.search_log is not None and way != "max_accuracy_loss":
            raise wrong_option(name, "search_log", self.search_log, "none: only max_accuracy_loss= searches")

    def _check_sparsity(self) -> None:
        if self.sparsity == "auto":
            if self.way not in (*BUDGETS, "max_accuracy_loss"):
                raise wrong_option(self.name, "sparsity", "auto", f"a number where {self.way}= chooses the ranks")
        elif not is_number(self.sparsity):
            raise wrong_option(self.name, "sparsity", self.sparsity, "a number in [0, 1], or 'auto'")
        else:
            check_fraction(self.name, "sparsity", self.sparsity, zero=True)
        check_choice(self.name, "structure", self.residual.name, ("unstructured", "channel", "filter", "block"))

    @property
    def way(self) -> str:
        """The option that chooses the ranks."""
        return one_way(self.name, vars(self))

    @property
    def residual(self) -> Structure:
        """What entries of the residual are kept together."""
        return Structure.parse(self.structure, self.block_size)

    @property
    def unit(self) -> int:
        """What ranks are multiples of."""
        return round_to_number(self.name, self.round_to)


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
    if way in BUDGETS:
        check_budget(name, way, value)
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
