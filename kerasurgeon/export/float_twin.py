"""A float32 copy of a model that computes in half precision.

TFLite has no float16 convolutions and ONNX Runtime no bfloat16 ones, so such models are exported as what they
approximate: the same layers and weights, computed in float32.
"""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.errors import ExportError
from kerasurgeon.export.signature import operations

_HALF = ("float16", "bfloat16")


def half_precision_layers(model: keras.Model) -> list[str]:
    """The names of the layers that compute or keep weights in half precision.

    Args:
        model: A Functional or Sequential model.
    """
    return [
        op.name
        for op in operations(model)
        if isinstance(op, keras.layers.Layer) and _is_half(op.dtype_policy)
    ]


def _is_half(policy: Any) -> bool:
    return policy.compute_dtype in _HALF or policy.variable_dtype in _HALF


def float32_twin(model: keras.Model) -> keras.Model:
    """Rebuild a model with float32 in place of every half-precision dtype, with the same weights.

    Args:
        model: A Functional or Sequential model; it is not changed.

    Raises:
        ExportError: The model cannot be rebuilt from its configuration.
    """
    classes = {type(operation) for operation in operations(model)} | {type(model)}
    custom = {name: cls for cls in classes for name in (cls.__name__, keras.saving.get_registered_name(cls))}
    # Keras' own classes need no help, and several share a name.
    custom = {name: cls for name, cls in custom.items() if not cls.__module__.startswith("keras.")}
    try:
        with keras.saving.custom_object_scope(custom):
            twin = type(model).from_config(_in_float32(model.get_config()))
        _copy_weights(model, twin)
    except Exception as error:
        raise ExportError(
            "The model computes in half precision, and a float32 copy of it cannot be made.",
            where=f"model {model.name!r}, layers {', '.join(half_precision_layers(model)[:3])}",
            got=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            hint="build the model with the float32 policy, load the weights, and export that",
        ) from error
    return twin


def _in_float32(config: Any) -> Any:
    """The same configuration, every half-precision dtype and policy in it replaced by float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config | {"config": {"name": "float32"}}
        return {
            key: "float32"
            if key in ("dtype", "compute_dtype", "variable_dtype")
            and isinstance(value, str)
            and _names_half(value)
            else _in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(item) for item in config)
    return config


def _names_half(name: str) -> bool:
    return name in (*_HALF, "mixed_float16", "mixed_bfloat16")


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
