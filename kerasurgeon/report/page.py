"""The page of a report: one HTML file with all that it needs, opened without a network.

The page is data and one script (``page.js``, built from ``report_page/``). What it is given::

    {"title": str, "before": drawing, "after": drawing, "passes": [...], "notes": [...], "tables": [...],
     "charts": [...], "pictures": [...]}

with drawings, either of which may be None, as ``drawing`` makes them, passes as ``Report.to_dict`` has them, and tables
as ``table`` makes them. Charts (``charts.chart``) and pictures (``segmentations.pictures``) may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text
from kerasurgeon.errors import OptionError
from kerasurgeon.report.files import finite, write_json

SUFFIXES = (".html", ".htm")

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' \
'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
</head>
<body>
<noscript>This report is drawn by a script inside this file; nothing is fetched.</noscript>
<script type="application/json" id="report">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page(data: Mapping[str, Any]) -> str:
    """A page as text: ASCII alone, whatever the names in it are made of.

    Args:
        data: See the module.
    """
    title = escape(str(data["title"])).encode("ascii", "xmlcharrefreplace").decode("ascii")
    return _PAGE.format(title=title, data=_embedded(data), script=_script())


def write_page(path: str | Path, data: Mapping[str, Any], *, overwrite: bool = True) -> None:
    """Write a page to a file.

    Args:
        path: The file, ending in .html.
        data: See the module.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        FileError: It cannot be written; what was there before stays.
    """
    write_text(path, page(data), overwrite=overwrite)


def save_report(
    path: str | Path,
    *,
    page: Callable[[], Mapping[str, Any]],
    data: Callable[[], Any],
    text: Callable[[], str],
    overwrite: bool = True,
) -> None:
    """Write what a run came to in the format that a file's suffix names.

    Args:
        path: The file, ending in .html, .json or .txt.
        page: Gives the data of a page.
        data: Gives what .json holds.
        text: Gives what .txt holds.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        OptionError: The suffix is another.
        FileError: The file cannot be written; what was there before stays.
    """
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES:
        write_page(path, page(), overwrite=overwrite)
    elif suffix == ".json":
        write_json(path, data(), overwrite=overwrite)
    elif suffix == ".txt":
        write_text(path, f"{text()}\n", overwrite=overwrite)
    else:
        raise OptionError(
            "The suffix does not name a format of reports.",
            where=str(path),
            expected=".html, .json or .txt",
            got=suffix or "no suffix",
        )


def frame(data: Mapping[str, Any], *, height: int = 720) -> str:
    """A page inside another one, for notebooks: it sees nothing of what is around it.

    Args:
        data: See the module.
        height: In pixels.
    """
    style = f"width:100%;height:{height}px;border:1px solid #8888;border-radius:6px"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(page(data))}"></iframe>'


def table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], *, note: str = "", left: int = 1
) -> dict[str, Any]:
    """A table of a page.

    Args:
        title: What stands above.
        heads: Titles of the columns.
        rows: Cells: text or numbers.
        note: What stands below.
        left: How many columns are set to the left.
    """
    return {"title": title, "heads": list(heads), "rows": [list(row) for row in rows], "note": note, "left": left}


def _embedded(data: Any) -> str:
    """Data as JSON that may stand in a script element: no ``<`` ends it, and every letter is ASCII."""
    text = json.dumps(finite(data), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _script() -> str:
    return files("kerasurgeon.report").joinpath("page.js").read_text(encoding="utf-8")


__all__ = ["SUFFIXES", "frame", "page", "save_report", "table", "write_page"]
