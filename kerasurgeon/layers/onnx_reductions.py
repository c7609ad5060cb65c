"""Reductions, orders and cumulations written to ONNX, by the op's name."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_functions import is_nan
from kerasurgeon.layers.onnx_loops import loop
from kerasurgeon.layers.onnx_terms import Term, give, no, term, wide
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, Size, Tensor, natural

Write = Callable[[OnnxCall], None]
Reduce = Callable[[Mapping[str, Any], Term, Sequence[int], bool], Term]


def named(axis: Any, rank: int) -> list[int]:
    """The axes that a config names, ascending; all where it names none."""
    return sorted({int(own) % rank for own in np.atleast_1d(range(rank) if axis is None else axis)}) if rank else []


def remaining(order: Order, gone: Sequence[int]) -> Order:
    """The order of axes of what is left when some of Keras' axes are gone."""
    left = sorted(set(order) - set(gone))
    return tuple(left.index(axis) for axis in order if axis in left)


def reduction(*reduces: Reduce, key: str = "axis", compute: str | None = None) -> Write:
    """What writes a reduction over axes, in the order of axes that the operand has.

    Args:
        *reduces: One function per output, of the config, the operand, the places of the axes and whether they are kept.
        key: The entry of the config that names the axes.
        compute: The dtype to compute in; by default that of the output.
    """

    def write(call: OnnxCall) -> None:
        if len(call.inputs) > 1:
            raise CannotTell("it has several operands")
        rank, keeps = call.input.rank, bool(call.config.get("keepdims"))
        order, axes = call.input.order, named(call.config.get(key), rank)
        places = [order.index(axis) for axis in axes]
        for index, reduce in enumerate(reduces):
            dtype = call.outputs[index].dtype if compute in (None, "result") else str(compute)
            dtype = call.input.dtype if compute == "operand" else dtype
            x = term(call, call.input, order, wide(dtype) if dtype != "bool" else "bool")
            made = reduce(call.config, x, places, keeps)
            give(call, made, order if keeps else remaining(order, axes), index)

    return write


def _plain(kind: str) -> Reduce:
    def reduce(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
        x = x.to("int32") if x.dtype == "bool" else x  # no runtime compares truths
        return x.reduce(kind, axes, keepdims=keeps)

    return reduce


def _extremum(kind: str) -> Reduce:
    def reduce(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
        made = _plain(kind)(config, x, axes, keeps)
        initial = config.get("initial")
        return made if initial is None else made.op(kind.removeprefix("Reduce"), initial)

    return reduce


def _truth(kind: str) -> Reduce:
    return lambda config, x, axes, keeps: x.to("bool").to("int32").reduce(kind, axes, keepdims=keeps).to("bool")


def variance(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    """The mean of squared differences from the mean."""
    apart = x - x.reduce("ReduceMean", axes)
    return (apart * apart).reduce("ReduceMean", axes, keepdims=keeps)


def log_sum_exp(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    """The logarithm of a sum of exponentials, which do not overflow."""
    most = x.reduce("ReduceMax", axes)
    most = most.op("IsInf", dtype="bool").where(0.0, most)
    made = (x - most).op("Exp").reduce("ReduceSum", axes).op("Log") + most
    return made if keeps else made.squeeze(*axes)


def _counted(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    return x.to("bool").to("int32").reduce("ReduceSum", axes, keepdims=keeps)


def _numbers(x: Term, axes: Sequence[int], keeps: bool) -> Term:
    return (~is_nan(x)).to(x.dtype).reduce("ReduceSum", axes, keepdims=keeps)


def _without_nan(reduce: Reduce, instead: float) -> Reduce:
    def without(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
        if "float" not in x.dtype:
            return reduce(config, x, axes, keeps)
        made = reduce(config, is_nan(x).where(instead, x), axes, keeps)
        return made if np.isfinite(instead) else _numbers(x, axes, keeps).equals(0.0).where(np.nan, made)

    return without


def _nan_mean(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    return is_nan(x).where(0.0, x).reduce("ReduceSum", axes, keepdims=keeps) / _numbers(x, axes, keeps)


def _nan_variance(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    apart = x - _nan_mean(config, x, axes, True)
    return _nan_mean(config, apart * apart, axes, keeps)


def _norm(config: Mapping[str, Any], x: Term, axes: Sequence[int], keeps: bool) -> Term:
    order = config.get("ord")
    size = x.op("Abs")
    if order in (None, "fro") or (order == 2 and len(axes) == 1):
        return (x * x).reduce("ReduceSum", axes, keepdims=keeps).op("Sqrt")
    if len(axes) == 1:
        if order in (np.inf, -np.inf):
            return size.reduce("ReduceMax" if order > 0 else "ReduceMin", axes, keepdims=keeps)
        if order == 0:
            return (~x.equals(0.0)).to(x.dtype).reduce("ReduceSum", axes, keepdims=keeps)
        return size.op("Pow", float(order)).reduce("ReduceSum", axes, keepdims=keeps).op("Pow", 1 / float(order))
    given = [int(axis) for axis in np.atleast_1d(config["axis"] if config.get("axis") is not None else (0, 1))]
    if len(axes) != 2 or order not in (1, -1, np.inf, -np.inf):
        raise CannotTell(f"a norm of order {order!r} over {len(axes)} axes takes singular values")
    # Of order 1 the rows are summed and the columns compared, of infinite order the other way round.
    first_is_row = given[0] % len(x.call.input.shape) == min(each % len(x.call.input.shape) for each in given)
    row, column = (axes[0], axes[1]) if first_is_row else (axes[1], axes[0])
    summed, compared = (row, column) if abs(order) == 1 else (column, row)
    made = size.reduce("ReduceSum", [summed]).reduce("ReduceMax" if order > 0 else "ReduceMin", [compared])
    return made if keeps else made.squeeze(*sorted(axes))


def _average(call: OnnxCall) -> None:
    weights = call.as_tensor(call.operand(1, "weights"))
    if weights is None:
        return reduction(_plain("ReduceMean"))(call)
    order, rank, dtype = call.input.order, call.input.rank, call.output.dtype
    axes = named(call.config.get("axis"), rank)
    if weights.rank != rank and (weights.rank != 1 or len(axes) != 1):
        raise CannotTell("its weights have other axes than its operand")
    x = term(call, call.input, order, dtype)
    if weights.rank == rank:
        weight = term(call, weights, order, dtype)
    else:
        shape = [-1 if axis in axes else 1 for axis in order]
        weight = term(call, weights, None, dtype).reshape(shape)
    places = [order.index(axis) for axis in axes]
    made = (x * weight).reduce("ReduceSum", places) / weight.reduce("ReduceSum", places)
    give(call, made.squeeze(*sorted(places)), remaining(order, axes))


def along_axis(call: OnnxCall, axis: Any = -1) -> tuple[Term, Order, int, int]:
    """The operand of an op along an axis: itself, the order of its axes, the axis's place, and which axis it is.

    Without an axis, the operand is flattened.
    """
    operand, dtype = call.input, wide(call.input.dtype)
    if axis is None or not operand.rank:
        return term(call, operand, None, dtype).reshape([-1]), (0,), 0, 0
    own = int(axis) % operand.rank
    return term(call, operand, operand.order, dtype), operand.order, operand.order.index(own), own


def _arg(kind: str, *, skips_nan: bool = False) -> Write:
    def write(call: OnnxCall) -> None:
        axis, keeps = call.config.get("axis"), bool(call.config.get("keepdims"))
        x, order, place, own = along_axis(call, axis)
        if skips_nan and "float" in x.dtype:
            numbers = _numbers(x, [place], keeps)
            x = is_nan(x).where(-np.inf if kind == "ArgMax" else np.inf, x)
        made = x.op(kind, axis=place, keepdims=int(keeps), dtype="int64")
        if skips_nan and "float" in x.dtype:
            made = numbers.equals(0.0).where(made.other(-1), made)
        if axis is None:
            made, order = made.reshape([1] * len(call.output.shape)), natural(len(call.output.shape))
        elif not keeps:
            order = remaining(order, [own])
        give(call, made, order)

    return write


def sorted_along(x: Term, place: int, size: Any, *, largest: bool = False, in_order: bool = True) -> tuple[Term, Term]:
    """The first elements along an axis in order, and where they were."""
    names = x.call.ops(
        "TopK", x.name, x.call.exact_shape([size]), outputs=2, axis=place, largest=int(largest), sorted=int(in_order)
    )
    return x.named(names[0]), x.named(names[1], "int64")


def _sort(which: int) -> Write:
    def write(call: OnnxCall) -> None:
        axis = call.config.get("axis", -1)
        x, order, place, own = along_axis(call, axis)
        flat = axis is None or not call.input.rank
        size = call.size(call.input, own) if not flat else int(np.prod([_known(s) for s in call.input.shape]))
        give(call, sorted_along(x, place, size)[which], order)

    return write


def _known(size: int | None) -> int:
    if size is None:
        raise CannotTell("a size is unknown")
    return size


def _top_k(call: OnnxCall) -> None:
    x, order, place, _ = along_axis(call)
    pair = sorted_along(x, place, int(call.config["k"]), largest=True, in_order=bool(call.config.get("sorted", True)))
    for index, made in enumerate(pair):
        give(call, made, order, index)


def _cumulated(multiplies: bool, *, skips_nan: bool = False) -> Write:
    def write(call: OnnxCall) -> None:
        x, order, place, own = along_axis(call, call.config.get("axis"))
        x = x.to(wide(call.output.dtype))
        if skips_nan and "float" in x.dtype:
            x = is_nan(x).where(1.0 if multiplies else 0.0, x)
        if not multiplies:
            return give(call, x.op("CumSum", x.other(0).named(call.constant(place, "int64"))), order)
        flat = call.config.get("axis") is None
        if not flat and call.input.shape[own] is None:
            return give(call, _products(x, call.input, order, place), order)
        size = int(np.prod([_known(s) for s in call.input.shape])) if flat else _known(call.input.shape[own])
        step = 1
        while step < size:  # after every step, an element is the product of twice as many before it
            amounts = [step if axis == place else 0 for axis in range(len(order))] + [0] * len(order)
            shifted = x.slice(place, 0, -step)
            x = x * shifted.named(call.op("Pad", shifted.name, call.integers(*amounts), x.other(1).name))
            step *= 2
        return give(call, x, order)

    return write


def _products(x: Term, operand: Tensor, order: Order, place: int) -> Term:
    """Of every element along an axis of unknown size, the product with all before it: one after the other in a loop."""
    others = [axis for axis in range(len(order)) if axis != place]
    shape: list[int | None] = [operand.shape[order[axis]] for axis in others]
    sizes: list[Size] = [x.call.size(operand, order[axis]) for axis in others]
    turned = x.transpose([place, *others])
    if not others:  # what is carried from step to step has an axis
        turned, shape, sizes = turned.unsqueeze(1), [1], [1]

    def body(at: list[Term], before: list[Term]) -> tuple[list[Term], list[Term]]:
        product = before[0] * at[0]
        return [product], [product]

    ones = x.other(1).expand(sizes)
    _, (made,) = loop(body, [(ones, tuple(shape))], [(turned, tuple(shape))], [tuple(shape)])
    if not others:
        return made.squeeze(1)
    return made.transpose([([place, *others]).index(axis) for axis in range(len(order))])


def _difference(call: OnnxCall) -> None:
    x, order, place, _ = along_axis(call, call.config.get("axis", -1))
    for _ in range(int(call.config.get("n", 1))):
        x = x.slice(place, 1, None) - x.slice(place, 0, -1)
    give(call, x, order)


def _quantiles(call: OnnxCall, q: Any, method: str) -> None:
    """Quantiles by sorting what is reduced, flattened to a last axis."""
    operand, rank = call.input, call.input.rank
    axes = named(call.config.get("axis"), rank)
    left = [axis for axis in range(rank) if axis not in axes]
    x = term(call, operand, (*left, *axes), call.output.dtype)
    if any(operand.shape[axis] is None for axis in axes) and method == "linear":
        own = [call.size(operand, axis) for axis in axes]
        several = [Term(call, call.exact_shape([each]), "int64") for each in own]
        x = x if len(axes) == 1 else x.reshape([*(call.size(operand, axis) for axis in left), -1])
        size = functools.reduce(operator.mul, several)
        x, _ = sorted_along(x, len(left), size.name)
        places = (size - 1).to("float32") * np.asarray(q, np.float32).reshape(-1)
        before = places.op("Floor")
        first, second = (x.gather(each.to("int64"), len(left)) for each in (before, places.op("Ceil")))
        made = first + (second - first) * (places - before).to(x.dtype)
        return _give_quantiles(call, made, np.ndim(q) > 0, axes)
    count = int(np.prod([_known(operand.shape[axis]) for axis in axes]))
    x = x.reshape([*(call.size(operand, axis) for axis in left), count])
    x, _ = sorted_along(x, len(left), count)
    at = np.asarray(q, np.float64) * (count - 1)
    low, high = np.floor(at).astype(np.int64), np.ceil(at).astype(np.int64)
    if method == "nearest":
        low = high = np.round(at).astype(np.int64)
    share = {
        "linear": at - low,
        "lower": 0 * at,
        "higher": 0 * at + 1,
        "midpoint": 0.5 * (high > low),
        "nearest": 0 * at,
    }
    if method not in share:
        raise CannotTell(f"its method is {method!r}")
    first, second = x.gather(low.reshape(-1), len(left)), x.gather(high.reshape(-1), len(left))
    made = first + (second - first) * share[method].reshape(-1)
    return _give_quantiles(call, made, at.ndim > 0, axes)


def _give_quantiles(call: OnnxCall, made: Term, several: bool, axes: Sequence[int]) -> None:
    """Say that quantiles are the output; they stand along the last axis.

    Args:
        call: The call.
        made: The quantiles.
        several: Whether they have an axis, which is the output's first.
        axes: What they are taken over.
    """
    operand, rank = call.input, call.input.rank
    left = rank - len(axes)
    turned = made.transpose((left, *range(left)))
    if call.config.get("keepdims"):
        sizes: list[Size] = [1 if axis in axes else call.size(operand, axis) for axis in range(rank)]
        made = turned.reshape([int(call.output.shape[0] or 0), *sizes] if several else sizes)
    else:
        made = turned if several else made.squeeze(left)
    give(call, made)


def _quantile(per: float) -> Write:
    def write(call: OnnxCall) -> None:
        q = call.as_tensor(call.operand(1, "q"), "float64")
        if q is None or q.array is None or q.rank > 1:
            raise CannotTell("its quantiles are computed")
        if call.kind == "ops.quantile" and call.config.get("method", "linear") != "linear":
            raise CannotTell("Keras takes another method than it is told when it runs a model")
        _quantiles(call, np.asarray(q.array, np.float64) / per, call.config.get("method", "linear"))

    return write


REDUCTIONS: Mapping[str, Write] = {
    "sum": reduction(_plain("ReduceSum")),
    "mean": reduction(_plain("ReduceMean")),
    "prod": reduction(_plain("ReduceProd")),
    **{name: reduction(_extremum("ReduceMax")) for name in ("max", "amax")},
    **{name: reduction(_extremum("ReduceMin")) for name in ("min", "amin")},
    "any": reduction(_truth("ReduceMax"), compute="operand"),
    "all": reduction(_truth("ReduceMin"), compute="operand"),
    "average": _average,
    "var": reduction(variance),
    "std": reduction(lambda *about: variance(*about).op("Sqrt")),
    "moments": reduction(_plain("ReduceMean"), variance, key="axes"),
    "count_nonzero": reduction(_counted, compute="operand"),
    "logsumexp": reduction(log_sum_exp),
    "ptp": reduction(
        lambda config, x, axes, keeps: (
            x.reduce("ReduceMax", axes, keepdims=keeps) - x.reduce("ReduceMin", axes, keepdims=keeps)
        )
    ),
    "norm": reduction(_norm),
    "nansum": reduction(_without_nan(_plain("ReduceSum"), 0.0)),
    "nanprod": reduction(_without_nan(_plain("ReduceProd"), 1.0)),
    "nanmax": reduction(_without_nan(_plain("ReduceMax"), -np.inf)),
    "nanmin": reduction(_without_nan(_plain("ReduceMin"), np.inf)),
    "nanmean": reduction(_nan_mean),
    "nanvar": reduction(_nan_variance),
    "nanstd": reduction(lambda *about: _nan_variance(*about).op("Sqrt")),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "nanargmax": _arg("ArgMax", skips_nan=True),
    "nanargmin": _arg("ArgMin", skips_nan=True),
    "sort": _sort(0),
    "argsort": _sort(1),
    "top_k": _top_k,
    "cumsum": _cumulated(False),
    "nancumsum": _cumulated(False, skips_nan=True),
    "cumprod": _cumulated(True),
    "nancumprod": _cumulated(True, skips_nan=True),
    "diff": _difference,
    "median": lambda call: _quantiles(call, 0.5, "linear"),
    "quantile": _quantile(1.0),
    "percentile": _quantile(100.0),
    "argpartition": no("in which order argpartition gives positions is not said"),
    **{
        name: no("ONNX cannot sort around elements that are no numbers")
        for name in ("nanmedian", "nanquantile", "nanpercentile")
    },
}
"""How an op is written, by its name without ``ops.``."""
