"""The report of a command that looks at a model, or at two: what it prints as a page, with drawings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.table import Table

from kerasurgeon.report.files import write_json
from kerasurgeon.report.page import SUFFIXES, table, write_page

REPORTS = (*SUFFIXES, ".json")
"""What ``--report`` may end in."""


def write_report(
    path: Path,
    document: Any,
    *,
    title: str,
    before: Any,
    after: Any = None,
    shown: Sequence[Any],
    charts: Sequence[Any] = (),
    overwrite: bool,
) -> None:
    """Write what a command found: as a page, or, to .json, what ``--json`` prints.

    Args:
        path: The file.
        document: What ``--json`` prints.
        title: Of the page.
        before: The drawing of a model.
        after: The drawing of another; None where there is one model.
        shown: What is printed, tables and lines.
        charts: What is drawn beside it.
        overwrite: Whether a file that is there may be replaced.
    """
    if path.suffix.lower() not in SUFFIXES:
        write_json(path, document, overwrite=overwrite)
        return
    tables, notes = [], list[str]()
    for item in shown:
        if isinstance(item, str):
            notes.append(item)
        elif isinstance(item, Table):  # without a title, the line that was printed before it is one
            tables.append(_as_data(item, item.title or (notes.pop() if notes else "")))
    data = {"title": title, "before": before, "after": after, "passes": [], "notes": notes}
    write_page(path, {**data, "tables": tables, "charts": list(charts)}, overwrite=overwrite)


def _as_data(shown: Table, title: Any) -> dict[str, Any]:
    """A table of the terminal as one of a page."""
    heads = [str(column.header) for column in shown.columns]
    rows = zip(*([str(cell) for cell in column.cells] for column in shown.columns), strict=True)
    left = len(list(takewhile(lambda column: column.justify == "left", shown.columns)))
    return table(str(title), heads, rows, note=str(shown.caption or ""), left=left)


__all__ = ["REPORTS", "write_report"]
