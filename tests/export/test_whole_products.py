"""Products of matrices of small whole numbers whose sums the type does not hold: files wrap around, as NumPy does.

Keras is no oracle: on TensorFlow it computes them in float32, and what casting such sums back gives depends on where in
the tensor they stand (the processor saturates 32 at once, and wraps what is left).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.export.single_layers import written as onnx_written
from tests.export.test_onnx_writer import run as run_onnx
from tests.export.test_tflite_writer import run as run_tflite
from tests.export.test_tflite_writer import written as tflite_written

PRODUCTS: Mapping[str, tuple[Callable[[Any, Any, Any], Any], tuple[int, ...], tuple[int, ...]]] = {
    "matmul": (lambda of, x, y: of.matmul(x, y), (4, 5), (5, 9)),
    "matmul with a vector": (lambda of, x, y: of.matmul(x, y), (4, 5), (5,)),
    "dot": (lambda of, x, y: of.dot(x, y), (4, 5), (5, 9)),
    "inner": (lambda of, x, y: of.inner(x, y), (4, 5), (9, 5)),
    "tensordot": (lambda of, x, y: of.tensordot(x, y, axes=[[2], [0]]), (4, 5), (5, 9)),
    "einsum": (lambda of, x, y: of.einsum("bij,jk->bki", x, y), (4, 5), (5, 9)),
}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_sums_wrap_around(name: str, dtype: str) -> None:
    product, shape, other = PRODUCTS[name]
    rng, bounds = np.random.default_rng(0), np.iinfo(dtype)
    x, y = (rng.integers(bounds.min, bounds.max + 1, each).astype(dtype) for each in ((2, *shape), other))
    given = keras.Input(shape, dtype=dtype)
    made: Any = product(ops, given, y)
    model = keras.Model(given, made)
    exact = product(np, x.astype("int64"), y.astype("int64"))
    assert np.abs(exact).max() > bounds.max
    wanted = exact.astype(made.dtype)
    for found in (run_onnx(onnx_written(model), x), run_tflite(tflite_written(model, batch_size=2), x)):
        assert found[0].dtype == wanted.dtype
        assert np.array_equal(found[0], wanted)
