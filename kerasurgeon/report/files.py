"""Results in files: JSON and CSV, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text


def as_json(data: Any) -> str:
    """Data as JSON text, strictly: NaN and infinities, which JSON does not have, become null."""
    return json.dumps(finite(data), indent=2, allow_nan=False)


def as_csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, below a line of headings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return text.getvalue()


def write_json(path: str | Path, data: Any, *, overwrite: bool = True) -> None:
    """Write data as JSON.

    Raises:
        FileError: It cannot be written; what was there before stays.
    """
    write_text(path, as_json(data) + "\n", overwrite=overwrite)


def finite(data: Any) -> Any:
    """Data as strict JSON holds it: NaN and infinities become None, keys and paths text."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return str(data) if isinstance(data, Path) else data


__all__ = ["as_csv", "as_json", "finite", "write_json"]
