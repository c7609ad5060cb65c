"""Convolutions that this machine's TensorFlow has no kernel for, computed by calls that it has and that give the same.

On processors where TensorFlow leaves oneDNN off, Keras makes channels-first models that it cannot run. While
``equal_calls`` is open, the functions that all convolutions of Keras end in are replaced by ones that

* bring channels-first tensors into the other layout, and the result back;
* stretch the kernel of a dilated transposed convolution by zeros, which is what dilation means;
* take every position of a depthwise convolution and then those that unequal strides would have stopped at.

Each computes what the call says, in any thread, and is itself computed by Keras' own function. A call that has a kernel
goes the way that Keras has laid.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from kerasurgeon.keras_io.internals import backend, convolutions
from kerasurgeon.keras_io.kernels import has_kernel
from kerasurgeon.keras_io.replaced import Replaced


@contextlib.contextmanager
def equal_calls() -> Iterator[set[str]]:
    """While open, convolutions without a kernel on this machine are computed by equal calls; for TensorFlow only.

    Yields:
        The kinds of convolutions that were computed so, in words; it fills while the block runs.
    """
    used: set[str] = set()
    with contextlib.ExitStack() as stack:
        for replaced in _REPLACED:
            stack.enter_context(replaced)
        _USED[id(used)] = threading.get_ident(), used
        try:
            yield used
        finally:
            del _USED[id(used)]


# What the blocks that are open fill, with their threads; by identity, as equal sets are not the same one.
_USED: dict[int, tuple[int, set[str]]] = {}


def _tell(kind: str) -> None:
    """Note it in the blocks of this thread; a thread without one works for another, which may be any."""
    opened = list(_USED.values())
    mine = [used for thread, used in opened if thread == threading.get_ident()]
    for used in mine or [used for _, used in opened]:
        used.add(kind)


def _conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    grouped = inputs.shape[1 if _is_first(data_format) else -1] != kernel.shape[-2]
    # Keras compiles grouped convolutions, for which there are kernels in any layout.
    if grouped or not _is_first(data_format) or _has("conv", inputs, channels_first=True):
        return _CONV.original(inputs, kernel, strides, padding, data_format, dilation_rate)
    _tell("channels-first convolutions")
    result = _CONV.original(_to_last(inputs), kernel, strides, padding, "channels_last", dilation_rate)
    return _to_first(result)


def _depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    if not _strided_unequally(strides) or _has("depthwise_conv", inputs, _is_first(data_format), unequal=True):
        return _DEPTHWISE.original(inputs, kernel, strides, padding, data_format, dilation_rate)
    return _everywhere(inputs, kernel, strides, padding, data_format, dilation_rate)


def _separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    first = _is_first(data_format)
    if not _strided_unequally(strides) or _has("separable_conv", inputs, first, unequal=True):
        original = _SEPARABLE.original
        return original(inputs, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate)
    between = _everywhere(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return _conv(between, pointwise_kernel, 1, "valid", data_format)


def _conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    first, rates = _is_first(data_format), _each(dilation_rate, len(inputs.shape) - 2)
    dilated = max(rates) > 1
    if not (first or dilated) or _has("conv_transpose", inputs, first, dilated=dilated):
        original = _TRANSPOSED.original
        return original(inputs, kernel, strides, padding, output_padding, data_format, dilation_rate)
    if dilated:
        _tell("dilated transposed convolutions")
        kernel = _stretched(kernel, rates)
    if not first:
        return _conv_transpose(inputs, kernel, strides, padding, output_padding, data_format)
    _tell("channels-first transposed convolutions")
    result = _TRANSPOSED.original(_to_last(inputs), kernel, strides, padding, output_padding, "channels_last", 1)
    return _to_first(result)


_CONV = Replaced(convolutions, "conv", _conv)
_DEPTHWISE = Replaced(convolutions, "depthwise_conv", _depthwise_conv)
_SEPARABLE = Replaced(convolutions, "separable_conv", _separable_conv)
_TRANSPOSED = Replaced(convolutions, "conv_transpose", _conv_transpose)
_ALL = (_CONV, _DEPTHWISE, _SEPARABLE, _TRANSPOSED)
_THERE = keras.backend.backend() == "tensorflow" and all(each.original is not None for each in _ALL)
_REPLACED = _ALL if _THERE else ()


def _has(function: str, inputs: Any, channels_first: bool, *, dilated: bool = False, unequal: bool = False) -> bool:
    dtype = backend.standardize_dtype(inputs.dtype)
    rank = len(inputs.shape) - 2
    return has_kernel(function, rank, dtype, channels_first=channels_first, dilated=dilated, unequal=unequal)


def _is_first(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_first"


def _each(sizes: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """One number per spatial axis, as Keras lets one stand for all."""
    if sizes is None or isinstance(sizes, int):
        return (sizes or 1,) * rank
    return tuple(sizes)


def _strided_unequally(strides: Any) -> bool:
    return not isinstance(strides, int) and len(set(strides)) > 1


def _to_last(tensor: Any) -> Any:
    rank = len(tensor.shape)
    return keras.ops.transpose(tensor, (0, *range(2, rank), 1))


def _to_first(tensor: Any) -> Any:
    rank = len(tensor.shape)
    return keras.ops.transpose(tensor, (0, rank - 1, *range(1, rank - 1)))


def _everywhere(
    inputs: Any, kernel: Any, strides: Sequence[int], padding: str, data_format: Any, dilation_rate: Any
) -> Any:
    """A depthwise convolution at stride one, of which the strided positions are taken."""
    import tensorflow as tf

    _tell("depthwise convolutions with unequal strides")
    first = _is_first(data_format)
    inputs = _to_last(inputs) if first else inputs
    rates = _each(dilation_rate, len(strides))
    if padding.lower() == "same":
        # What has to be added depends on the strides: at stride one it would be another amount, elsewhere.
        sizes = tf.shape(inputs)
        pads = [[0, 0]]
        for axis, (window, stride, rate) in enumerate(zip(kernel.shape, strides, rates, strict=False), start=1):
            covered = (-(-sizes[axis] // stride) - 1) * stride + (window - 1) * rate + 1
            total = tf.maximum(covered - sizes[axis], 0)
            pads.append([total // 2, total - total // 2])
        inputs = tf.pad(inputs, [*pads, [0, 0]])
    result = _DEPTHWISE.original(inputs, kernel, 1, "valid", "channels_last", dilation_rate)
    result = result[(slice(None), *(slice(None, None, stride) for stride in strides))]
    return _to_first(result) if first else result


def _stretched(kernel: Any, rates: Sequence[int]) -> Any:
    """A kernel with zeros between its positions, so that it covers what dilation would make it cover."""
    import tensorflow as tf

    kernel = tf.convert_to_tensor(kernel)
    for axis, rate in enumerate(rates):
        size = kernel.shape[axis]
        apart = tf.expand_dims(kernel, axis + 1)
        pads = [[0, 0]] * apart.shape.rank
        pads[axis + 1] = [0, rate - 1]
        shape = [*kernel.shape[:axis], size * rate, *kernel.shape[axis + 1 :]]
        kernel = tf.reshape(tf.pad(apart, pads), shape)
        kernel = kernel[(slice(None),) * axis + (slice(0, (size - 1) * rate + 1),)]
    return kernel
