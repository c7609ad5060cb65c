"""Ops of many sorts written to ONNX, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_functions import Write, is_close, log1p
from kerasurgeon.layers.onnx_moving import flattened_or_not, size_known
from kerasurgeon.layers.onnx_reductions import REDUCTIONS
from kerasurgeon.layers.onnx_resizing import images_first
from kerasurgeon.layers.onnx_selecting import (
    write_diagonal,
    write_one_hot,
    write_scattered,
    write_segments,
    write_slice_update,
    write_triangle,
)
from kerasurgeon.layers.onnx_terms import Term, common_dtype, concat, elementwise, give, no, term, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall


def _cast(call: OnnxCall) -> None:
    order = call.input.order
    call.give(call.read(call.input, order, call.output.dtype), order)


def _all_close(call: OnnxCall) -> None:
    one, two = call.tensor(0, "x1"), call.tensor(1, "x2")
    dtype, config = wide(common_dtype(call)), call.config
    x, y = term(call, one, None, dtype), term(call, two, None, dtype)
    close = is_close(config, x, y, config.get("rtol", 1e-5), config.get("atol", 1e-8)).to("int32")
    give(call, close.reshape([-1]).reduce("ReduceMin", [0], keepdims=False).to("bool"))


def _outer(call: OnnxCall) -> None:
    dtype = wide(call.output.dtype)
    one, two = (term(call, call.tensor(place, f"x{place + 1}"), None, dtype) for place in (0, 1))
    give(call, one.reshape([-1, 1]) * two.reshape([1, -1]))


def _kron(call: OnnxCall) -> None:
    one, two, dtype = call.tensor(0, "x1"), call.tensor(1, "x2"), wide(call.output.dtype)
    if one.rank != two.rank:
        raise CannotTell("its operands have different numbers of axes")
    x = term(call, one, None, dtype).unsqueeze(*range(1, 2 * one.rank, 2))
    y = term(call, two, None, dtype).unsqueeze(*range(0, 2 * one.rank, 2))
    sizes: list[Any] = [-1 if size is None else size for size in call.output.shape]
    give(call, (x * y).reshape(sizes))


def _cross(call: OnnxCall) -> None:
    config, dtype = call.config, wide(call.output.dtype)
    axes = [
        config.get(key, -1) if config.get("axis") is None else config["axis"] for key in ("axisa", "axisb", "axisc")
    ]
    parts = []
    for place in (0, 1):
        operand = call.tensor(place, f"x{place + 1}")
        axis, size = int(axes[place]) % operand.rank, operand.shape[axes[place]]
        order = (*(own for own in range(operand.rank) if own != axis), axis)
        pieces = term(call, operand, order, dtype).split(operand.rank - 1, [1] * size_known(size))
        parts.append(pieces)
    (a, b, *depth), (d, e, *other_depth) = parts
    if not depth and not other_depth:
        return give(call, (a * e - b * d).squeeze(-1))
    c, f = (each[0] if each else a * 0 for each in (depth, other_depth))
    made = concat([b * f - c * e, c * d - a * f, a * e - b * d], -1)
    rank = len(call.output.shape)
    axis = int(axes[2]) % rank
    return give(call, made, (*(own for own in range(rank) if own != axis), axis))


def _between(call: OnnxCall, curve: Callable[[Term, Mapping[str, Any]], Term] | None = None) -> None:
    """Numbers from one to another at equal steps."""
    config = call.config
    if config.get("retstep"):
        raise CannotTell("it gives the step too")
    number, axis = int(config.get("num", 50)), int(config.get("axis", 0))
    start, stop = call.tensor(0, "start"), call.tensor(1, "stop")
    rank = len(call.output.shape)
    dtype = call.output.dtype if "float" in call.output.dtype else "float32"
    one, two = (term(call, operand, None, dtype) for operand in (start, stop))
    if curve is _geometric:
        one, two = one.op("Log"), two.op("Log")
    share = np.linspace(0.0, 1.0, number, endpoint=bool(config.get("endpoint", True)))
    share = share.reshape([-1 if place == axis % rank else 1 for place in range(rank)])
    apart = two - one
    spread = [
        value.unsqueeze(axis % rank) if rank - 1 == len(operand.shape) else value
        for value, operand in ((one, start), (apart, stop))
    ]
    made = spread[0] + spread[1] * share
    give(call, made if curve is None else curve(made, config))


def _powers(x: Term, config: Mapping[str, Any]) -> Term:
    return x.other(float(config.get("base", 10))).op("Pow", x)


def _geometric(x: Term, config: Mapping[str, Any]) -> Term:
    return x.op("Exp")


def _mesh(call: OnnxCall) -> None:
    rank = len(call.inputs)
    if any(operand.rank != 1 for operand in call.inputs):
        raise CannotTell("an operand is no vector")
    swapped = call.config.get("indexing", "xy") == "xy" and rank > 1
    places = [1, 0, *range(2, rank)] if swapped else list(range(rank))
    sizes: list[Any] = [None] * rank
    for operand, place in zip(call.inputs, places, strict=True):
        sizes[place] = call.size(operand, 0)
    for index, (operand, place) in enumerate(zip(call.inputs, places, strict=True)):
        shape = [-1 if own == place else 1 for own in range(rank)]
        give(call, term(call, operand).reshape(shape).expand(sizes), index=index)


def _rot90(call: OnnxCall) -> None:
    one, two = (int(axis) % call.input.rank for axis in call.config.get("axes", (0, 1)))
    turns, order = int(call.config.get("k", 1)) % 4, list(range(call.input.rank))
    x = term(call, call.input)
    if turns in (1, 3):
        order[one], order[two] = order[two], order[one]
    if turns == 1:
        x = x.slice(two, -1, None, -1).transpose(order)
    elif turns == 2:
        x = x.slice(one, -1, None, -1).slice(two, -1, None, -1)
    elif turns == 3:
        x = x.transpose(order).slice(two, -1, None, -1)
    if tuple(call.input.shape[axis] for axis in order) != call.output.shape:
        raise CannotTell("Keras tells another shape of its result than the result has")
    give(call, x)


def _search(call: OnnxCall) -> None:
    bounds, values = call.tensor(0, "sorted_sequence"), call.tensor(1, "values")
    dtype = wide(common_dtype(call))
    x = term(call, values, values.order, dtype).unsqueeze(values.rank)
    limits = term(call, bounds, None, dtype)
    passed = x > limits if call.config.get("side", "left") == "left" else x >= limits
    give(call, passed.to("int32").reduce("ReduceSum", [values.rank], keepdims=False), values.order)


def _select(call: OnnxCall) -> None:
    conditions, choices, dtype = call.operand(0, "condlist"), call.operand(1, "choicelist"), call.output.dtype
    default = call.as_tensor(call.operand(2, "default", 0), dtype)
    tensors = [call.as_tensor(each) for each in (*conditions, *choices)]
    if default is None or any(each is None for each in tensors):
        raise CannotTell("what it chooses from is no tensor")
    order = call.best_order(*(each for each in tensors if each is not None))
    made = Term(call, call.aligned(default, order, dtype), dtype)
    half = len(conditions)
    for condition, choice in reversed(list(zip(tensors[:half], tensors[half:], strict=True))):
        assert condition is not None
        assert choice is not None
        chosen = Term(call, call.aligned(condition, order, "bool"), "bool")
        made = chosen.where(Term(call, call.aligned(choice, order, dtype), dtype), made)
    give(call, made, order)


def _size(call: OnnxCall) -> None:
    give(call, Term(call, call.op("Size", call.read(call.input, call.input.order)), "int64"))


def _trapezoid(call: OnnxCall) -> None:
    axis, order = int(call.config.get("axis", -1)) % call.input.rank, call.input.order
    place, y = order.index(axis), term(call, call.input, order, call.output.dtype)
    given = call.config.get("x")
    if given is not None:
        steps = np.diff(np.asarray(given))
        if steps.ndim != 1:
            raise CannotTell("its positions have several axes")
        step: Any = (0.5 * steps).reshape([-1 if own == place else 1 for own in range(len(order))])
    else:
        step = 0.5 * float(call.config.get("dx", 1.0))
    made = (y.slice(place, 1, None) + y.slice(place, 0, -1)) * step
    left = [own for own in range(len(order)) if own != axis]
    give(
        call, made.reduce("ReduceSum", [place], keepdims=False), tuple(left.index(own) for own in order if own != axis)
    )


def _vander(call: OnnxCall) -> None:
    count = call.config.get("N")
    count = size_known(call.input.shape[0]) if count is None else int(count)
    powers = np.arange(count) if call.config.get("increasing") else np.arange(count)[::-1]
    x = term(call, call.input, None, "float32").unsqueeze(1)
    give(call, x.op("Pow", powers.astype(np.float32)))


def _full(call: OnnxCall) -> None:
    value = call.as_tensor(call.operand(0, "fill_value"), call.output.dtype)
    if value is None:
        raise CannotTell("what it fills with is no tensor")
    sizes = [int(size) for size in np.atleast_1d(call.config["shape"])]
    if tuple(sizes) != call.output.shape:
        raise CannotTell("Keras tells another shape of its result than the result has")
    give(call, term(call, value, None, call.output.dtype).expand(sizes))


def _sequences(call: OnnxCall) -> None:
    length, stride = int(call.config["sequence_length"]), int(call.config["sequence_stride"])
    last = call.input.rank - 1
    starts = np.arange(0, size_known(call.input.shape[last]) - length + 1, stride)
    give(call, term(call, call.input).gather(starts[:, None] + np.arange(length), last))


_SHARES = frozenset(("SIGMOID", "SOFTMAX", "LOGISTIC"))
"""Operators that make probabilities, in both formats."""


def _scores(x: Term) -> Term | None:
    """What probabilities have been made of: Keras on TensorFlow computes with that, be it by a sigmoid or a softmax."""
    maker = next((each for each in reversed(x.call.parts.operators) if x.name in each.outputs), None)
    if keras.backend.backend() != "tensorflow" or maker is None or maker.kind.upper() not in _SHARES:
        return None
    return x.named(maker.inputs[0])


def _binary(config: Mapping[str, Any], target: Term, output: Term) -> Term:
    scores = _scores(output)
    output = output if scores is None else scores
    if config.get("from_logits") or scores is not None:
        return output.op("Max", 0.0) - output * target + log1p((-output.op("Abs")).op("Exp"))
    output = output.op("Max", 1e-7).op("Min", 1 - 1e-7)
    return -(target * output.op("Log") + (1.0 - target) * (1.0 - output).op("Log"))


def _crossentropy(call: OnnxCall) -> None:
    target, output = call.tensor(0, "target"), call.tensor(1, "output")
    axis, dtype = int(call.config.get("axis", -1)) % output.rank, call.output.dtype
    x = term(call, output, None, dtype)
    scores = _scores(x)
    x = x if scores is None else scores
    if call.config.get("from_logits") or scores is not None:
        logs = x.op("LogSoftmax", axis=axis)
    elif call.kind == "ops.sparse_categorical_crossentropy":
        logs = x.op("Max", 1e-7).op("Min", 1 - 1e-7).op("Log").op("LogSoftmax", axis=axis)
    else:
        shares = x / x.reduce("ReduceSum", [axis])
        logs = shares.op("Max", 1e-7).op("Min", 1 - 1e-7).op("Log")
    if call.kind == "ops.sparse_categorical_crossentropy":
        size = size_known(output.shape[axis])
        ids = term(call, target, None, "int64")
        ids = ids if target.rank == output.rank else ids.unsqueeze(target.rank)
        chosen = ids.equals(np.arange(size)).to(dtype)
    else:
        chosen = term(call, target, None, dtype)
    give(call, -(chosen * logs).reduce("ReduceSum", [axis], keepdims=False))


def _psnr(call: OnnxCall) -> None:
    one, two = (term(call, call.tensor(place, f"x{place + 1}"), None, call.output.dtype) for place in (0, 1))
    apart = (one - two).reshape([-1])
    mean = (apart * apart).reduce("ReduceMean", [0], keepdims=False)
    give(call, mean.op("Log") * (-10 / np.log(10)) + 20 * np.log10(float(call.config["max_val"])))


def _in_top_k(call: OnnxCall) -> None:
    targets, predictions = call.tensor(0, "targets"), call.tensor(1, "predictions")
    size = size_known(predictions.shape[-1])
    x = term(call, predictions, None, "float32")
    chosen = term(call, targets, None, "int64").unsqueeze(1)
    own = chosen.equals(np.arange(size)).where(x, 0.0).reduce("ReduceSum", [1])
    larger = (x > own).to("int32").reduce("ReduceSum", [1], keepdims=False)
    give(call, larger < int(call.config["k"]))


def _gray(call: OnnxCall) -> None:
    order = images_first(call.config, call.input.rank)
    place, dtype = len(order) - 3, call.output.dtype
    if call.input.shape[order[place]] == 1:
        return call.give_operand(call.input)
    x = term(call, call.input, order, dtype if "float" in dtype else "float32")
    shares = np.array([0.2989, 0.5870, 0.1140]).reshape(3, 1, 1)
    return give(call, (x * shares).reduce("ReduceSum", [place]), order)


def _to_hsv(call: OnnxCall) -> None:
    order = images_first(call.config, call.input.rank)
    place = len(order) - 3
    x = term(call, call.input, order, call.output.dtype)
    red, green, blue = x.split(place, [1, 1, 1])
    value = x.reduce("ReduceMax", [place])
    reach = value - x.reduce("ReduceMin", [place])
    saturation = (value > 0.0).where(reach / (value > 0.0).where(value, 1.0), 0.0)
    norm = 1.0 / ((reach > 0.0).where(reach, 1.0) * 6.0)
    of_green, of_blue = norm * (blue - red) + 2 / 6, norm * (red - green) + 4 / 6
    hue = red.equals(value).where(norm * (green - blue), green.equals(value).where(of_green, of_blue))
    hue = (reach > 0.0).where(hue, 0.0)
    give(call, concat([(hue < 0.0).where(hue + 1.0, hue), saturation, value], place), order)


def _to_rgb(call: OnnxCall) -> None:
    order = images_first(call.config, call.input.rank)
    place = len(order) - 3
    hue, saturation, value = term(call, call.input, order, call.output.dtype).split(place, [1, 1, 1])
    six = hue * 6.0
    shares = ((six - 3.0).op("Abs") - 1.0, 2.0 - (six - 2.0).op("Abs"), 2.0 - (six - 4.0).op("Abs"))
    parts = [((1.0 - saturation) + saturation * share.op("Max", 0.0).op("Min", 1.0)) * value for share in shares]
    give(call, concat(parts, place), order)


def _diagonal_matrix(call: OnnxCall) -> None:
    """A matrix with the operand along a diagonal; of ``diag``, the diagonal of a matrix."""
    offset = int(call.config.get("k", 0))
    if call.kind == "ops.diag" and call.input.rank == 2:
        rows, columns = (size_known(size) for size in call.input.shape)
        x = term(call, call.input, None, wide(call.output.dtype)).reshape([-1])
        at = [row * columns + row + offset for row in range(rows) if 0 <= row + offset < columns]
        return give(call, x.gather(np.asarray(at, np.int64), 0))
    x, _, _, size = flattened_or_not(call, None)
    count = size_known(size)
    side = count + abs(offset)
    mask = np.eye(side, k=offset, dtype=bool)
    x = x.to(wide(x.dtype))
    front = call.integers(max(-offset, 0), max(offset, 0))
    column = x.named(call.op("Pad", x.name, front)).unsqueeze(1)
    return give(call, Term(call, call.constant(mask, "bool"), "bool").where(column, 0))


_COMPLEX = no("ONNX has no complex numbers")
_BY_DATA = no("the shape of its result depends on the data")

OTHERS: Mapping[str, Write] = {
    "array": _cast,
    "convert_to_tensor": _cast,
    "allclose": _all_close,
    "outer": _outer,
    "kron": _kron,
    "cross": _cross,
    "linspace": _between,
    "logspace": lambda call: _between(call, _powers),
    "geomspace": lambda call: _between(call, _geometric),
    "meshgrid": _mesh,
    "rot90": _rot90,
    "searchsorted": _search,
    "select": _select,
    "size": _size,
    "trapezoid": _trapezoid,
    "vander": _vander,
    "unravel_index": no("what Keras gives depends on its backend"),
    "full": _full,
    "empty_like": elementwise(lambda config, x: x * 0),
    "extract_sequences": _sequences,
    "binary_crossentropy": elementwise(_binary),
    "categorical_crossentropy": _crossentropy,
    "sparse_categorical_crossentropy": _crossentropy,
    "psnr": _psnr,
    "in_top_k": _in_top_k,
    "rgb_to_grayscale": _gray,
    "rgb_to_hsv": _to_hsv,
    "hsv_to_rgb": _to_rgb,
    "diag": _diagonal_matrix,
    "diagflat": _diagonal_matrix,
    "diagonal": write_diagonal,
    "trace": write_diagonal,
    "tril": write_triangle,
    "triu": write_triangle,
    "one_hot": write_one_hot,
    "multi_hot": write_one_hot,
    "scatter": write_scattered,
    "scatter_update": write_scattered,
    **{f"segment_{kind}": write_segments for kind in ("sum", "max", "min", "prod")},
    "slice_update": write_slice_update,
    **{name: REDUCTIONS[name] for name in ("quantile", "percentile", "nanquantile", "nanpercentile")},
    "ndim": no("Keras gives a number in its place"),
    "view_as_complex": _COMPLEX,
    "view_as_real": _COMPLEX,
    "arange": _BY_DATA,
    "nonzero": _BY_DATA,
    "unique": _BY_DATA,
    "bincount": _BY_DATA,
    "histogram": no(
        "where the borders of a histogram are depends on the data, which Keras sorts into them its own way"
    ),
    "view": no("ONNX cannot read bits as those of another type"),
    "rearrange": no("it is computed by other ops"),
    "fold": no("ONNX adds up overlapping blocks from opset 18 on, in an order of its own"),
    "unfold": no("ONNX has no operator that gives blocks of an image"),
    "elastic_transform": no("it draws random numbers"),
    "map_coordinates": no("ONNX has no operator that interpolates at given coordinates as Keras does"),
    "scale_and_translate": no("ONNX has no operator that scales by numbers that are computed"),
}
"""How an op is written, by its name without ``ops.``."""
