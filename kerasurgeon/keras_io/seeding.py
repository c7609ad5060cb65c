"""Random generators seeded for a while, for one thread where that can be.

Keras draws the seeds of new layers from Python's generator, which all threads share. While a thread is seeded here,
Keras draws from a generator of that thread, and so does ``keras.utils.set_random_seed`` seed that one.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerasurgeon.keras_io.internals import (
    RANDOM_ATTRIBUTES,
    random_attribute,
    set_random_attribute,
    users_of_python_random,
)
from kerasurgeon.keras_io.replaced import Replaced


class _Mine(threading.local):
    """The generator that Keras draws from in this thread; Python's own without one."""

    generator: random.Random | None = None


_MINE = _Mine()


class _PythonRandom:
    """The module ``random``, as Keras sees it: what is drawn or seeded is this thread's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_MINE.generator or random, name)


_DOORS = tuple(Replaced(module, name, _PythonRandom()) for module, name in users_of_python_random())
_TRAININGS = threading.RLock()


@contextlib.contextmanager
def python_seeded(seed: int | None) -> Iterator[None]:
    """Seed what Keras draws in this thread; ``None`` leaves it alone.

    Python's generator itself, for code that asks it directly, is seeded too, unless another thread is in such a block;
    its state is given back.
    """
    if seed is None:
        yield
        return
    outer, _MINE.generator = _MINE.generator, random.Random(seed)
    try:
        with contextlib.ExitStack() as stack:
            for door in _DOORS:
                stack.enter_context(door)
            if _OWNER.acquire(blocking=False):
                stack.callback(_OWNER.release)
                stack.callback(random.setstate, random.getstate())
                random.seed(seed)
            yield
    finally:
        _MINE.generator = outer


_OWNER = threading.RLock()


@contextlib.contextmanager
def python_kept() -> Iterator[None]:
    """Let Keras draw the same numbers as it would, and leave Python's generator as it is for the user.

    Within ``python_seeded`` in the same thread it changes nothing.
    """
    if _MINE.generator is not None:
        yield
        return
    _MINE.generator = random.Random()
    _MINE.generator.setstate(random.getstate())
    try:
        with contextlib.ExitStack() as stack:
            for door in _DOORS:
                stack.enter_context(door)
            yield
    finally:
        _MINE.generator = None


@contextlib.contextmanager
def keras_seeded(seed: int | None) -> Iterator[None]:
    """Seed Python, numpy and the backend, as ``keras.utils.set_random_seed`` does; ``None`` leaves them alone.

    numpy and the backend have one generator for all threads: blocks with a seed wait for each other. The states of all
    generators are given back.
    """
    if seed is None:
        yield
        return
    with _TRAININGS, python_seeded(seed), _generators_kept():
        keras.utils.set_random_seed(seed)
        yield


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Give numpy, Keras and the backend back the generators that they have now."""
    numbers = np.random.get_state()  # noqa: NPY002 - what Keras itself uses
    made = {name: random_attribute(name) for name in RANDOM_ATTRIBUTES}
    eager = sys.modules.get("tensorflow.python.eager.context")
    tensorflow = None if eager is None else eager.context()
    seeded = {name: getattr(tensorflow, name, None) for name in ("_seed", "_rng")}  # nothing before the first use
    torch = sys.modules.get("torch") if keras.backend.backend() == "torch" else None
    drawn = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        for name, value in made.items():
            set_random_attribute(name, value)
        if seeded["_rng"] is not None:
            vars(tensorflow).update(seeded)
        if torch is not None:
            torch.set_rng_state(drawn)


__all__ = ["keras_seeded", "python_kept", "python_seeded"]
