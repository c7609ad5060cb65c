"""Code that asks which backend runs, and calls functions of that one where it could call ``keras.ops``.

A function of a backend cannot run on symbolic tensors. So the code is told another backend, which takes it to what it
has written for all of them; whether that is the same is tried on random numbers.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.internals import keras_mask
from kerasurgeon.keras_io.open_walking import Walked
from kerasurgeon.keras_io.samples import draw_array

ELSEWHERE = "numpy"
"""The backend that is told: the one for which hardly any code has a way of its own."""

_SIZE, _SAME = 5, 1e-4


def agrees(layer: Any, operands: tuple[Any, Any], function: Walked, holders: dict[int, tuple[Any, Any]]) -> bool:
    """Whether a layer gives, on random numbers, what its calls give that were recorded under another backend's name.

    Args:
        layer: The layer, built.
        operands: ``(args, kwargs)`` of its call, with the inputs of the function in it.
        function: What was recorded.
        holders: Layers that stand for variables, by their ids.
    """
    if any(keras_mask(tensor) is not None for tensor in function.inputs):
        return False
    generator = np.random.default_rng(0)
    values: dict[int, Any] = {}
    for tensor in function.inputs:
        shape = tuple(_SIZE if size is None and axis else size for axis, size in enumerate(tensor.shape))
        drawn = draw_array(TensorSpec(shape, keras.backend.standardize_dtype(tensor.dtype)), generator)
        values[id(tensor)] = ops.convert_to_tensor(drawn, dtype=tensor.dtype)

    def filled(structure: Any) -> Any:
        return map_leaves(lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf, structure)

    try:
        args, kwargs = filled(operands)
        wanted = layer(*args, **kwargs)
        for node in function.nodes:
            if node.is_input:
                continue
            args, kwargs = filled((node.arguments.args, node.arguments.kwargs))
            holder = holders.get(id(node.operation))
            if holder is None:
                given = node.operation(*args, **kwargs)
            else:
                value = ops.convert_to_tensor(holder[1])
                given = ops.cast(ops.reshape(value, (1, *(tuple(value.shape) or (1,)))), node.outputs[0].dtype)
            values |= {id(one): value for one, value in zip(node.outputs, leaves(given), strict=True)}
    except Exception:  # noqa: BLE001 - whatever the code raises, it is not told
        return False
    pairs = zip(leaves(wanted), leaves(filled(function.outputs)), strict=False)
    return all(
        _close(ops.convert_to_numpy(one), ops.convert_to_numpy(other)) for one, other in pairs if one is not None
    )


def _close(one: Any, other: Any) -> bool:
    one, other = ops.convert_to_numpy(one), ops.convert_to_numpy(other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    return bool(np.allclose(one, other, rtol=_SAME, atol=_SAME, equal_nan=True))


__all__ = ["ELSEWHERE", "agrees"]
