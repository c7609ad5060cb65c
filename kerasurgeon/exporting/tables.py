"""Small text tables for reports."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns: the first to the left, the others to the right.

    Args:
        header: The columns' titles.
        rows: The cells, as text.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])


def number(value: float) -> str:
    """A number with three digits, such as ``1.23e-05`` or ``0.123``.

    Args:
        value: The number.
    """
    return "0" if value == 0 else f"{value:.3g}"


def byte_size(count: int) -> str:
    """A size in bytes in the unit that suits it (1 kB is 1000 bytes).

    Args:
        count: The size in bytes.
    """
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
