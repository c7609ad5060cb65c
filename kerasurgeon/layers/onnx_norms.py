"""Normalisations written to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall, np_type
from kerasurgeon.rules.onnx_parts import Order, Tensor


def write_affine(call: OnnxCall, scale: Any, shift: Any, axes: Sequence[int]) -> None:
    """Write a product with numbers along some axes, and a sum with others; numbers for all positions have no axes."""
    order = call.input.order
    x = call.read(call.input, order, call.output.dtype)
    for kind, numbers, neutral in (("Mul", scale, 1), ("Add", shift, 0)):
        if np.any(numbers != neutral):
            x = call.op(kind, x, call.constant(spread(numbers, [axis % len(order) for axis in axes], order)))
    call.give(x, order)


def spread(numbers: Any, axes: Sequence[int], order: Sequence[int]) -> Any:
    """Numbers along some of Keras' axes, in a shape that broadcasts against a tensor in some order of axes."""
    if np.ndim(numbers) == 0:
        return numbers
    shape = [1] * len(order)
    for axis, size in zip(axes, np.shape(numbers), strict=True):
        shape[axis] = size
    return np.reshape(numbers, shape).transpose(order)


def one_axis(axis: Any) -> int:
    """The axis of a batch norm: a number, or a list of one."""
    return int(axis if isinstance(axis, int) else axis[0])


def normalised_axes(axis: Any, rank: int) -> list[int]:
    """The axes that a config names: a number, or several; all where it names none."""
    if axis is None:
        return list(range(rank))
    return [place % rank for place in ([axis] if isinstance(axis, int) else sorted(axis))]


def check_scaled(axes: Sequence[int], rank: int) -> None:
    """See that RMS norms scale the axes that they normalise: Keras multiplies along the last ones, whichever these are.

    Raises:
        CannotTell: The normalised axes are not the last ones.
    """
    if list(axes) != list(range(rank - len(axes), rank)):
        raise CannotTell("Keras scales it along its last axes, and other ones are normalised")


def write_normalized(call: OnnxCall, axes: Sequence[int], power: int, epsilon: float) -> None:
    """Write a division by a norm over axes, which counts as no smaller than ``epsilon``."""
    order = call.input.order
    places = [order.index(axis) for axis in axes]
    x = term(call, call.input, order, call.output.dtype)
    if power == 2:
        with np.errstate(over="ignore"):  # of half precision, infinity, as Keras has it
            most = np.asarray(1 / epsilon).astype(np_type(x.dtype))
        summed = (x * x).reduce("ReduceSum", places)
        return give(call, x * summed.op("Sqrt").op("Reciprocal").op("Min", most), order)
    if len(axes) > 1:
        raise CannotTell(f"a norm of order {power} over several axes takes singular values")
    summed = x.op("Abs").op("Pow", float(power)).reduce("ReduceSum", places)
    return give(call, x / summed.op("Pow", 1 / power).op("Max", epsilon), order)


def _spread_term(call: OnnxCall, numbers: Tensor, axes: Sequence[int], order: Order, dtype: str) -> Term:
    """An operand along some axes, in a shape that broadcasts against a tensor in some order of axes."""
    if numbers.rank == len(order):
        return term(call, numbers, order, dtype)
    if numbers.rank != len(axes):
        raise CannotTell("its scales have other axes than those that it works over")
    inside = [axis for axis in order if axis in axes]
    made = term(call, numbers, tuple(list(axes).index(axis) for axis in inside), dtype)
    sizes = dict(zip(axes, numbers.shape, strict=True))
    return made.reshape([-1 if sizes.get(axis, 1) is None else int(sizes.get(axis, 1) or 0) for axis in order])


def write_layer_norm(call: OnnxCall, keys: Sequence[str]) -> None:
    """Write statistics over axes: LayerNormalization over the last ones, as the opset has it; else its steps."""
    rank, order = call.input.rank, call.input.order
    axes = normalised_axes(call.config["axis"], rank)
    places = [order.index(axis) for axis in axes]
    centred = len(keys) > 1
    if not centred:
        check_scaled(axes, rank)
    scale, shift = (call.layer.array(key) for key in (*keys, "")[:2])
    if "float" not in call.input.dtype and scale is not None:
        raise CannotTell("of whole numbers, Keras makes whole numbers of its scale as well")
    x = call.read(call.input, order)
    if centred and places == list(range(places[0], rank)) and call.opset >= 17:
        ones = np.ones([call.input.shape[axis] or 1 for axis in axes])
        gamma = call.constant(ones if scale is None else scale, called="gamma")
        beta = None if shift is None else call.constant(shift, called="beta")
        epsilon = float(call.config["epsilon"])
        return call.give(call.op("LayerNormalization", x, gamma, beta, axis=places[0], epsilon=epsilon), order)
    if centred:
        x = call.op("Sub", x, call.reduce("ReduceMean", x, places, keepdims=True))
    power = call.reduce("ReduceMean", call.op("Mul", x, x), places, keepdims=True)
    y = call.op("Div", x, call.op("Sqrt", call.op("Add", power, call.constant(call.config["epsilon"]))))
    for kind, array in (("Mul", scale), ("Add", shift)):
        if array is not None:
            y = call.op(kind, y, call.constant(spread(array, axes, order)))
    return call.give(y, order)


def write_group_norm(call: OnnxCall) -> None:
    """Write statistics over groups of channels, then a scale and a shift per channel."""
    operand, rank = call.input, call.input.rank
    axis = call.config["axis"] % rank
    size, groups = operand.shape[axis], call.config["groups"]
    if size is None or axis == 0:
        raise CannotTell("the number of its channels is unknown")
    groups = size if groups == -1 else groups
    order = (0, axis, *(place for place in range(1, rank) if place != axis))
    x = term(call, operand, order, call.float)
    dtype = "float32" if x.dtype in ("float16", "bfloat16") else x.dtype
    flat = x.to(dtype).reshape([call.size(operand, 0), groups, -1])
    ones, zeros = (flat.other(np.full(groups, number)).name for number in (1.0, 0.0))
    name = call.op("InstanceNormalization", flat.name, ones, zeros, epsilon=float(call.config["epsilon"]))
    made = flat.named(name).reshape([call.size(operand, place) for place in order])
    for kind, key in (("Mul", "gamma"), ("Add", "beta")):
        array = call.layer.array(key)
        if array is not None:
            made = made.op(kind, spread(array, [axis], order))
    give(call, made, order)


def write_fixed_norm(call: OnnxCall) -> None:
    """Write a product and a sum, with statistics that are given."""
    axis = call.config["axis"]
    axes = [] if axis is None else normalised_axes(axis, call.input.rank)
    shape = [call.input.shape[place] or 1 for place in axes]
    mean, variance = (
        np.asarray(call.config[key] if call.layer.array(key) is None else call.layer.array(key), np.float64)
        for key in ("mean", "variance")
    )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if call.config.get("invert"):
        scale, shift = deviation, mean
    else:
        scale, shift = 1 / deviation, -mean / deviation
    write_affine(call, scale.reshape(shape), shift.reshape(shape), axes)


def write_layer_norm_op(call: OnnxCall) -> None:
    """Write the steps of ``ops.layer_norm`` and ``ops.rms_norm``."""
    rank, order = call.input.rank, call.input.order
    axes = normalised_axes(call.config.get("axis", -1), rank)
    places = [order.index(axis) for axis in axes]
    epsilon = call.config.get("epsilon")
    dtype = "float32" if call.output.dtype in ("float16", "bfloat16") else call.output.dtype
    x = term(call, call.input, order, dtype)
    centred = call.kind == "ops.layer_norm"
    apart = x - x.reduce("ReduceMean", places) if centred else x
    power = (apart * apart).reduce("ReduceMean", places)
    if call.config.get("rms_scaling"):
        apart = x
    made = apart / (power + (1e-7 if epsilon is None else epsilon)).op("Sqrt")
    scales = [call.operand(1, "gamma" if centred else "scale")]
    scales.append(call.operand(2, "beta") if centred and not call.config.get("rms_scaling") else None)
    for kind, operand in zip(("Mul", "Add"), scales, strict=True):
        scale = call.as_tensor(operand)
        if scale is not None:
            if not centred:
                check_scaled(axes, rank)
            made = made.op(kind, _spread_term(call, scale, axes, order, dtype))
    give(call, made, order)


def write_batch_norm_op(call: OnnxCall) -> None:
    """Write ``ops.batch_norm``: a product and a sum, whose factors are computed where they are no constants."""
    order, dtype = call.input.order, call.output.dtype
    axis = one_axis(call.config["axis"]) % call.input.rank
    names = ("mean", "variance", "offset", "scale")
    operands = [call.as_tensor(call.operand(place, name)) for place, name in enumerate(names, 1)]
    mean, variance, offset, scale = (
        None if operand is None else _spread_term(call, operand, [axis], order, dtype) for operand in operands
    )
    if mean is None or variance is None:
        raise CannotTell("it has no statistics")
    factor = (variance + float(call.config["epsilon"])).op("Sqrt").op("Reciprocal")
    factor = factor if scale is None else factor * scale
    shift = -(mean * factor) if offset is None else offset - mean * factor
    give(call, term(call, call.input, order, dtype) * factor + shift, order)
