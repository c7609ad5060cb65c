"""Quotients as they are printed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from kerasurgeon.costs.format import format_count

if TYPE_CHECKING:
    from kerasurgeon.blocks.quotients import Quotients


def quotient_table(found: Quotients) -> Table:
    """A row for every region and what was put in its place, in the order of the network, inner ones indented."""
    timed = found.latency is not None
    title = f"{found.model}: knowledge quotients, 1 - x / {found.value:.6g}"
    table = Table(title=title, title_justify="left")
    left = ("region", "kind", "instead")
    columns = [*left, "x", "quotient", "MACs saved", "parameters saved", *(["latency saved"] if timed else [])]
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    for row in found:
        cells = [
            "  " * row.depth + row.region,
            row.kind,
            row.method,
            f"{row.value:.6g}",
            f"{row.quotient:+.4f}",
            _saved(row.macs_saved, found.macs),
            _saved(row.parameters_saved, found.parameters),
        ]
        if timed:
            cells.append("?" if row.latency_saved is None else f"{row.latency_saved:.4g}")
        table.add_row(*cells)
    for region, reason in found.left.items():
        table.add_row(region, "", "-", "", "", "", reason)
    return table


def as_text(table: Table) -> str:
    """A table as plain text."""
    console = Console(width=140, file=io.StringIO(), color_system=None)
    with console.capture() as text:
        console.print(table)
    return text.get()


def _saved(count: int, total: int) -> str:
    return f"{format_count(count)} ({count / total:.1%})" if total else format_count(count)


__all__ = ["as_text", "quotient_table"]
