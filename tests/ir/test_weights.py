"""What a weight holds of the array that it is given."""

from __future__ import annotations

import tracemalloc

import keras
import numpy as np
import pytest

from kerasurgeon.ir.layer import Layer, Weight, sealed


def test_an_array_that_may_be_written_is_copied() -> None:
    array = np.ones(3)
    weight = Weight(array)
    array[0] = 2
    assert weight.array[0] == 1
    assert not weight.array.flags.writeable


def test_a_sealed_array_is_taken_as_it_is() -> None:
    array = sealed(np.ones(3))
    assert Weight(array).array is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2


def test_a_cast_is_the_only_copy() -> None:
    size = 2**20
    layer = Layer("dense", keras.layers.Dense, {}, weights={"kernel": Weight(sealed(np.zeros(size, "float32")))})
    values = np.full(size, 0.1)
    tracemalloc.start()
    try:
        changed = layer.with_weights(kernel=values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 4 * size <= peak < 5 * size
    np.testing.assert_array_equal(changed.weights["kernel"].array, values.astype("float32"))
    assert values.flags.writeable
