"""Resizing of images and adaptive pooling, written to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_attention import counted
from kerasurgeon.layers.onnx_terms import Term, concat, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, Size, Tensor

_ONNX_MODES = {"bilinear": "linear", "bicubic": "cubic"}
_MIDDLE = 8
"""As many positions on either side are more than any interpolation reads."""


def images_first(config: Mapping[str, Any], rank: int) -> Order:
    """The order of axes (batch, channels, rows, columns), or without the batch."""
    first = (config.get("data_format") or keras.config.image_data_format()) == "channels_first"
    order = tuple(range(rank)) if first else (*range(rank - 3), rank - 1, rank - 3, rank - 2)
    return order


def write_enlarged(call: OnnxCall, factors: Sequence[int], interpolation: str, order: Order) -> None:
    """Write every position several times, or interpolated between; channels stand first in the order."""
    x = call.read(call.input, order)
    rank = len(order)
    if interpolation == "nearest":
        options: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        mode = "nearest"
    elif (
        interpolation in _ONNX_MODES
        and (interpolation == "bilinear" or set(factors) <= {1, 2, 4, 8})
        and (_lies_well(call.input, order) or None in call.input.shape[1:])
    ):
        mode, options = _ONNX_MODES[interpolation], _interpolating(interpolation)
    else:
        made = Term(call, x, call.float)
        size = [call.input.shape[axis] for axis in order[2:]]
        if None in size:
            for place, (axis, factor) in enumerate(zip(order[2:], factors, strict=True), 2):
                made = enlarged(made, place, rank, call.size(call.input, axis), factor, interpolation)
            return give(call, made, order)
        wanted = [int(one) * factor for one, factor in zip(size, factors, strict=True) if one is not None]
        return give(call, by_matrices(made, [int(one or 0) for one in size], wanted, interpolation, False), order)
    scales = call.constant([1.0] * (rank - len(factors)) + [float(factor) for factor in factors], "float32", "scales")
    return call.give(call.op("Resize", x, None, scales, mode=mode, **options), order)


def _lies_well(operand: Tensor, order: Order) -> bool:
    """Whether it lies in the order, or with its channels last.

    ONNX Runtime draws other transpositions through a Resize, which it then cannot compute.
    """
    last = (*order[:-3], *order[-2:], order[-3])
    return operand.order in (order, last)


def _interpolating(interpolation: str) -> dict[str, Any]:
    if interpolation == "bicubic":
        return {"coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.5, "exclude_outside": 1}
    return {"coordinate_transformation_mode": "half_pixel"}


def enlarged(x: Term, place: int, rank: int, size: Size, factor: int, interpolation: str) -> Term:
    """An axis of any length enlarged, with the weights that Keras has in the middle of images.

    Args:
        x: A tensor.
        place: The axis.
        rank: How many axes there are.
        size: How long it is.
        factor: How many times as long it becomes.
        interpolation: As Keras names it. What lies outside has no weight, and the others then count for more.
    """
    if factor == 1:
        return x
    call, made, weights = x.call, None, None
    rows = _weights(2 * _MIDDLE + 1, (2 * _MIDDLE + 1) * factor, interpolation, False)
    rows = rows[_MIDDLE * factor : (_MIDDLE + 1) * factor]
    count = Term(call, call.integers(size) if isinstance(size, int) else size, "int64")
    numbers = counted(call, (count * factor).name).to("int32")
    count, base, phase = count.to("int32"), numbers / factor, numbers.op("Mod", factor)
    for tap in np.flatnonzero(rows.any(axis=0)):
        source = base + int(tap - _MIDDLE)
        weight = Term(call, call.constant(rows[:, tap], x.dtype), x.dtype).gather(phase, 0)
        weight = ((source >= 0) & (source < count)).where(weight, 0.0).reshape([-1] + [1] * (rank - place - 1))
        share = x.gather(source.op("Max", 0).op("Min", count - 1), place) * weight
        made, weights = (share, weight) if made is None or weights is None else (made + share, weights + weight)
    assert made is not None
    return made / weights


def by_matrices(x: Term, sizes: Sequence[Size], wanted: Sequence[int], interpolation: str, antialias: bool) -> Term:
    """Rows and columns, the last two axes, resized by products with matrices.

    Args:
        x: Images.
        sizes: How many rows and columns they have.
        wanted: How many they are to have.
        interpolation: As Keras names it.
        antialias: Whether what is made smaller is smoothed first.
    """
    rows, columns = (
        _matrix(x, size, target, interpolation, antialias, axis)
        for axis, (size, target) in enumerate(zip(sizes, wanted, strict=True))
    )
    x = x if rows is None else rows.matmul(x)
    return x if columns is None else x.matmul(columns)


def _matrix(x: Term, size: Size, wanted: int, interpolation: str, antialias: bool, axis: int) -> Term | None:
    """What rows are multiplied by from the left (axis 0), or columns from the right (1); ``None`` if they stay."""
    if isinstance(size, str):
        return _computed_weights(x, size, wanted, interpolation, antialias, axis).to(x.dtype)
    weights = _weights(size, wanted, interpolation, antialias)
    return None if weights is None else x.other(np.asarray(weights.T if axis else weights))


_LOBES = {"lanczos3": 3.0, "lanczos5": 5.0}
"""How far from a position interpolations by waves look."""
_STEPS = 1024
"""TensorFlow looks the weights of bicubic interpolation up in a table with so many places per position."""


def _computed_weights(x: Term, size: str, wanted: int, interpolation: str, antialias: bool, axis: int) -> Term:
    """The weights with which positions of an axis of unknown size make a known number of others.

    As TensorFlow and JAX have them: a function of the distance, 1 in all. Smoothing spreads it over more positions. By
    area (TensorFlow alone), what two positions have in common.

    Args:
        x: Images.
        size: How many positions there are.
        wanted: How many there are to be.
        interpolation: As Keras names it.
        antialias: Whether what is made smaller is smoothed first.
        axis: Along which axis of the result those stand that are to be.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax") or (interpolation == "area" and backend == "jax"):
        raise CannotTell(f"{interpolation} interpolation of images whose size is unknown")
    call = x.call
    middles = counted(call, size).to("float32") + 0.5
    ratio = Term(call, size, "int64").to("float32") / float(wanted)
    places = ratio * (np.arange(wanted, dtype=np.float32) + np.float32(0.5))
    if backend == "tensorflow" and interpolation == "bicubic" and not antialias:
        places = ((places - 0.5) * float(_STEPS)).op("Round") * (1 / _STEPS) + 0.5
    middles, places = middles.unsqueeze(axis), places.unsqueeze(1 - axis)
    apart = (middles - places).op("Abs")
    apart = apart / ratio.op("Max", 1.0) if antialias else apart
    if interpolation == "area":
        half = ratio * 0.5
        ends = (middles + 0.5).op("Min", places + half) - (middles - 0.5).op("Max", places - half)
        weights = ends.op("Relu")
    elif interpolation == "bilinear":
        weights = (1.0 - apart).op("Relu")
    elif interpolation == "bicubic":
        near = ((apart * 1.5 - 2.5) * apart) * apart + 1.0
        far = ((apart * -0.5 + 2.5) * apart - 4.0) * apart + 2.0
        weights = (apart < 1.0).where(near, (apart < 2.0).where(far, 0.0))
    else:
        reach, turn = _LOBES[interpolation], apart * float(np.pi)
        waves = turn.op("Sin") * (turn / reach).op("Sin") * reach / (turn * turn).op("Max", 1e-9)
        weights = (apart > reach).where(apart.other(0.0), (apart <= 1e-3).where(apart.other(1.0), waves))
    return weights / weights.reduce("ReduceSum", [1 - axis])


def _weights(size: int, wanted: int, interpolation: str, antialias: bool) -> Any:
    if size == wanted:
        return None
    unit = np.eye(size, dtype="float32")[None, :, :, None]
    made = keras.ops.image.resize(
        unit, (wanted, size), interpolation=interpolation, antialias=antialias, data_format="channels_last"
    )
    return keras.ops.convert_to_numpy(made)[0, :, :, 0]


def write_resized(
    call: OnnxCall,
    size: Sequence[int],
    interpolation: str,
    *,
    antialias: bool = False,
    crops: bool = False,
    pads: bool = False,
    filling: float = 0.0,
    rounds: bool = False,
) -> None:
    """Write images in another size.

    Args:
        call: The call; channels are where its config has them.
        size: Rows and columns.
        interpolation: As Keras names it.
        antialias: Whether what is made smaller is smoothed first.
        crops: Whether the images are cropped to the wanted ratio of sides first.
        pads: Whether they are padded to it.
        filling: With what.
        rounds: Whether what is made of whole numbers is rounded to such, within the range of their type.
    """
    operand = call.input
    order = images_first(call.config, operand.rank)
    whole = "float" not in operand.dtype and interpolation != "nearest"
    if whole and not rounds:
        raise CannotTell(f"Keras interpolates between {operand.dtype} in another type than it says")
    x = term(call, operand, order, call.output.dtype)
    place = len(order) - 2
    own = [call.size(operand, axis) for axis in order[place:]]
    if crops or pads:
        x, own = _to_ratio(x, place, own, size, crops, filling)
    made = _resized(x, operand, order, own, [int(each) for each in size], interpolation, antialias)
    if whole:
        bounds = np.iinfo(operand.dtype)
        made = made.op("Round").op("Max", float(bounds.min)).op("Min", float(bounds.max))
    give(call, made, order)


def _to_ratio(
    x: Term, place: int, own: Sequence[Size], size: Sequence[int], crops: bool, filling: float
) -> tuple[Term, list[Size]]:
    height, width = own
    if isinstance(height, str) or isinstance(width, str):
        return _to_open_ratio(x, place, own, size, crops, filling)
    rows, columns = int(np.float32(width * size[0]) / size[1]), int(np.float32(height * size[1]) / size[0])
    if crops:
        rows, columns = max(min(height, rows), 1), max(min(width, columns), 1)
        top, left = int((height - rows) / 2), int((width - columns) / 2)
        x = x.slice(place, top, top + rows) if rows < height else x
        return (x.slice(place + 1, left, left + columns) if columns < width else x), [rows, columns]
    rows, columns = max(height, rows), max(width, columns)
    top, left = int((rows - height) / 2), int((columns - width) / 2)
    # Both sides are filled alike, so that the result may be one smaller than it should be.
    amounts = [0] * place + [top, left]
    name = x.call.op("Pad", x.name, x.call.integers(*amounts, *amounts), x.other(filling).name)
    return x.named(name), [height + 2 * top, width + 2 * left]


def _to_open_ratio(
    x: Term, place: int, own: Sequence[Size], size: Sequence[int], crops: bool, filling: float
) -> tuple[Term, list[Size]]:
    """The same where sizes are unknown."""
    call = x.call
    names = (call.integers(each) if isinstance(each, int) else each for each in own)
    height, width = have = [Term(call, name, "int64").to("int32") for name in names]
    rows = ((width * size[0]).to("float32") / float(size[1])).to("int32")
    columns = ((height * size[1]).to("float32") / float(size[0])).to("int32")
    if crops:
        wanted = [each.op("Min", most).op("Max", 1) for each, most in zip((rows, columns), have, strict=True)]
        for axis, (all_of, some) in enumerate(zip(have, wanted, strict=True), place):
            inside = counted(call, some.to("int64").name).to("int32")
            x = x.gather((all_of - some) / 2 + inside, axis)
        return x, [each.to("int64").name for each in wanted]
    beside = [(each.op("Max", least) - least) / 2 for each, least in zip((rows, columns), have, strict=True)]
    front = [Term(call, call.integers(*[0] * place), "int64"), *(each.to("int64") for each in beside)]
    padded = call.op("Pad", x.name, concat([*front, *front], 0).name, x.other(filling).name)
    return x.named(padded), [(each + by * 2).to("int64").name for each, by in zip(have, beside, strict=True)]


def _resized(
    x: Term,
    operand: Tensor,
    order: Order,
    own: Sequence[Size],
    size: Sequence[int],
    interpolation: str,
    antialias: bool,
) -> Term:
    call, place = x.call, len(order) - 2
    if list(own) == list(size):
        return x
    if interpolation == "nearest":
        for offset, (have, want) in enumerate(zip(own, size, strict=True)):
            middles = np.arange(want, dtype=np.float32) + np.float32(0.5)
            if isinstance(have, str):
                count = Term(call, have, "int64")
                step = count.to("float32") / np.float32(want)
                x = x.gather((step * middles).op("Floor").to("int64").op("Min", count - 1), place + offset)
            elif have != want:
                at = np.floor(middles * (np.float32(have) / np.float32(want))).astype(np.int64)
                x = x.gather(np.clip(at, 0, have - 1), place + offset)
        return x
    open_sizes = any(isinstance(each, str) for each in own)
    if interpolation != "bilinear" or antialias or not (_lies_well(operand, order) or open_sizes):
        return by_matrices(x, own, size, interpolation, antialias)
    outer = [call.size(operand, axis) for axis in order[:place]]
    if place == 1:
        x, outer = x.unsqueeze(0), [1, *outer]
    name = call.op(
        "Resize", x.name, None, None, call.exact_shape([*outer, *size]), mode="linear", **_interpolating("bilinear")
    )
    return x.named(name) if place == 2 else x.named(name).squeeze(0)


def write_adaptive(call: OnnxCall, takes: str, output_size: Any, order: Order) -> None:
    """Write pooling to a given number of positions, each over its share of the operand.

    Along every axis the windows have at most two sizes; poolings of both are gathered from, axis by axis.
    """
    operand = call.input
    wanted = [output_size] * (operand.rank - 2) if isinstance(output_size, int) else list(output_size)
    x = term(call, operand, order)
    for place, (axis, count) in enumerate(zip(order[2:], wanted, strict=True), 2):
        size = operand.shape[axis]
        if count is None or count == size:
            continue
        if size is None:
            x = _open_shares(x, takes, place, str(call.size(operand, axis)), count)
            continue
        starts = [index * size // count for index in range(count)]
        reaches = [-(-(index + 1) * size // count) - start for index, start in enumerate(starts)]
        x = _shares(x, takes, place, len(order), starts, reaches)
    give(call, x, order)


def _open_shares(x: Term, takes: str, place: int, size: str, count: int) -> Term:
    """The means or maxima of the shares of an axis of unknown size: every position counts in its shares."""
    call, numbers = x.call, np.arange(count)
    long = Term(call, size, "int64").to("int32")
    starts, ends = (long * numbers) / count, (long * (numbers + 1) + (count - 1)) / count
    at = counted(call, size).to("int32").unsqueeze(1)
    inside = (at >= starts) & (at < ends)  # (positions, shares)
    rank = len(call.input.shape)
    order = [*(axis for axis in range(rank) if axis != place), place]
    turned = x.transpose(order)
    if takes == "max":
        made = inside.where(turned.unsqueeze(rank), -np.inf).reduce("ReduceMax", [rank - 1], keepdims=False)
    else:
        made = turned.matmul(inside.to(x.dtype) / (ends - starts).to(x.dtype))
    return made.transpose([order.index(axis) for axis in range(rank)])


def _shares(x: Term, takes: str, place: int, rank: int, starts: Sequence[int], reaches: Sequence[int]) -> Term:
    kind, shape = "MaxPool" if takes == "max" else "AveragePool", [1] * (rank - 2)
    if len(set(reaches)) == 1 and len(set(np.diff(starts).tolist())) <= 1:
        step = starts[1] - starts[0] if len(starts) > 1 else 1
        window = [reaches[0] if place == axis else 1 for axis in range(2, rank)]
        strides = [step if place == axis else 1 for axis in range(2, rank)]
        return x.op(kind, kernel_shape=window, strides=strides)
    pools, first, offset = [], {}, 0
    for reach in sorted(set(reaches)):
        window = [reach if place == axis else 1 for axis in range(2, rank)]
        pools.append(x.op(kind, kernel_shape=window, strides=shape))
        first[reach] = offset
        offset += starts[-1] + reaches[-1] - reach + 1
    at = [first[reach] + start for start, reach in zip(starts, reaches, strict=True)]
    return concat(pools, place).gather(at, place)
