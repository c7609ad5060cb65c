"""Models deeper than Python's recursion limit."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.recursion import room_for

LIMIT = sys.getrecursionlimit()


def nothing() -> None:
    raise ValueError("inside")


def test_a_model_deeper_than_python_recurses() -> None:
    x = inputs = keras.Input((2,))
    for index in range(LIMIT + 10):
        x = keras.layers.Rescaling(1.0, offset=1.0, name=f"step_{index}")(x)
    with pytest.raises(RecursionError):
        keras.Model(inputs, x)
    with room_for(LIMIT + 10):
        model = keras.Model(inputs, x)
    again = emit(lift(model))
    assert sys.getrecursionlimit() == LIMIT
    assert np.array_equal(again(np.zeros((1, 2))), [[LIMIT + 10] * 2])


def test_the_limit_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), room_for(10 * LIMIT):
        nothing()
    assert sys.getrecursionlimit() == LIMIT
