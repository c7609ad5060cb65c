"""The private parts of Keras that kerasurgeon relies on, gathered so that a new Keras release is checked in one place.

Verified with Keras 3.15. Nothing outside ``keras_io`` imports from ``keras.src``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras.src.layers.layer import CallSpec
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops.node import Node as KerasNode

__all__ = [
    "CallSpec",
    "Functional",
    "KerasNode",
    "build_record",
    "copied_operation",
    "exchange_part",
    "flatten_layers",
    "functional_graph",
    "has_functional_constructor",
    "keras_mask",
    "nodes_of",
    "outside_config",
    "own_config",
    "parent_path",
    "set_build_record",
    "set_keras_mask",
]


def functional_graph(model: Any) -> Functional | None:
    """The functional graph of a model, or ``None`` if it has none (subclassed or not built)."""
    if isinstance(model, keras.Sequential):
        return model._functional if model.built else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def nodes_of(functional: Functional) -> Iterator[tuple[KerasNode, int]]:
    """Every call in a functional graph with its index among the calls of its layer, deepest first."""
    by_depth = functional._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            yield node, node.operation._inbound_nodes.index(node)


def has_functional_constructor(cls: type[Any]) -> bool:
    """Whether ``cls(inputs, outputs, name=...)`` builds a model."""
    return bool(functional_like_constructor(cls))


def keras_mask(tensor: Any) -> Any:
    """The mask that a tensor carries, or ``None``."""
    return getattr(tensor, "_keras_mask", None)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Let a symbolic tensor carry a mask, as it would if its layer had been called."""
    tensor._keras_mask = mask


def flatten_layers(layer: Any) -> list[Any]:
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def parent_path(layer: Any) -> str:
    """The name scope in which a layer was built: part of its variables' paths."""
    return getattr(layer, "_parent_path", None) or ""


def exchange_part(layer: Any, attribute: str, part: Any) -> None:
    """Put another layer in an attribute that holds one, before the layer is built."""
    layer._layers.remove(getattr(layer, attribute))
    setattr(layer, attribute, part)


def copied_operation(operation: Any, name: str) -> Any:
    """A copy of an op that has been called nowhere yet."""
    twin = object.__new__(type(operation))  # copy.copy would save and load it
    vars(twin).update(vars(operation), name=name, _inbound_nodes=[], _outbound_nodes=[])
    return twin


def own_config(operation: Any) -> dict[str, Any]:
    """``get_config()``, and a map of dtype policies as it is: when Keras writes one, it forgets which they are."""
    policies = getattr(operation, "dtype_policy", None)
    if not isinstance(policies, keras.dtype_policies.DTypePolicyMap):
        config: dict[str, Any] = operation.get_config()
        return config
    kept = copy.deepcopy(policies)
    config = operation.get_config()
    for path, policy in policies.items():
        vars(policy).update(vars(kept[path]))
    return {**config, "dtype": kept}


def outside_config(layer: Any) -> dict[str, Any]:
    """Constructor arguments that change what a layer computes and that ``get_config`` leaves out."""
    found: dict[str, Any] = {}
    if not layer.autocast:
        found["autocast"] = False
    if layer._remat_mode is not None:
        found["_remat_mode"] = layer._remat_mode
    return found


def build_record(layer: Any) -> dict[str, Any] | None:
    """The shapes that a layer was built with, as its saved form will hold them."""
    if getattr(layer, "_build_input_shape", None) is not None:
        return {"_build_input_shape": layer._build_input_shape}
    shapes = getattr(layer, "_build_shapes_dict", None)
    return None if shapes is None else dict(shapes)


def set_build_record(layer: Any, record: Mapping[str, Any]) -> None:
    """Let a built layer say that it was built with these shapes."""
    if "_build_input_shape" in record:
        layer._build_input_shape = record["_build_input_shape"]
    else:
        layer._build_shapes_dict = dict(record)
