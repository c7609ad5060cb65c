"""Ready-made functions and patterns for ``ReplaceLayers``; in recipes ``kerasurgeon.replacing.replacements:name``.

[[pass]]
name = "ReplaceLayers"
pattern = "Conv2D"
where = { kernel_size = [5, 5] }
function = "kerasurgeon.replacing.replacements:two_3x3"
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.replacing.site import ReplaceSite
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rewrite.patterns import Pattern, anything, constant, layers, one_of, ops

Array = np.ndarray[Any, Any]


def hard_swish_to_relu6(layer: Any) -> Any:
    """ReLU6 instead of hard swish: as a layer of its own, or as the activation of any other layer."""
    return _other_activation(layer, ("hard_silu", "hard_swish"), "relu6")


def swish_to_relu(layer: Any) -> Any:
    """ReLU instead of swish (SiLU), and of hard swish."""
    return _other_activation(layer, ("silu", "swish", "hard_silu", "hard_swish"), "relu")


def leaky_relu_slope(layer: Any, *, slope: float) -> Any:
    """Another slope for LeakyReLU."""
    if not isinstance(layer, keras.layers.LeakyReLU):
        return f"it is {type(layer).__name__}, not LeakyReLU"
    return type(layer).from_config({**layer.get_config(), "negative_slope": slope})


def two_3x3(layer: Any, site: ReplaceSite, *, filters: int | None = None, rounds: int = 4) -> Any:
    """Two 3x3 convolutions instead of one of 5x5, the activation on the second.

    The kernels start as the best pair in turn, each by least squares with the other fixed; their composition is the
    5x5 kernel up to what ``filters`` channels between them can hold, the border aside where the layer pads.

    Args:
        layer: A Conv2D of 5x5, without stride, dilation and groups.
        site: Where it is.
        filters: Channels between the two; by default as many as the layer has.
        rounds: How often each kernel is fitted.
    """
    config = layer.get_config()
    if not isinstance(layer, keras.layers.Conv2D) or tuple(config["kernel_size"]) != (5, 5):
        return "it is no Conv2D with 5x5 kernels"
    for entry, plain in (("strides", (1, 1)), ("dilation_rate", (1, 1)), ("groups", 1)):
        if (tuple(config[entry]) if entry != "groups" else config[entry]) != plain:
            return f"its {entry} is not 1"
    kernel = _array(layer.kernel)
    middle = filters or kernel.shape[-1]
    if middle < 1 or rounds < 1:
        raise Skip("filters and rounds must be at least 1")
    first_kernel, second_kernel = _factor_5x5(kernel, middle, rounds)
    shared = {key: config[key] for key in ("padding", "data_format", "dtype", "trainable")}
    first = keras.layers.Conv2D(middle, 3, use_bias=False, **shared)
    second = type(layer).from_config({**config, "kernel_size": (3, 3)})
    data = keras.KerasTensor(site.inputs[0].shape, dtype=site.inputs[0].dtype)
    second(first(data))
    first.kernel.assign(first_kernel)
    second.kernel.assign(second_kernel)
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return [first, second]


def separable(layer: Any, site: ReplaceSite, *, depth_multiplier: int = 1) -> Any:
    """SeparableConv2D instead of Conv2D, its kernels the nearest to the old one: an SVD for each input channel.

    Args:
        layer: A Conv2D without groups.
        site: Where it is.
        depth_multiplier: Spatial filters per input channel; as many as the kernel has taps are exact.
    """
    if type(layer) is not keras.layers.Conv2D or layer.groups != 1:
        return "it is no Conv2D without groups"
    if len(set(layer.strides)) > 1:
        return "its strides differ, which SeparableConv2D does not allow"
    kernel = _array(layer.kernel)
    height, width, channels, outputs = kernel.shape
    rank = min(depth_multiplier, height * width)
    left, sizes, right = np.linalg.svd(
        kernel.transpose(2, 0, 1, 3).reshape(channels, height * width, outputs), full_matrices=False
    )
    rank = min(rank, sizes.shape[-1])
    depthwise = (left * np.sqrt(sizes)[:, None])[:, :, :rank].transpose(1, 0, 2)
    pointwise = (right * np.sqrt(sizes)[:, :, None])[:, :rank].reshape(1, 1, channels * rank, outputs)
    config = {
        key: value for key, value in layer.get_config().items() if not key.startswith("kernel_") and key != "groups"
    }
    new = keras.layers.SeparableConv2D.from_config(
        {**config, "kernel_size": layer.kernel_size, "depth_multiplier": rank}
    )
    new.build(site.inputs[0].shape)
    new.depthwise_kernel.assign(depthwise.reshape(height, width, channels, rank))
    new.pointwise_kernel.assign(pointwise)
    if layer.use_bias:
        new.bias.assign(layer.bias)
    return new


def hard_swish_written_out() -> Pattern:
    """``x * (relu6(x + 3) / 6)`` in ops, ``relu6(x + 3) * x / 6`` and what else comes of the order of the factors."""
    x = anything("x")
    shifted = ops.add(x, constant(3.0))
    ceiling = one_of(
        ops.relu6(shifted),
        layers.ReLU(shifted, where=lambda _, layer: layer.config["max_value"] == 6.0),
        layers.Activation(shifted, where=lambda _, layer: layer.config["activation"] == "relu6"),
    )
    gate = one_of(ops.divide(ceiling, constant(6.0)), ops.multiply(ceiling, constant(1 / 6)))
    product = ops.multiply(x, ceiling)
    return one_of(
        ops.multiply(x, gate),
        layers.Multiply(x, gate),
        ops.divide(product, constant(6.0)),
        ops.multiply(product, constant(1 / 6)),
    )


def hard_swish_layer(layer: Any) -> Any:
    """One ``Activation("hard_silu")``, for what ``hard_swish_written_out`` finds. Exact."""
    return keras.layers.Activation("hard_silu", dtype=getattr(layer, "dtype_policy", None))


def _other_activation(layer: Any, old: tuple[str, ...], new: str) -> Any:
    config = layer.get_config()
    if config.get("activation") not in old:
        return f"its activation is {config.get('activation')!r}, not {' or '.join(old)}"
    return type(layer).from_config({**config, "activation": new})


def _factor_5x5(kernel: Array, middle: int, rounds: int) -> tuple[Array, Array]:
    """Two 3x3 kernels whose composition is near a 5x5 kernel, found by alternating least squares."""
    inputs, outputs = kernel.shape[2:]
    # A random start, always the same one, so that equal layers give equal kernels.
    first = np.random.default_rng(0).normal(size=(3, 3, inputs, middle)) / np.sqrt(9 * inputs)
    second = np.zeros((3, 3, middle, outputs))
    wanted = kernel.astype("float64")
    for _ in range(rounds):
        # composed[y, x, c, n] = sum over (i, j, m) of first[y - i, x - j, c, m] second[i, j, m, n]
        second = _solve(_shifted(first), wanted.reshape(-1, outputs)).reshape(3, 3, middle, outputs)
        turned = _shifted(second.transpose(0, 1, 3, 2))
        target = wanted.transpose(0, 1, 3, 2).reshape(-1, inputs)
        first = _solve(turned, target).reshape(3, 3, middle, inputs).transpose(0, 1, 3, 2)
    second = _solve(_shifted(first), wanted.reshape(-1, outputs)).reshape(3, 3, middle, outputs)
    sizes = [float(np.linalg.norm(part)) for part in (first, second)]
    scale = (sizes[1] / sizes[0]) ** 0.5 if min(sizes) > 0 else 1.0  # share the magnitude out evenly
    return first * scale, second / scale


def _shifted(kernel: Array) -> Array:
    """The matrix that composes a 3x3 kernel with another one: a row per tap of 5x5, a column per tap of the other."""
    channels, middle = kernel.shape[2:]
    matrix = np.zeros((5, 5, channels, 3, 3, middle))
    for row in range(3):
        for column in range(3):
            matrix[row : row + 3, column : column + 3, :, row, column] = kernel
    return matrix.reshape(25 * channels, 9 * middle)


def _solve(matrix: Array, target: Array) -> Array:
    # Normal equations: the matrix is tall, and a little damping settles what it leaves open.
    square = matrix.T @ matrix
    damping = 1e-9 * max(float(np.trace(square)) / len(square), 1e-12)
    solution: Array = np.linalg.solve(square + damping * np.eye(len(square)), matrix.T @ target)
    return solution


def _array(variable: Any) -> Array:
    array: Array = np.asarray(keras.ops.convert_to_numpy(variable)).astype("float64")
    return array


__all__ = [
    "hard_swish_layer",
    "hard_swish_to_relu6",
    "hard_swish_written_out",
    "leaky_relu_slope",
    "separable",
    "swish_to_relu",
    "two_3x3",
]
