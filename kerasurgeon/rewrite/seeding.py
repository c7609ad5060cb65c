"""Python's generator, which Keras draws the seeds of new layers from, seeded for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def python_seeded(seed: int | None) -> Iterator[None]:
    """Seed Python's generator, and give its state back. ``None`` leaves it alone."""
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


__all__ = ["python_seeded"]
