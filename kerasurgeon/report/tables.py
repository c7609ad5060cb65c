"""Tables: made of rows, as text, in notebooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from io import StringIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

_WIDTH = 140


def grid(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]] = (),
    *,
    left: Collection[str] | None = None,
    title: str | None = None,
    caption: str | None = None,
) -> Table:
    """A rich table.

    Args:
        heads: Titles of the columns.
        rows: The cells, as text.
        left: Heads of the columns that are set to the left, the others are set to the right; by default the first.
        title: What stands above.
        caption: What stands below.
    """
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    left = heads[:1] if left is None else left
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def as_text(table: Table) -> str:
    """A rich table as plain text; brackets in it are no markup."""
    console = Console(file=StringIO(), width=_WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def as_html(table: Table, notes: Iterable[str] = ()) -> str:
    """A rich table of text, and lines below it, for a notebook."""

    def line(cells: Iterable[str], tag: str) -> str:
        aligned = zip(cells, (column.justify for column in table.columns), strict=True)
        parts = (f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in aligned)
        return f"<tr>{''.join(parts)}</tr>"

    heads = line((str(column.header) for column in table.columns), "th")
    rows = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(line(map(str, cells), "td") for cells in rows)
    below = "".join(f"<div>{escape(note)}</div>" for note in [*str(table.caption or "").splitlines(), *notes])
    title = f"<caption>{escape(str(table.title))}</caption>" if table.title else ""
    return f"<table>{title}<thead>{heads}</thead><tbody>{body}</tbody></table>{below}"


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as plain columns without lines between them: the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(heads), "  ".join("-" * width for width in widths), *map(line, rows)])


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Rows as a table in Markdown, so many columns of which are set to the left."""
    rule = ["---" if place < left else "---:" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])


class Printed:
    """A result that prints as a table, in terminals and notebooks."""

    __slots__ = ()

    def table(self) -> Table:
        """A rich table of the result."""
        raise NotImplementedError

    def lines(self) -> Sequence[str]:
        """What stands below the table, line by line."""
        return ()

    def show(self) -> None:
        """Print it."""
        Console().print(self.__rich__())

    def __str__(self) -> str:
        return "\n".join([as_text(self.table()), *self.lines()])

    def __rich__(self) -> Table | Group:
        table, lines = self.table(), self.lines()
        return Group(table, *map(Text, lines)) if lines else table

    def _repr_html_(self) -> str:
        return as_html(self.table(), self.lines())


__all__ = ["Printed", "as_html", "as_text", "columns", "grid", "markdown"]
