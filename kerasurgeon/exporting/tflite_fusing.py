"""Fewer operators for the same: what stands before one, or behind it, becomes part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasurgeon.rules.onnx_parts import Array, Body, Operator, Parts
from kerasurgeon.rules.tflite_call import TfliteParts

FUSED = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Activations that other operators end in, by the schema's numbers."""
_FUSING = frozenset(
    ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D")
)
_BIASED = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
_REDUCING = frozenset(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"))


def absorb(parts: TfliteParts, results: Sequence[str]) -> None:
    """Let operators begin with what is done to their operands, where nothing else reads these.

    Products with constants become part of kernels and constants that follow, and dense layers regroup by themselves.
    """
    for scope, ends in parts.scopes(results):
        _absorb(scope, parts, ends)


def _absorb(scope: Parts | Body, parts: TfliteParts, results: Sequence[str]) -> None:
    readers = _readers(scope, results)
    makers = {name: operator for operator in scope.operators for name in operator.outputs}
    gone: set[str] = set()
    for operator in scope.operators:
        while True:
            own = next((name for name in operator.inputs if name not in parts.constants), None)
            maker = makers.get(own or "")
            if maker is None or readers[maker.outputs[0]] > 1 or not _begins(maker, operator, parts, readers):
                break
            gone.add(maker.outputs[0])
    scope.operators = [operator for operator in scope.operators if operator.outputs[0] not in gone]


def _begins(maker: Operator, operator: Operator, parts: TfliteParts, readers: Counter[str]) -> bool:
    """Let an operator do what another does to its first operand that is computed; whether it now does."""
    if maker.kind == "RESHAPE" and operator.kind == "FULLY_CONNECTED":
        return _regroups(maker, operator, parts)
    factor = _factor(maker, parts)
    if factor is None:
        return False
    source, numbers = factor
    if operator.kind == "MUL":
        own = _factor(operator, parts)
        product = None if own is None or maker.attributes else _whole(own[1], numbers)
        if product is None:
            return False
        operator.inputs = [source, parts.constant(product, f"{operator.name}/constant")]
        return True
    if operator.kind not in _BIASED or maker.outputs[0] != operator.inputs[0] or maker.attributes:
        return False
    name, made = operator.inputs[1], parts.shapes[maker.outputs[0]]
    kernel = parts.constants.get(name)
    if kernel is None or readers[name] > 1 or parts.shapes[source] != made:
        return False
    if numbers.size > 1 and (numbers.size != made[-1] or numbers.shape[-1] != made[-1]):
        return False
    flat = numbers.reshape(-1)
    if operator.kind == "DEPTHWISE_CONV_2D":
        flat = np.repeat(flat, operator.attributes["depthMultiplier"] if numbers.size > 1 else 1)
    elif numbers.size > 1 and kernel.shape[-1] != numbers.size:
        return False  # of groups, or of a matrix over several axes
    scaled = _whole(kernel, flat)
    if scaled is None:
        return False
    operator.inputs[0], operator.inputs[1] = source, parts.constant(scaled, f"{name}/scaled")
    parts.origins[operator.inputs[1]] = parts.origins.get(name, name)
    return True


def _regroups(maker: Operator, operator: Operator, parts: TfliteParts) -> bool:
    """Let a dense layer over one axis read what was reshaped for it; whether it now does."""
    made, source = maker.outputs[0], maker.inputs[0]
    matrix = parts.constants.get(operator.inputs[1])
    if operator.attributes["keepNumDims"] or matrix is None or len(parts.shapes[source]) < 2:
        return False
    if made != operator.inputs[0] or parts.shapes[made][-1] != matrix.shape[-1]:
        return False
    operator.inputs[0] = source
    return True


def _factor(operator: Operator, parts: TfliteParts) -> tuple[str, Array] | None:
    """What a product multiplies, and by which constant; ``None`` for any other operator."""
    if operator.kind != "MUL" or parts.types[operator.outputs[0]] != "float32":
        return None
    several = [
        (other, parts.constants[name])
        for name, other in zip(operator.inputs, operator.inputs[::-1], strict=True)
        if name in parts.constants
    ]
    return several[0] if len(several) == 1 else None


def _whole(one: Array, two: Array) -> Array | None:
    """A product of constants, if no number of it is too large or too small for float32."""
    with np.errstate(all="ignore"):
        product = np.asarray(one * two, np.float32)
    lost = (np.abs(product) < np.finfo(np.float32).tiny) & (one != 0) & (two != 0)
    return product if np.isfinite(product).all() and not lost.any() else None


def _readers(scope: Parts | Body, results: Sequence[str]) -> Counter[str]:
    return Counter([*(name for operator in scope.operators for name in operator.inputs), *results])


def fuse(parts: TfliteParts, results: Sequence[str]) -> None:
    """Let operators end in what is done to their results, where nothing else reads these.

    Convolutions and their like take up sums and products with constants and end in activations, reductions keep the
    axes that a reshape would put back.
    """
    for scope, ends in parts.scopes(results):
        _fuse(scope, parts, ends)


def _fuse(scope: Parts | Body, parts: TfliteParts, results: Sequence[str]) -> None:
    readers = _readers(scope, results)
    makers = {name: operator for operator in scope.operators for name in operator.outputs}
    kept: list[Operator] = []
    for operator in scope.operators:
        own = next((name for name in operator.inputs if name in makers), None)
        maker = None if own is None or readers[own] > 1 else makers[own]
        more = None if maker is None else _ending(maker, operator, parts, readers)
        if maker is None or more is None:
            kept.append(operator)
            continue
        maker.attributes |= more
        maker.outputs = operator.outputs
        makers[operator.outputs[0]] = maker
    scope.operators = kept


def _ending(maker: Operator, operator: Operator, parts: TfliteParts, readers: Counter[str]) -> dict[str, Any] | None:
    """The settings by which an operator does what another would do to its result; ``None`` if there are none."""
    if operator.kind == "ADD" and maker.kind in _BIASED:
        return _biased(maker, operator, parts)
    if operator.kind == "MUL" and maker.kind in _BIASED:
        return _multiplied(maker, operator, parts, readers)
    own = operator.inputs[0]
    if own not in maker.outputs:
        return None
    if operator.kind in FUSED:
        if (
            maker.kind in _FUSING
            and "fusedActivationFunction" not in maker.attributes
            and parts.types[own] == "float32"
        ):
            return {"fusedActivationFunction": FUSED[operator.kind]}
        return None
    if operator.kind != "RESHAPE" or maker.kind not in _REDUCING or maker.attributes["keepDims"]:
        return None
    sizes, axes = parts.shapes[maker.inputs[0]], parts.constants[maker.inputs[1]]
    whole = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    return {"keepDims": True} if parts.shapes[operator.outputs[0]] == whole else None


def _biased(maker: Operator, operator: Operator, parts: TfliteParts) -> dict[str, Any] | None:
    """Let a linear operator's bias take up a constant that is added to its result."""
    constant, before = _per_channel(maker, operator, parts), _bias(maker, parts)
    if constant is None or before is None:
        return None
    total = np.asarray(constant + before, np.float32)
    maker.inputs = [*maker.inputs[:2], parts.constant(total, f"{maker.name}/bias")]
    return {}


def _multiplied(
    maker: Operator, operator: Operator, parts: TfliteParts, readers: Counter[str]
) -> dict[str, Any] | None:
    """Let a linear operator's kernel and bias take up a constant that its result is multiplied by."""
    constant, before = _per_channel(maker, operator, parts), _bias(maker, parts)
    name = maker.inputs[1]
    kernel = parts.constants.get(name)
    if constant is None or before is None or kernel is None or readers[name] > 1:
        return None
    along = constant if maker.kind == "DEPTHWISE_CONV_2D" else constant.reshape(-1, *[1] * (kernel.ndim - 1))
    scaled, bias = _whole(kernel, along), _whole(before, constant)
    if scaled is None or bias is None:
        return None
    maker.inputs = [
        maker.inputs[0],
        parts.constant(scaled, f"{name}/scaled"),
        parts.constant(bias, f"{maker.name}/bias"),
    ]
    parts.origins[maker.inputs[1]] = parts.origins.get(name, name)
    return {}


def _per_channel(maker: Operator, operator: Operator, parts: TfliteParts) -> Array | None:
    """The constant that a sum or product has with every channel of what a linear operator makes, if it is one."""
    constants = [parts.constants[name] for name in operator.inputs if name in parts.constants]
    made, shape = maker.outputs[0], parts.shapes[operator.outputs[0]]
    if len(constants) != 1 or shape != parts.shapes[made] or parts.types[made] != "float32":
        return None
    if operator.attributes or maker.attributes.get("fusedActivationFunction"):
        return None
    (constant,) = constants
    channels = shape[-1]
    if channels is None or constant.size not in (1, channels) or constant.size != (constant.shape or (1,))[-1]:
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,))


def _bias(maker: Operator, parts: TfliteParts) -> Array | None:
    """The bias of a linear operator, zeros if it has none; ``None`` if it is computed."""
    name = maker.inputs[2] if len(maker.inputs) > 2 else ""
    channels = parts.shapes[maker.outputs[0]][-1]
    return parts.constants.get(name) if name else np.zeros(channels or 0, np.float32)
