"""Numbers as people read them: ``1.20 M``, ``3.40 MiB``, ``25.0 %``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_THOUSANDS = ("", "k", "M", "G", "T", "P")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def format_count(count: float) -> str:
    """A count with three significant digits and a decimal prefix: ``999``, ``1.20 M``."""
    return _scaled(count, 1000, _THOUSANDS).strip()


def format_partial(count: float, unknown: bool, shown: Callable[[float], str] = format_count) -> str:
    """A total of which a part may be unknown: ``1.20 M``, ``1.20 M + ?``; ``?`` where nothing is known."""
    if not unknown:
        return shown(count)
    return f"{shown(count)} + ?" if count else "?"


def format_bytes(size: float) -> str:
    """Bytes with three significant digits and a binary prefix: ``999 B``, ``3.40 MiB``."""
    return _scaled(size, 1024, _BINARY)


def format_ratio(ratio: float | None) -> str:
    """A ratio as a percentage: ``25.0 %``; ``-`` where there is none."""
    return "-" if ratio is None else f"{100 * ratio:.1f} %"


def format_kept(ratio: float | None) -> str:
    """What is kept of something, or how much more there is of it: ``25.0 %``, ``9.1 % more``; ``-`` where unknown."""
    if ratio is None:
        return "-"
    return f"{100 * (ratio - 1):.1f} % more" if ratio >= 1.0005 else format_ratio(ratio)


def format_saved(share: float, what: str) -> str:
    """What is saved of something, or how much more there is of it: ``25.0% of the MACs saved``, ``9.1% more MACs``."""
    return f"{share:.1%} of the {what} saved" if share >= 0 else f"{-share:.1%} more {what}"


def format_shape(shape: Sequence[int | None]) -> str:
    """A shape: ``1 x 8 x 8 x 3``, unknown sizes as ``?``; ``scalar`` without axes."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _scaled(number: float, base: int, units: Sequence[str]) -> str:
    index, value = 0, float(number)
    # 999.5 would be shown as 1000: it belongs to the next unit already.
    while abs(value) >= (base if base == 1024 else 999.5) and index < len(units) - 1:
        value /= base
        index += 1
    if not index:
        return f"{number:.0f} {units[0]}" if float(number).is_integer() else f"{number:.3g} {units[0]}"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {units[index]}"
