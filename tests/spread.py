"""Numbers that follow from names."""

from __future__ import annotations

import zlib


def number(name: str) -> int:
    """One that follows from a name, on every machine."""
    return zlib.crc32(name.encode())
