"""Activations written to ONNX: what a layer ends in, and activations as layers and ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_reductions import log_sum_exp, sorted_along
from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order

Write = Callable[[OnnxCall, str, Mapping[str, Any], Order], str]


def write_activation(call: OnnxCall, entry: Any, name: str, order: Order) -> str:
    """Write an activation as a config names it.

    Args:
        call: The call that ends in it.
        entry: The config's entry: a name, or a serialised layer or function.
        name: What is activated.
        order: Its order of axes.

    Raises:
        CannotTell: It is not one of Keras' own.
    """
    if entry is None:
        return name
    options: Mapping[str, Any] = {}
    if isinstance(entry, Mapping):
        if str(entry.get("module") or "keras").split(".")[0] not in ("keras", "builtins"):
            raise CannotTell(
                f"its activation {entry.get('registered_name') or entry.get('class_name')!r} is not Keras' own"
            )
        config = entry.get("config")
        options = config if isinstance(config, Mapping) else {}
        named = str(entry["class_name"])
        entry = config if named == "function" else entry["name"] if named == "op" else _LAYERS.get(named)
    if not isinstance(entry, str) or entry not in ACTIVATIONS:
        raise CannotTell(f"its activation {entry!r} is not known to the writer")
    return ACTIVATIONS[entry](call, name, options, order)


def _operator(kind: str, **attributes: Any) -> Write:
    return lambda call, x, options, order: call.op(kind, x, **attributes)


def _along_axis(kind: str) -> Write:
    def write(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
        axis = options.get("axis", -1)
        axes = [axis] if isinstance(axis, int) else list(range(len(order)) if axis is None else axis)
        places = [order.index(each % len(order)) for each in axes]
        if len(places) == 1:
            return call.op(kind, x, axis=places[0])
        made = Term(call, x, call.float)
        shifted = made - log_sum_exp({}, made, places, True)
        return (shifted if kind == "LogSoftmax" else shifted.op("Exp")).name

    return write


def _formula(formula: Callable[[Term, Mapping[str, Any]], Term]) -> Write:
    return lambda call, x, options, order: formula(Term(call, x, call.float), options).name


def _sparse_max(call: OnnxCall, name: str, options: Mapping[str, Any], order: Order) -> str:
    axis = int(options.get("axis", -1)) % len(order)
    place, size = order.index(axis), call.output.shape[axis]
    if size is None:
        raise CannotTell("the size of its axis is unknown")
    x = Term(call, name, call.float)
    ordered, _ = sorted_along(x, place, size, largest=True)
    summed = ordered.op("CumSum", ordered.named(call.constant(place, "int64")))
    count = np.arange(1, size + 1).reshape([-1 if axis == place else 1 for axis in range(len(order))])
    support = (ordered - (summed - 1.0) / count) > 0.0
    total = support.where(summed, 0.0).reduce("ReduceSum", [place])  # Keras adds up the sums of all in the support
    return (x - (total - 1.0) / support.to(x.dtype).reduce("ReduceSum", [place])).op("Relu").name


def _threshold(x: Term, options: Mapping[str, Any]) -> Term:
    return (x > float(options["threshold"])).where(x, float(options["default_value"]))


def _sparse_plus(x: Term, options: Mapping[str, Any]) -> Term:
    raised = x + 1.0
    return (x >= 1.0).where(x, (x <= -1.0).where(0.0, raised * raised * 0.25))


def _clip(call: OnnxCall, x: str, low: float | None, high: float | None) -> str:
    return call.op(
        "Clip", x, None if low is None else call.constant(low), None if high is None else call.constant(high)
    )


def _relu(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    slope = options.get("negative_slope") or 0.0
    high, threshold = options.get("max_value"), options.get("threshold") or 0.0
    if not threshold and not slope:
        return call.op("Relu", x) if high is None else _clip(call, x, 0.0, float(high))
    if not threshold:
        y = call.op("LeakyRelu", x, alpha=float(slope))
        return y if high is None else _clip(call, y, None, float(high))
    above = call.op("GreaterOrEqual", x, call.constant(threshold))
    below = call.op("Mul", call.op("Sub", x, call.constant(threshold)), call.constant(slope))
    y = call.op("Where", above, x, below)
    return y if high is None else _clip(call, y, None, float(high))


def _silu(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    if call.opset >= 24:
        return call.op("Swish", x)
    return call.op("Mul", x, call.op("Sigmoid", x))


def _gelu(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    approximate = bool(options.get("approximate", False))
    if call.opset >= 20:
        return call.op("Gelu", x, approximate="tanh" if approximate else "none")
    if approximate:
        cubed = call.op("Mul", call.op("Mul", x, x), x)
        inner = call.op("Add", x, call.op("Mul", cubed, call.constant(0.044715)))
        gate = call.op("Tanh", call.op("Mul", inner, call.constant(sqrt(2 / 3.141592653589793))))
    else:
        gate = call.op("Erf", call.op("Div", x, call.constant(sqrt(2))))
    return call.op("Mul", call.op("Mul", x, call.op("Add", gate, call.constant(1.0))), call.constant(0.5))


def _hard_silu(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    if call.opset >= 14:
        return call.op("HardSwish", x)
    return call.op("Mul", x, call.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def _mish(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    if call.opset >= 18:
        return call.op("Mish", x)
    return call.op("Mul", x, call.op("Tanh", call.op("Softplus", x)))


def _leaky_relu(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    return call.op("LeakyRelu", x, alpha=float(options.get("negative_slope", 0.2)))


def _alpha(kind: str) -> Write:
    return lambda call, x, options, order: call.op(kind, x, alpha=float(options.get("alpha", 1.0)))


def _same(call: OnnxCall, x: str, options: Mapping[str, Any], order: Order) -> str:
    return x


ACTIVATIONS: Mapping[str, Write] = {
    "linear": _same,
    "relu": _relu,
    "relu6": lambda call, x, options, order: _clip(call, x, 0.0, 6.0),
    "sigmoid": _operator("Sigmoid"),
    "tanh": _operator("Tanh"),
    "softmax": _along_axis("Softmax"),
    "log_softmax": _along_axis("LogSoftmax"),
    "softplus": _operator("Softplus"),
    "softsign": _operator("Softsign"),
    "exponential": _operator("Exp"),
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "mish": _mish,
    "elu": _alpha("Elu"),
    "celu": _alpha("Celu"),
    "selu": _operator("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "leaky_relu": _leaky_relu,
    "hard_sigmoid": _operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "sparsemax": _sparse_max,
    "hard_shrink": lambda call, x, options, order: call.op("Shrink", x, lambd=float(options.get("threshold", 0.5))),
    "soft_shrink": lambda call, x, options, order: call.op(
        "Shrink", x, lambd=float(options.get("threshold", 0.5)), bias=float(options.get("threshold", 0.5))
    ),
    "tanh_shrink": _formula(lambda x, options: x - x.op("Tanh")),
    "threshold": _formula(_threshold),
    "log_sigmoid": _formula(lambda x, options: -(-x).op("Softplus")),
    "sparse_plus": _formula(_sparse_plus),
    "sparse_sigmoid": _formula(lambda x, options: ((x + 1.0) * 0.5).op("Max", 0.0).op("Min", 1.0)),
    "squareplus": _formula(lambda x, options: (x + (x * x + float(options.get("b", 4))).op("Sqrt")) * 0.5),
    "hard_tanh": lambda call, x, options, order: _clip(call, x, -1.0, 1.0),
}
"""Activations by the name that Keras has for them."""

_LAYERS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}
