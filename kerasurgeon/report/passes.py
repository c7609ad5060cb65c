"""What the passes of a pipeline did, as a table and as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Sized
from typing import Protocol

from rich.table import Table

from kerasurgeon.report.numbers import format_bytes, format_count, format_partial
from kerasurgeon.report.tables import grid

_SHOWN_REASONS = 8


class Place(Protocol):
    """A place that a pass looked at."""

    @property
    def node(self) -> str: ...
    @property
    def what(self) -> str: ...


class Sizes(Protocol):
    """How big a model is."""

    @property
    def nodes(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def macs(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def left_out(self) -> Sized: ...


class PassRow(Protocol):
    """What one pass did."""

    @property
    def name(self) -> str: ...
    @property
    def before(self) -> Sizes: ...
    @property
    def after(self) -> Sizes: ...
    @property
    def difference(self) -> float | None: ...
    @property
    def changed(self) -> Sequence[Place]: ...
    @property
    def left(self) -> Sequence[Place]: ...


def passes_table(passes: Sequence[PassRow], title: str) -> Table:
    """One row a pass."""
    rows = [
        (
            item.name,
            str(len(item.changed)),
            str(len(item.left)),
            _arrow(item.before.nodes, item.after.nodes),
            _arrow(item.before.parameters, item.after.parameters),
            _arrow(item.before.macs, item.after.macs, partial=bool(item.before.left_out or item.after.left_out)),
            _arrow(item.before.weight_bytes, item.after.weight_bytes, format_bytes),
            "-" if item.difference is None else f"{item.difference:.1e}",
        )
        for item in passes
    ]
    heads = ("pass", "sites changed", "left alone", "nodes", "parameters", "MACs", "weights", "output change")
    return grid(heads, rows, title=title)


def reasons(passes: Sequence[PassRow]) -> list[str]:
    """Why sites were left alone, counted, most frequent first; a pass that changed nothing always says why."""
    lines = []
    for item in passes:
        counted = Counter(site.what for site in item.left)
        if not item.changed and not counted:
            lines.append(f"{item.name}: changed nothing; it found no site to look at")
        for reason, count in counted.most_common(_SHOWN_REASONS):
            example = next(site.node for site in item.left if site.what == reason)
            lines.append(f"{item.name}: left {count} alone ({example}{', ...' if count > 1 else ''}): {reason}")
        if len(counted) > _SHOWN_REASONS:
            lines.append(f"{item.name}: and {len(counted) - _SHOWN_REASONS} more reasons, see report.to_dict()")
    return lines


def _arrow(before: int, after: int, shown: Callable[[float], str] = format_count, *, partial: bool = False) -> str:
    if before == after:
        return format_partial(after, partial, shown)
    kept = f" ({after / before:.0%}{' of what is known' * partial})" if before else ""
    return f"{format_partial(before, partial, shown)} -> {format_partial(after, partial, shown)}{kept}"


__all__ = ["passes_table", "reasons"]
