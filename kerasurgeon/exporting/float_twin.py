"""A float32 copy of a model that computes in another precision.

TFLite has no float16 or float64 convolutions and ONNX Runtime no bfloat16 ones, so such models are exported
as the same layers and weights, computed in float32; to ONNX, those of float16 as they are if that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.signature import custom_objects
from kerasurgeon.keras_io import flatten_layers, operations

HALVES = frozenset({"float16", "bfloat16"})
# What each format needs replaced; a .keras file keeps it, but its results are as coarse.
REPLACED = {"tflite": HALVES | {"float64"}, "onnx": HALVES, "keras": HALVES}
_NAMES = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def other_precision_layers(model: keras.Model, file_format: str) -> list[str]:
    """The names of the layers that compute or keep weights in a precision that a format does not have.

    Args:
        model: A Functional or Sequential model.
        file_format: ``keras``, ``tflite`` or ``onnx``.
    """
    return layers_in(model, REPLACED[file_format])


def layers_in(model: keras.Model, dtypes: Collection[str]) -> list[str]:
    """The names of the layers that compute or keep weights in one of some dtypes."""
    return [layer.name for layer in flatten_layers(model) if not _dtypes(layer.dtype_policy).isdisjoint(dtypes)]


def _dtypes(policy: Any) -> set[str]:
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        return {dtype for inner in [policy.default_policy, *policy.values()] for dtype in _dtypes(inner)}
    return {policy.compute_dtype, policy.variable_dtype}


def float32_twin(model: keras.Model) -> keras.Model:
    """Rebuild a model with float32 in place of every other float dtype, with the same weights.

    Args:
        model: A Functional or Sequential model; it is not changed.

    Raises:
        ExportError: The model cannot be rebuilt from its configuration.
    """
    try:
        with keras.saving.custom_object_scope(custom_objects(model)):
            twin = type(model).from_config(_in_float32(model.get_config()))
        _copy_weights(model, twin)
    except Exception as error:
        raise ExportError(
            "The model does not compute in float32, and a float32 copy of it cannot be made.",
            where=f"model {model.name!r}",
            got=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            hint="build the model with the float32 policy, load the weights, and export that",
        ) from error
    return twin


def _in_float32(config: Any) -> Any:
    """The same configuration, every other float dtype and policy in it replaced by float32."""
    if isinstance(config, dict):
        if config.get("class_name") in ("DTypePolicy", "DTypePolicyMap"):
            return config | {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
        return {
            key: "float32"
            if key in ("dtype", "compute_dtype", "variable_dtype") and value in _NAMES
            else _in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(item) for item in config)
    return config


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    shapes = [tuple(w.shape) for w in source.weights]
    if shapes != [tuple(w.shape) for w in target.weights]:
        raise ValueError("the copy has other weights")
    for old, new in zip(source.weights, target.weights, strict=True):
        new.assign(keras.ops.cast(old.value, new.dtype))
    for operation in operations(target):
        # Normalization keeps values derived from its weights, which assign does not refresh.
        if isinstance(operation, keras.layers.Normalization):
            operation.finalize_state()
