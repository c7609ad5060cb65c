"""Tables of rows: as text, in notebooks, in Markdown and CSV; and results that print as one."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.table import Table

from kerasurgeon.errors import FileError
from kerasurgeon.report import Printed, as_html, as_text, grid
from kerasurgeon.report.files import as_csv, as_json, write_json
from kerasurgeon.report.tables import columns, markdown

HEADS = ("name", "kind", "count")
ROWS = [("a[b]", "<i>", "1"), ("long name", "x & y", "1000")]


class Found(Printed):
    """A result of two rows."""

    def __init__(self, *notes: str) -> None:
        self.notes = notes

    def table(self) -> Table:
        return grid(HEADS, ROWS, left=HEADS[:2], title="what [was] found", caption="one\ntwo")

    def lines(self) -> Sequence[str]:
        return self.notes


class Cells(HTMLParser):
    """The texts of a page's cells, row by row, and all others."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.sides: list[str] = []
        self.others: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.sides.append(str(dict(attrs)["style"]).removeprefix("text-align:"))

    def handle_data(self, data: str) -> None:
        (self.rows[-1] if self.inside else self.others).append(data)


def test_text_keeps_brackets_and_sides() -> None:
    lines = as_text(Found().table()).splitlines()
    assert lines[0].strip() == "what [was] found"
    cells = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    assert [tuple(cell.strip() for cell in row) for row in cells] == ROWS
    assert cells[0][0].startswith(" a[b]  ")
    assert cells[0][2].endswith("    1 "), "numbers are set to the right"
    assert [line.strip() for line in lines[-2:]] == ["one", "two"]


def test_html_is_escaped_and_whole() -> None:
    page = Cells(as_html(Found().table(), ["a < b"]))
    assert [tuple(row) for row in page.rows] == [HEADS, *ROWS]
    assert page.sides == ["left", "left", "right"] * 3
    assert page.others == ["what [was] found", "one", "two", "a < b"]


def test_a_result_prints_its_table_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert str(Found()) == as_text(Found().table())
    text = str(Found("left: [3]", "done"))
    assert text.startswith(as_text(Found().table()))
    assert text.splitlines()[-2:] == ["left: [3]", "done"]
    assert Found("a < b")._repr_html_().endswith("<div>a &lt; b</div>")
    Found("left: [3]").show()
    assert capsys.readouterr().out.splitlines()[-1] == "left: [3]"


def test_the_first_column_is_to_the_left_by_default() -> None:
    assert [column.justify for column in grid(HEADS, ROWS).columns] == ["left", "right", "right"]


def test_columns_and_markdown() -> None:
    assert columns(("name", "count"), [("a", "1"), ("long", "1000")]).splitlines() == [
        "name  count",
        "----  -----",
        "a         1",
        "long   1000",
    ]
    assert markdown(("name", "count"), [("a", "1")]).splitlines() == ["| name | count |", "| --- | ---: |", "| a | 1 |"]


def test_files(tmp_path: Path) -> None:
    rows = [("a,b", 0.1), ('"', None)]
    assert list(csv.reader(io.StringIO(as_csv(("name", "x"), rows)))) == [["name", "x"], ["a,b", "0.1"], ['"', ""]]
    data = {"x": [math.nan, 1.5, -math.inf], 3: (Path("a"),)}
    assert json.loads(as_json(data)) == {"x": [None, 1.5, None], "3": ["a"]}
    write_json(tmp_path / "it.json", data)
    assert json.loads((tmp_path / "it.json").read_text()) == json.loads(as_json(data))
    with pytest.raises(FileError, match="none"):
        write_json(tmp_path / "none" / "it.json", data)
