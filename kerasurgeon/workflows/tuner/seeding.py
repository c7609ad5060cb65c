"""All generators of a training, seeded for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np


@contextmanager
def keras_seeded(seed: int | None) -> Iterator[None]:
    """Seed Python, numpy and the backend, as ``keras.utils.set_random_seed`` does; ``None`` leaves them alone.

    The states of Python's and numpy's generators are given back, that of the backend stays.
    """
    if seed is None:
        yield
        return
    state, array_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - what Keras itself uses
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(array_state)  # noqa: NPY002
