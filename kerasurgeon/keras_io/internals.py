"""The private parts of Keras that kerasurgeon relies on, gathered so that a new Keras release is checked in one place.

Nothing outside ``keras_io`` imports from ``keras.src`` or reads private attributes of Keras' objects. Which releases
are known is said in ``known_keras``.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from kerasurgeon.keras_io.known_keras import optional, required

CallSpec: Any = required("keras.src.layers.layer", "CallSpec")
Functional: Any = required("keras.src.models.functional", "Functional")
KerasNode: Any = required("keras.src.ops.node", "Node")
SafeModeScope: Any = required("keras.src.saving.serialization_lib", "SafeModeScope")
training_arguments: Any = optional("keras.src.legacy.saving.saving_utils", "compile_args_from_training_config")
name_scope: Any = required("keras.src.backend.common.name_scope", "name_scope")
current_path: Any = required("keras.src.backend.common.name_scope", "current_path")
backend: Any = required("keras.src.backend")
# The backend's functions: Keras 3.15 has them in backend.nn and backend.numpy, 3.16 in backend.ops.
convolutions: Any = getattr(backend, "nn", None) or getattr(getattr(backend, "ops", None), "nn", None)
contractions: Any = getattr(getattr(backend, "ops", None), "numpy", None) or getattr(backend, "numpy", None)
_functional_like_constructor: Any = required("keras.src.models.functional", "functional_like_constructor")

__all__ = [
    "RANDOM_ATTRIBUTES",
    "CallSpec",
    "Functional",
    "KerasNode",
    "SafeModeScope",
    "additional_loss",
    "backend",
    "build_record",
    "calls_of",
    "contractions",
    "convolutions",
    "copied_operation",
    "current_path",
    "exchange_part",
    "flatten_layers",
    "functional_graph",
    "has_functional_constructor",
    "has_loss",
    "input_structure",
    "is_functional",
    "keras_mask",
    "name_scope",
    "nodes_of",
    "operations",
    "output_structure",
    "outside_config",
    "own_config",
    "parent_path",
    "place_inside",
    "producer",
    "random_attribute",
    "set_build_record",
    "set_keras_mask",
    "set_random_attribute",
    "training_arguments",
    "users_of_python_random",
]


def functional_graph(model: Any) -> Any:
    """The functional graph of a model, or ``None`` if it has none (subclassed or not built)."""
    if isinstance(model, keras.Sequential):
        return model._functional if model.built else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def is_functional(model: Any) -> bool:
    """Whether a model is functional or sequential, and not one whose computation is Python code."""
    return functional_graph(model) is not None


def nodes_of(functional: Any) -> Iterator[tuple[Any, int]]:
    """Every call in a functional graph with its index among the calls of its layer, deepest first."""
    by_depth = functional._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            yield node, node.operation._inbound_nodes.index(node)


def has_functional_constructor(cls: type[Any]) -> bool:
    """Whether ``cls(inputs, outputs, name=...)`` builds a model."""
    return bool(_functional_like_constructor(cls))


def keras_mask(tensor: Any) -> Any:
    """The mask that a tensor carries, or ``None``."""
    return getattr(tensor, "_keras_mask", None)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Let a symbolic tensor carry a mask, as it would if its layer had been called."""
    tensor._keras_mask = mask


def flatten_layers(layer: Any) -> list[Any]:
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def operations(model: keras.Model) -> Iterator[Any]:
    """Every layer and op of a Functional or Sequential model, those of nested models included."""
    for operation in getattr(model, "operations", None) or model.layers:
        yield operation
        if isinstance(operation, keras.Model):
            yield from operations(operation)


def calls_of(operation: Any) -> list[Any]:
    """The calls of a layer or op in all functional models; each has ``input_tensors`` and ``outputs``."""
    return list(operation._inbound_nodes)


def producer(tensor: Any) -> Any:
    """The layer or op that a symbolic tensor is an output of."""
    return tensor._keras_history.operation


def input_structure(model: keras.Model) -> Any:
    """The nesting of tensors that a Functional model is called with; ``None`` for a Sequential one."""
    return getattr(model, "_inputs_struct", None)


def output_structure(model: keras.Model) -> Any:
    """The nesting of tensors that a Functional model gives; ``None`` for a Sequential one."""
    return getattr(model, "_outputs_struct", None)


def has_loss(model: keras.Model) -> bool:
    """Whether a model was compiled with a loss."""
    return getattr(model, "_compile_loss", None) is not None


def additional_loss(model: keras.Model, loss: Any) -> Any:
    """A loss as a scalar that may be added to that of the labels: its share, where several devices train one model."""
    return model._aggregate_additional_loss(loss)


def users_of_python_random() -> list[tuple[Any, str]]:
    """Modules of Keras that draw from Python's generator or seed it, and what they call the module ``random``."""
    known = (("keras.src.random.seed_generator", "python_random"), ("keras.src.utils.rng_utils", "random"))
    return [(optional(module), name) for module, name in known if optional(module, name) is not None]


RANDOM_ATTRIBUTES = ("global_random_seed", "global_seed_generator")
"""What Keras keeps of ``set_random_seed``: the seed, and the generator of calls without a seed."""


def random_attribute(name: str) -> Any:
    """One of ``RANDOM_ATTRIBUTES``; ``None`` where there is none."""
    get = optional("keras.src.backend.common.global_state", "get_global_attribute")
    return None if get is None else get(name)


def set_random_attribute(name: str, value: Any) -> None:
    """Give Keras back one of ``RANDOM_ATTRIBUTES``; ``None`` for none."""
    put = optional("keras.src.backend.common.global_state", "set_global_attribute")
    if put is not None:
        put(name, value)


def parent_path(layer: Any) -> str:
    """The name scope in which a layer was built: part of its variables' paths."""
    return getattr(layer, "_parent_path", None) or ""


def place_inside(layer: Any, variable: Any) -> str | None:
    """Where a layer holds a variable that another one has made: the names of the layers inside, and its own.

    Keras' own layers call a variable as they call the attribute, whatever its maker has called it.
    """
    if any(own is variable for own in (*layer._trainable_variables, *layer._non_trainable_variables)):
        own = type(layer).__module__.startswith("keras.")
        held = [name.lstrip("_") for name, value in vars(layer).items() if own and value is variable]
        return held[0] if held else str(variable.name)
    for inner in layer._layers:
        place = place_inside(inner, variable)
        if place is not None:
            return f"{inner.name}/{place}"
    return None


def exchange_part(layer: Any, attribute: str, part: Any) -> None:
    """Put another layer in an attribute that holds one, before the layer is built."""
    if any(held is getattr(layer, attribute, None) for held in layer._layers):
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
        try:
            config: dict[str, Any] = operation.get_config()
        except NotImplementedError:
            if not _has_no_options(operation):
                raise
            config = {"name": operation.name, "trainable": operation.trainable, "dtype": operation.dtype_policy.name}
        return config
    kept = copy.deepcopy(policies)
    config = operation.get_config()
    for path, policy in policies.items():
        vars(policy).update(vars(kept[path]))
    return {**config, "dtype": kept}


def _has_no_options(operation: Any) -> bool:
    """Whether a layer is made by options of every layer alone, and Keras cannot write them: a dtype policy, say."""
    return (
        isinstance(operation, keras.Layer)
        and type(operation).get_config is keras.Layer.get_config
        and operation.activity_regularizer is None
        and type(operation.dtype_policy) is keras.DTypePolicy
        and all(each.kind is each.VAR_KEYWORD for each in inspect.signature(type(operation)).parameters.values())
    )


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
