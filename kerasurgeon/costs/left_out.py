"""What a total of MACs leaves out: the calls whose cost cannot be told, and as much as can be said of their share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from kerasurgeon.rules import OPEN_SIZE, Call

_NAMED = 3
_LOOKED_UP = "embeddings"
"""How Keras calls tables of which rows are looked up: nothing is multiplied by them."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Calls whose MACs cannot be told, which a total leaves out. False if there are none.

    Attributes:
        names: The calls, in the order in which they run.
        open: How many of them depend on a size that is open: nothing can be said of those.
        macs: What the others take, estimated: each element of their kernels once at every position of their output. For
            dense layers and convolutions that is what they take; of calls without kernels it is 0.
        parameters: Elements of the weights of all of them.
        share: The estimate as a share of all MACs, the known ones included; ``None`` where a size is open.
        parameter_share: Their parameters as a share of all.
    """

    names: tuple[str, ...] = ()
    open: int = 0
    macs: int = 0
    parameters: int = 0
    share: float | None = 0.0
    parameter_share: float = 0.0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def said(self) -> str:
        """One line for a report; empty if nothing is left out."""
        if not self.names:
            return ""
        return f"the MACs of {self.count} are unknown and not counted ({self.named}): {self.how_much}"

    @property
    def count(self) -> str:
        """How many calls: ``"1 call"``."""
        return "1 call" if len(self.names) == 1 else f"{len(self.names)} calls"

    @property
    def named(self) -> str:
        """The first few of the calls."""
        more = len(self.names) - _NAMED
        return ", ".join(self.names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

    @property
    def how_much(self) -> str:
        """What can be said of their share."""
        held = f"; {_percent(self.parameter_share)} of the parameters are theirs" if self.parameters else ""
        if self.open:
            which = "sizes are" if self.open == len(self.names) else f"sizes of {self.open} of them are"
            return f"{which} open, so that their share cannot be told{held}"
        if not self.parameters:
            return "without weights"
        return f"about {_percent(self.share or 0.0)} of all MACs, by kernel elements times output positions{held}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        return {**asdict(self), "names": list(self.names)}


def left_out(calls: Sequence[tuple[str, int | None, int]], macs: int, parameters: int) -> LeftOut:
    """What a cost leaves out.

    Args:
        calls: Name, estimated MACs and parameters of every call that cannot be told.
        macs: The MACs that are known.
        parameters: All parameters.
    """
    estimates = [estimate for _, estimate, _ in calls]
    told = [estimate for estimate in estimates if estimate is not None]
    held = sum(own for *_, own in calls)
    total = macs + sum(told)
    return LeftOut(
        tuple(name for name, *_ in calls),
        len(estimates) - len(told),
        sum(told),
        held,
        (sum(told) / total if total else 0.0) if len(told) == len(estimates) else None,
        held / parameters if parameters else 0.0,
    )


def estimated_macs(call: Call, reason: str) -> int | None:
    """What a call takes of which no rule says it: elements of its kernels times positions of its first output.

    Args:
        call: The call.
        reason: Why it cannot be told.

    Returns:
        The estimate; ``None`` where it depends on a size that is open.
    """
    kernels = [
        weight.shape
        for path, weight in call.weights.items()
        if len(weight.shape) > 1 and path.rpartition("/")[2] != _LOOKED_UP
    ]
    if not kernels:
        return None if reason == OPEN_SIZE else 0
    sizes = list(call.output.shape)
    if sizes:
        # The channels of its output are the last axis, unless only the one behind the batch is as long as a kernel.
        widths = {size for shape in kernels for size in shape[-2:]}
        first = len(sizes) > 2 and sizes[-1] not in widths and sizes[1] in widths
        sizes.pop(1 if first else -1)
    elements = sum(prod(shape) for shape in kernels)
    return None if None in sizes else elements * prod(size or 0 for size in sizes)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


__all__ = ["LeftOut", "estimated_macs", "left_out"]
