"""Keras' masks that reach a layer without being among the operands of its call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io import calls_of, keras_mask, layer_from_keras, operations
from kerasurgeon.rules.asking import affine_of


def unrecorded(model: Any) -> frozenset[str]:
    """The names of layers that Keras gives a mask when the model runs, of which the model's graph says nothing.

    Keras writes a mask down as an operand where a layer is called on one tensor as it is, not where it is called on
    several or on one of another dtype. A mask that enters a nested model is set on its inputs at run time.

    Args:
        model: A Functional or Sequential model.
    """
    return frozenset(layer.name for layer in _reached(model, masked=False))


def _reached(model: Any, *, masked: bool) -> Iterator[Any]:
    for operation in operations(model):
        if not isinstance(operation, keras.Layer):
            continue
        calls = calls_of(operation)
        carried = masked or any(keras_mask(tensor) is not None for call in calls for tensor in call.input_tensors)
        if not carried:
            continue
        if isinstance(operation, keras.Model):
            yield from _reached(operation, masked=True)
        elif _looks_at_masks(operation) and (masked or not all(map(_has_mask, calls))):
            yield operation


def _has_mask(call: Any) -> bool:
    """Whether a mask is among the operands of a call, or none is needed."""
    if all(keras_mask(tensor) is None for tensor in call.input_tensors):
        return True
    kwargs = call.arguments.kwargs
    return any(key.endswith("mask") and any(leaf is not None for leaf in leaves(kwargs[key])) for key in kwargs)


def _looks_at_masks(layer: Any) -> bool:
    parameters = inspect.signature(type(layer).call).parameters
    if not any(name.endswith("mask") for name in parameters):
        return False
    return affine_of(layer_from_keras(layer)) is None  # of a batch norm, masks count in training only
