"""Operators of an ONNX model that hold the huge numbers by which masks make scores vanish.

In int8 such a number takes the whole range and leaves one step to all others: those operators stay float.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasurgeon.exporting.tensors import Array

# Keras' masks are -1e9, -3e4 in half precision, and the lowest number of a type.
_HUGE = 1e4
# ONNX's operators that hand such numbers on; any other is the last that sees them.
_PASSING = "Where Add Sub Mul Min Max Reshape Transpose Squeeze Unsqueeze Expand Identity Cast Slice"


def mask_nodes(proto: Any) -> list[str]:
    """The names of the operators that compute with such numbers, up to and with the softmax behind them.

    Args:
        proto: An ``onnx.ModelProto``.
    """
    huge = {name for name, array in _constants(proto) if _is_huge(array)}
    found: list[str] = []
    for node in proto.graph.node:
        reads = huge.intersection(node.input)
        if not reads or node.op_type == "Constant":
            continue
        found.append(node.name)
        if node.op_type in _PASSING.split():
            huge.update(node.output)
    return found


def _constants(proto: Any) -> Iterator[tuple[str, Array]]:
    from onnx import numpy_helper

    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims) < 2**16:  # masks of numbers are of the size of scores at the most
            yield tensor.name, numpy_helper.to_array(tensor)
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)


def _is_huge(array: Array) -> bool:
    """Whether all numbers of an array are 0, 1, or beyond what a network computes with, and some are."""
    if array.dtype.kind != "f" or not array.size:
        return False
    size = np.abs(array)
    return bool((size >= _HUGE).any() and ((size >= _HUGE) | (size <= 1)).all())
