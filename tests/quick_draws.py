"""Keras' initial weights, drawn with less bookkeeping: the same numbers in a quarter of the time.

Tests make tens of thousands of kernels, most of a few hundred numbers, and Keras takes a dozen operations of TensorFlow
for each. ``keras_io/test_quick.py`` shows that the numbers are Keras'.
"""

from __future__ import annotations

import operator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow import random as backend_random
from tensorflow.python.ops import gen_math_ops, gen_stateless_random_ops_v2, random_ops_util

from kerasurgeon.keras_io.replaced import Replaced

_SEEDS = 2**31 - 2  # Keras takes seeds modulo this, for XLA's sake


def _uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """``keras.random.uniform`` under TensorFlow."""
    dtype = dtype or keras.config.floatx()
    plain = type(seed) is int and dtype == "float32" and type(minval) is float and type(maxval) is float
    if not plain or not tf.executing_eagerly():
        return QUICK_DRAWS.original(shape, minval, maxval, dtype, seed)
    begin = tf.constant(np.array([seed % _SEEDS, 0], "int32"))
    key, counter, algorithm = random_ops_util.get_key_counter_alg(begin, "auto_select")
    sizes = tf.constant(np.array([operator.index(size) for size in shape], "int32"))
    drawn = gen_stateless_random_ops_v2.stateless_random_uniform_v2(sizes, key, counter, algorithm, tf.float32)
    low = np.float32(minval)
    return gen_math_ops.add_v2(gen_math_ops.mul(drawn, tf.constant(np.float32(maxval) - low)), tf.constant(low))


QUICK_DRAWS = Replaced(backend_random, "uniform", _uniform)
"""While open, uniform numbers of float32 are drawn so."""
