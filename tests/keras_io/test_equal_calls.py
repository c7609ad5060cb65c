"""Equal calls give what the call itself gives: TensorFlow's other compiler, XLA, has kernels for all of them."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasurgeon.keras_io import equal_calls as module
from kerasurgeon.keras_io import kernels
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.kernels import has_kernel
from kerasurgeon.quiet import quiet

pytestmark = pytest.mark.bare

SIZES = {1: (11,), 2: (9, 8), 3: (6, 5, 7)}
# No output has as many columns: Keras adds the bias of a channels-first layer to those then.
FILTERS = 14
FIRST = {"data_format": "channels_first"}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "conv1d": ("Conv1D", FIRST | {"padding": "same", "strides": 2}),
    "conv1d_causal_dilated": ("Conv1D", FIRST | {"padding": "causal", "dilation_rate": 2}),
    "conv2d": ("Conv2D", FIRST),
    "conv2d_strided": ("Conv2D", FIRST | {"padding": "same", "strides": (2, 3)}),
    "conv2d_dilated": ("Conv2D", FIRST | {"padding": "same", "dilation_rate": (1, 2)}),
    "conv2d_grouped": ("Conv2D", FIRST | {"groups": 2}),
    "conv3d": ("Conv3D", FIRST | {"strides": 2, "padding": "same"}),
    "transposed1d": ("Conv1DTranspose", FIRST | {"strides": 3, "output_padding": 2}),
    "transposed1d_dilated": ("Conv1DTranspose", {"dilation_rate": 3, "padding": "same"}),
    "transposed2d": ("Conv2DTranspose", FIRST | {"strides": 2, "padding": "same"}),
    "transposed2d_dilated": ("Conv2DTranspose", {"dilation_rate": 2, "padding": "same"}),
    "transposed2d_dilated_valid": ("Conv2DTranspose", FIRST | {"dilation_rate": (3, 1)}),
    "transposed2d_even_window": ("Conv2DTranspose", {"dilation_rate": 2, "kernel_size": (2, 4), "padding": "same"}),
    "transposed3d": ("Conv3DTranspose", FIRST | {"strides": (1, 2, 1), "padding": "same", "output_padding": (0, 1, 0)}),
    "transposed3d_dilated": ("Conv3DTranspose", {"dilation_rate": (1, 2, 2)}),
    "depthwise": ("DepthwiseConv2D", {"strides": (1, 2), "padding": "same"}),
    "depthwise_valid": ("DepthwiseConv2D", {"strides": (3, 1), "depth_multiplier": 2}),
    "depthwise_first": ("DepthwiseConv2D", FIRST | {"strides": (2, 3), "padding": "same", "kernel_size": (2, 4)}),
    "depthwise_dilated": ("DepthwiseConv2D", {"strides": (2, 1), "dilation_rate": 2, "padding": "same"}),
    "separable": ("SeparableConv2D", {"strides": (2, 1), "padding": "same"}),
    "separable_first": ("SeparableConv2D", FIRST | {"strides": (1, 3), "depth_multiplier": 2}),
}


def made(kind: str, options: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """A layer with random weights, and random inputs for it."""
    options = {"kernel_size": 3, "bias_initializer": "random_normal", "dtype": dtype} | options
    rank = int(kind[kind.index("D") - 1]) if "Conv" in kind and kind[-1] != "D" else int(kind[-2])
    layer = getattr(keras.layers, kind)(*(() if kind.startswith("Depthwise") else (FILTERS,)), **options)
    channels_first = options.get("data_format") == "channels_first"
    shape = (2, 4, *SIZES[rank]) if channels_first else (2, *SIZES[rank], 4)
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape), dtype)
    layer.build(shape)
    return layer, inputs


def value_and_slopes(layer: Any, inputs: Any) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = layer(inputs)
        total = tf.reduce_sum(result * tf.reshape(tf.sin(tf.range(tf.size(result), dtype=result.dtype)), result.shape))
    return [result, *tape.gradient(total, [inputs, *(variable.value for variable in layer.trainable_variables)])]


@pytest.mark.spread(9)
@pytest.mark.parametrize("case", CASES)
def test_an_equal_call_gives_the_same_values_and_gradients(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs = made(*CASES[case], "float64")
    compiled = tf.function(lambda: value_and_slopes(layer, inputs), jit_compile=True)
    expected = [np.asarray(tensor) for tensor in compiled()]
    asked: list[str] = []

    def no(function: str, *_: Any, **__: Any) -> bool:
        asked.append(function)
        return False

    monkeypatch.setattr(module, "has_kernel", no)
    with equal_calls():
        got = [np.asarray(tensor) for tensor in value_and_slopes(layer, inputs)]
    assert bool(asked) == ("grouped" not in case)
    for one, other in zip(expected, got, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-10)


@pytest.mark.spread(3)
@pytest.mark.parametrize("case", CASES)
def test_whatever_the_machine_lacks_can_be_run(case: str) -> None:
    """In every type of numbers, on whatever machine the tests run; sizes may be open when the call is traced."""
    for dtype in ("float32", "float64", "float16"):
        layer, inputs = made(*CASES[case], dtype)
        with equal_calls():
            outputs = layer(inputs)
            traced = tf.function(
                layer, input_signature=[tf.TensorSpec((None, *inputs.shape[1:]), inputs.dtype)], autograph=False
            )
            again = traced(inputs)
        assert list(outputs.shape) == list(layer.compute_output_shape(tuple(inputs.shape)))
        tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2}[dtype]
        np.testing.assert_allclose(again, outputs, rtol=tolerance, atol=tolerance)


def test_open_sizes_are_cut_as_fixed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs = made(*CASES["depthwise_first"], "float32")
    monkeypatch.setattr(module, "has_kernel", lambda *_, **__: False)
    with equal_calls():
        fixed = layer(inputs)
        signature = [tf.TensorSpec((None, 4, None, None), inputs.dtype)]
        np.testing.assert_allclose(tf.function(layer, input_signature=signature)(inputs), fixed, rtol=1e-6)


def test_keras_own_functions_are_put_back() -> None:
    from keras.src import backend

    before = [getattr(backend.nn, name) for name in kernels.FORWARD]
    with equal_calls(), equal_calls():
        assert all(getattr(backend.nn, name) is not old for name, old in zip(kernels.FORWARD, before, strict=True))
    assert [getattr(backend.nn, name) for name in kernels.FORWARD] == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_a_kernel_is_there_if_a_layer_runs(channels_first: bool, dtype: str) -> None:
    layer = keras.layers.Conv2D(3, 2, data_format="channels_first" if channels_first else None, dtype=dtype)
    inputs = np.ones((1, 4, 5, 4), dtype)
    if has_kernel("conv", 2, dtype, channels_first=channels_first):
        layer(inputs)
    else:
        with pytest.raises(tf.errors.UnimplementedError):
            layer(inputs)


def test_other_threads_do_not_wait_for_a_quiet_terminal() -> None:
    """Replicas trace in threads of their own, for which the main thread waits, be the terminal quiet or not."""
    has_kernel.cache_clear()
    layer, inputs = made(*CASES["conv2d"], "float64")
    done: list[Any] = []

    def run() -> None:
        with equal_calls():
            done.append(layer(inputs))

    thread = threading.Thread(target=run, daemon=True)
    with quiet():
        thread.start()
        thread.join(timeout=60)
    assert done
