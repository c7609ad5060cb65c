"""``kerasurgeon demo``: the whole way, on real data."""

from __future__ import annotations


def demo() -> None:
    """Train a small network, compress it, export it and compare everything."""
