"""What a budget means, for all passes and searches alike.

* A budget is **what is kept**: up to 1 a share of what there is, above 1 a number. (Where networks grow, numbers up to
  100 are multiples of what there is.)
* It counts the **whole model**. MACs that cannot be told do not count as none: where they are more than
  ``MOST_UNKNOWN`` of all, by estimate, or depend on a size that is open, a budget of MACs is refused; with less it is
  carried out on what is known, and the report says what was left out. Parameters and bytes are always known, latency is
  measured.
* What is **unreachable** is refused before anything is done, and the message says what is the nearest that is
  reachable. ``unreachable="nearest"`` takes that, and the report says by how much the budget was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from kerasurgeon.costs.left_out import LeftOut
from kerasurgeon.costs.result import Cost
from kerasurgeon.errors import BudgetError, OptionError

MOST_UNKNOWN = 0.05
"""The largest share of MACs that may be unknown where there is a budget of them."""

UNREACHABLE = ("refuse", "nearest")
"""What becomes of a budget that cannot be reached."""

UNITS = {"macs": "MACs", "params": "parameters", "bytes": "bytes of weights", "latency": "latency"}
_SAME = 1e-9


def check_unreachable(owner: str, value: Any) -> None:
    """Refuse what ``unreachable=`` may not be.

    Raises:
        OptionError: It is neither.
    """
    if value not in UNREACHABLE:
        raise OptionError(
            f"{owner}: option 'unreachable' cannot be used.",
            expected=" or ".join(map(repr, UNREACHABLE)),
            got=repr(value),
        )


def require_counted(owner: str, found: Cost | LeftOut) -> LeftOut:
    """Refuse a budget of MACs where too much of them is unknown.

    Args:
        owner: What has the budget and starts the message.
        found: The cost of the whole model, or what it leaves out.

    Returns:
        What is left out all the same, for the report.

    Raises:
        BudgetError: More than ``MOST_UNKNOWN`` of the MACs are unknown by estimate, or a size is open.
    """
    left = found.left_out if isinstance(found, Cost) else found
    if left.share is not None and left.share <= MOST_UNKNOWN:
        return left
    rule = "register a rule that says what these layers cost (kerasurgeon.register_rule, docs/rules.md)"
    sizes = "pass sizes= to fix the sizes of the inputs, as (224, 224, 3)"
    hints = [sizes] if left.open else []
    hints += [rule] if left.open < len(left.names) else []
    raise BudgetError(
        f"{owner}: MACs cannot be budgeted: they are unknown for {left.count}.",
        where=left.named,
        expected=f"at most {MOST_UNKNOWN:.0%} of the MACs unknown",
        got=left.how_much,
        hint=f"{', and '.join(hints)}; or set the budget in params= or bytes=",
    )


@dataclass(frozen=True)
class Allowance:
    """A budget: what may be left of a cost.

    Attributes:
        owner: What has the option and starts messages.
        option: The option: ``"macs"``.
        value: What was given: up to ``multiples`` a share of what there is, above that a number.
        total: What there is.
        unreachable: ``"refuse"`` or ``"nearest"``.
        multiples: Up to which values are shares.
        unit: What is counted, in words; by default what the option's name says.
        removed: Whether the option says what goes, as ``ratio=`` does; ``value`` is what stays all the same.
    """

    owner: str
    option: str
    value: float
    total: float
    unreachable: str = "refuse"
    multiples: float = 1.0
    unit: str = ""
    removed: bool = False

    @property
    def amount(self) -> float:
        """What may be left, as a number."""
        return float(self.value * self.total if self.value <= self.multiples else self.value)

    def reachable(self, least: float, why: str = "") -> float:
        """What to come down to: the amount, or the nearest to it that there is, where that will do.

        Args:
            least: The least that can be reached.
            why: What holds it back, and what to do about it.

        Raises:
            BudgetError: It is more than the amount, and the nearest will not do; ``reachable`` is the least.
        """
        if not self.misses(least):
            return self.amount
        if self.unreachable == "nearest":
            return least
        enough = self._as_given(least)
        bound = f"{self.option}={enough:.10g}"
        error = BudgetError(
            f"{self.owner}: {self._given} cannot be reached: the nearest is {self._shown(least)} {self._unit}, "
            f"{least / (self.total or 1.0):.1%} of what there is.",
            expected=f"{bound} or {'less' if self.removed else 'more'}",
            got=f"{self._given}, which is {self._shown(self.amount)} of {self._shown(self.total)} {self._unit}",
            hint=f"ask for {bound}, or take the nearest with unreachable='nearest'" + (f"; {why}" if why else ""),
        )
        error.reachable, error.value = least, enough
        raise error

    def misses(self, reached: float) -> bool:
        """Whether what was reached is more than the amount, rounding aside."""
        return reached > self.amount + _SAME * max(abs(self.amount), 1e-300)

    def missed(self, reached: float) -> str:
        """What a report says of a budget that was missed; empty if it was not."""
        if not self.misses(reached):
            return ""
        kept, over, wanted = (self._shown(number) for number in (reached, reached - self.amount, self.amount))
        shares = f"{self._share(reached)} instead of {self._share(self.amount)}"
        return (
            f"{self._given} cannot be reached: {kept} {self._unit} are kept, {over} more than the {wanted} asked for "
            f"({shares})"
        )

    def said(self, reached: float) -> str:
        """What a report says of what was reached, whether or not that is within the budget."""
        if missed := self.missed(reached):
            return missed
        before, after, wanted = (self._shown(number) for number in (self.total, reached, self.amount))
        return f"{self._unit} {before} -> {after} ({self._share(reached)}), of {wanted} asked for"

    @property
    def _given(self) -> str:
        return f"{self.option}={1 - self.value if self.removed else self.value:.10g}"

    @property
    def _unit(self) -> str:
        return self.unit or UNITS.get(self.option, self.option)

    def _share(self, amount: float) -> str:
        return f"{amount / (self.total or 1.0):.1%}"

    def _shown(self, number: float) -> str:
        return f"{number:,.0f}" if number >= 100 or float(number).is_integer() else f"{number:.4g}"

    def _as_given(self, amount: float) -> float:
        """An amount as the option would say it, rounded up: asking for it again is enough."""
        if self.removed:
            return round(1 - _up(amount / self.total), 12)
        whole = float(ceil(amount)) if self.option != "latency" else _up(amount)
        return whole if min(self.value, whole) > self.multiples else _up(amount / (self.total or 1.0))


def _up(number: float) -> float:
    """Rounded up to four significant digits."""
    if number <= 0:
        return 0.0
    steps = 10.0 ** (3 - floor(log10(number)))
    return ceil(number * steps * (1 - 1e-12)) / steps


__all__ = [
    "MOST_UNKNOWN",
    "UNITS",
    "UNREACHABLE",
    "Allowance",
    "check_unreachable",
    "require_counted",
]
