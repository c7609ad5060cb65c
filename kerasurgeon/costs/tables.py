"""A cost as a table: text, rich, HTML."""

from __future__ import annotations

from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from kerasurgeon.costs.format import format_bytes, format_count, format_shape

if TYPE_CHECKING:
    from kerasurgeon.costs.result import Cost, CostRow

_HEADS = ("node", "kind", "output", "MACs", "parameters", "weights", "output size", "alive")
_TEXT_COLUMNS = 3
_WIDTH = 200
_NAMED = 3  # calls that are named per reason


def rich_table(cost: Cost, *, every: bool) -> Table:
    """The table for a terminal: rows, totals, then what is unknown."""
    table = Table(title=f"cost of {cost.name}", caption=_caption(cost, every), caption_justify="left")
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if index < _TEXT_COLUMNS else "right", overflow="fold")
    shown = _shown(cost, every)
    for row in shown:
        table.add_row(*_cells(row), end_section=row is shown[-1])
    table.add_row(*_total(cost))
    return table


def text_table(cost: Cost, *, every: bool = False) -> str:
    """The table as plain text."""
    return render(rich_table(cost, every=every))


def render(table: Table) -> str:
    """A rich table as plain text."""
    console = Console(file=StringIO(), width=_WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def html_table(cost: Cost, *, every: bool = False) -> str:
    """The table for a notebook."""

    def line(cells: tuple[str, ...], tag: str) -> str:
        aligned = ("left" if index < _TEXT_COLUMNS else "right" for index in range(len(cells)))
        parts = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, aligned, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(_cells(row), "td") for row in _shown(cost, every))
    notes = "<br>".join(escape(note) for note in _caption(cost, every).splitlines())
    return (
        f"<table><caption>cost of {escape(cost.name)}</caption><thead>{line(_HEADS, 'th')}</thead>"
        f"<tbody>{body}</tbody><tfoot>{line(_total(cost), 'th')}</tfoot></table><p>{notes}</p>"
    )


def summary(cost: Cost) -> str:
    """The totals in one line."""
    more = f", {len(cost.unknown)} unknown" if cost.unknown else ""
    return (
        f"{cost.name}: {format_count(cost.macs)} MACs, {format_count(cost.parameters)} parameters, "
        f"weights {format_bytes(cost.weight_bytes)}, "
        f"peak activations {format_bytes(cost.peak_activation_bytes)}{more}"
    )


def _shown(cost: Cost, every: bool) -> list[CostRow]:
    unknown = {item.name for item in cost.unknown}
    return [row for row in cost.rows if every or row.macs or row.parameters or row.name in unknown]


def _cells(row: CostRow) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        format_shape(row.shape),
        "?" if row.macs is None else format_count(row.macs),
        format_count(row.parameters),
        format_bytes(row.weight_bytes),
        "?" if row.activation_bytes is None else format_bytes(row.activation_bytes),
        format_bytes(row.live_bytes),
    )


def _total(cost: Cost) -> tuple[str, ...]:
    unknown = {item.what for item in cost.unknown}
    return (
        "total",
        "",
        "",
        format_count(cost.macs) + (" + ?" if "macs" in unknown else ""),
        format_count(cost.parameters),
        format_bytes(cost.weight_bytes),
        "",
        f"peak {format_bytes(cost.peak_activation_bytes)}" + (" + ?" if "activations" in unknown else ""),
    )


def _caption(cost: Cost, every: bool) -> str:
    lines = [f"MACs of one sample; sizes for a batch of {cost.batch_size}; most alive at {cost.peak_at!r}"]
    hidden = len(cost.rows) - len(_shown(cost, every))
    if hidden:
        lines.append(f"calls without MACs and weights, not shown: {hidden}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for item in cost.unknown:
        reasons.setdefault((item.what, item.reason), []).append(repr(item.name))
    for (what, reason), names in reasons.items():
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        lines.append(f"? {what} of {shown}: {reason}")
    return "\n".join(lines)
