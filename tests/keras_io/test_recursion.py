"""Models deeper than Python's recursion limit."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.recursion import room_for


def nothing() -> None:
    raise ValueError("inside")


def test_a_model_deeper_than_python_recurses() -> None:
    limit = sys.getrecursionlimit()
    x = inputs = keras.Input((2,))
    for index in range(limit + 10):
        x = keras.layers.Rescaling(1.0, offset=1.0, name=f"step_{index}")(x)
    with pytest.raises(RecursionError):
        keras.Model(inputs, x)
    with room_for(limit + 10):
        model = keras.Model(inputs, x)
    again = emit(lift(model))
    assert sys.getrecursionlimit() == limit
    assert np.array_equal(again(np.zeros((1, 2))), [[limit + 10] * 2])


def test_the_limit_comes_back_after_an_error() -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(ValueError, match="inside"), room_for(10 * limit):
        nothing()
    assert sys.getrecursionlimit() == limit
