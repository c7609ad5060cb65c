"""What is done to the constants of a TFLite file in the making: weights in fewer bits, masks that int8 can hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kerasurgeon.exporting.onnx_quantize import LARGEST_FLOAT16, SMALLEST_HALVED, to_int8
from kerasurgeon.rules.onnx_parts import Operator
from kerasurgeon.rules.tflite_call import TfliteParts

HUGE = 1e4
"""What only masks add to scores, or put in their place."""
VANISHING = 8.0
"""How far below others a score counts as nothing: int8 holds no share of less than exp(-6)."""

_MASKING = frozenset(("ADD", "MUL", "SELECT_V2", "SUB"))
_CHANNELS = {"CONV_2D": (1, 0), "FULLY_CONNECTED": (1, 0), "DEPTHWISE_CONV_2D": (1, 3), "TRANSPOSE_CONV": (1, 0)}
"""Which operand of an operator is a kernel, and which axis of it has a scale each."""
_HYBRID = frozenset(("CONV_2D", "FULLY_CONNECTED"))
"""Operators whose kernels take weights of int8 with reals, which they round to int8 as they come."""


def halve(parts: TfliteParts) -> None:
    """Store large float32 constants as float16, which are made float32 when the file is loaded."""
    stored = {}
    for name, array in _large(parts).items():
        if max(-array.min(), array.max()) <= LARGEST_FLOAT16:
            stored[name] = parts.constant(array.astype(np.float16), f"{name}/float16")
    _decode(parts, stored)


def store_as_int8(parts: TfliteParts) -> None:
    """Store large kernels and tables as int8 with a scale per channel or row.

    Convolutions and dense layers compute in int8, with inputs that are rounded as they come. For all other operators,
    grouped convolutions among them, the runtime makes the constants float32 when it loads the file: its kernels for
    them are slower in int8.
    """
    decoded = {}
    operators = [operator for scope, _ in parts.scopes(()) for operator in scope.operators]
    for name, array in _large(parts).items():
        readers = [operator for operator in operators if name in operator.inputs]
        kinds = {_axis(operator, name) for operator in readers}
        axis = kinds.pop() if len(kinds) == 1 else None
        if axis is None:
            continue
        integers, scale = to_int8(array, (axis,))
        if all(operator.kind in _HYBRID and not _grouped(operator, parts) for operator in readers):
            parts.constants[name] = integers
            parts.scales[name] = scale.reshape(-1), axis
            for operator in readers:
                if operator.kind == "FULLY_CONNECTED":
                    operator.attributes["asymmetricQuantizeInputs"] = True
            continue
        stored = parts.constant(integers, f"{name}/int8")
        parts.scales[stored] = scale.reshape(-1), axis
        decoded[name] = stored
    _decode(parts, decoded)


def _axis(operator: Operator, name: str) -> int | None:
    """Which axis of a constant has a scale each; ``None`` if an operator adds it or the like."""
    if operator.kind in _CHANNELS:
        place, axis = _CHANNELS[operator.kind]
        return axis if operator.inputs.index(name) == place else None
    return 0 if operator.kind == "GATHER" and operator.inputs[0] == name else None


def _grouped(operator: Operator, parts: TfliteParts) -> bool:
    kernel = parts.constants[operator.inputs[1]]
    return bool(parts.shapes.get(operator.inputs[0], (0,))[-1] != kernel.shape[-1])


def _large(parts: TfliteParts) -> dict[str, np.ndarray]:
    known = parts.constants.items()
    return {name: array for name, array in known if array.dtype == np.float32 and array.size >= SMALLEST_HALVED}


def _decode(parts: TfliteParts, stored: Mapping[str, str]) -> None:
    """Let constants be what the runtime makes of others when it loads the file, in every graph that reads them.

    Args:
        parts: Operators and constants.
        stored: By constants, what they are made of.
    """
    for scope, _ in parts.scopes(()):
        read = {name for operator in scope.operators for name in operator.inputs}
        decoders = [Operator("DEQUANTIZE", name, [stored[name]], [name], {}) for name in stored if name in read]
        scope.operators = [*decoders, *scope.operators]
    for name in stored:
        parts.shapes[name], parts.types[name] = parts.constants.pop(name).shape, "float32"


def narrow_masks(parts: TfliteParts, low: float, high: float) -> None:
    """Let masks hide numbers of a range by others that are no further away than makes them vanish in a softmax."""
    for operator in [operator for scope, _ in parts.scopes(()) for operator in scope.operators]:
        if operator.kind not in _MASKING:
            continue
        below, above = low - VANISHING, high + VANISHING
        if operator.kind != "SELECT_V2":  # what is added or taken away, not what is put in place
            below, above = low - above, high - below
        for place, name in enumerate(operator.inputs):
            array = parts.constants.get(name)
            if array is None or array.dtype != np.float32 or not np.abs(array).max(initial=0) >= HUGE:
                continue
            small = np.where(array <= -HUGE, below, np.where(array >= HUGE, above, array))
            operator.inputs[place] = parts.constant(small.astype(np.float32), f"{name}/near")
