"""Which convolutions TensorFlow has kernels for on this machine: found by running a small one of each kind.

What decides is the device, the data type, and on a processor whether TensorFlow uses oneDNN, which it leaves off by
itself on processors without AVX-512 VNNI. The kernels that oneDNN adds are those of channels-first convolutions, of
dilated transposed ones and of depthwise ones with unequal strides.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import keras

from kerasurgeon.keras_io.internals import convolutions
from kerasurgeon.quiet import quiet

FORWARD = ("conv", "depthwise_conv", "separable_conv", "conv_transpose")
"""The functions of Keras' backend that are asked for."""

# As they are without replacements, which ask here.
_CONVOLVE: dict[str, Callable[..., Any] | None] = {name: getattr(convolutions, name, None) for name in FORWARD}

_SIZE, _CHANNELS, _WINDOW = 7, 2, 3


@functools.cache
def has_kernel(
    function: str, rank: int, dtype: str, *, channels_first: bool = False, dilated: bool = False, unequal: bool = False
) -> bool:
    """Whether TensorFlow can compute a convolution, and its gradients, on the device that it would take.

    Args:
        function: One of ``FORWARD``.
        rank: Spatial axes, 1 to 3.
        dtype: The data type that is computed in.
        channels_first: Whether the axis of channels comes before the spatial ones.
        dilated: Whether the window is dilated.
        unequal: Whether strides differ from axis to axis.
    """
    import tensorflow as tf

    convolve = _CONVOLVE[function]
    if convolve is None:
        return True  # this Keras has no such function, and nothing is put in its place
    space, window = (_SIZE,) * rank, (_WINDOW,) * rank
    arguments: dict[str, Any] = {
        "strides": (2, *(1,) * (rank - 1)) if unequal else 1,
        "padding": "same",
        "data_format": "channels_first" if channels_first else "channels_last",
        "dilation_rate": 2 if dilated else 1,
    }
    shapes = [(1, _CHANNELS, *space) if channels_first else (1, *space, _CHANNELS), (*window, _CHANNELS, _CHANNELS)]
    if function == "separable_conv":
        shapes.append((*(1,) * rank, _CHANNELS**2, _CHANNELS))
    # A failure is written to the terminal from C++ before it is raised. Other threads must not wait for the terminal:
    # whoever keeps it quiet may be waiting for them.
    main = threading.current_thread() is threading.main_thread()
    with tf.init_scope(), quiet() if main else contextlib.nullcontext():
        try:
            tensors = [tf.zeros(shape, dtype) for shape in shapes]
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                result = tf.reduce_sum(convolve(*tensors, **arguments))
            tape.gradient(result, tensors)
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            return False
    return True


def describe() -> str:
    """What this machine's backend can run of convolutions, in one line."""
    if keras.backend.backend() != "tensorflow":
        return f"Keras on {keras.backend.backend()}"
    lacks = [
        what
        for what, has in (
            ("channels-first", has_kernel("conv", 2, "float32", channels_first=True)),
            ("dilated transposed", has_kernel("conv_transpose", 2, "float32", dilated=True)),
            ("unequally strided depthwise", has_kernel("depthwise_conv", 2, "float32", unequal=True)),
        )
        if not has
    ]
    kinds = f"without kernels for {', '.join(lacks)} ones" if lacks else "with kernels for every kind"
    return f"TensorFlow's convolutions of float32: {kinds}"
