"""Between a live Keras layer and a ``Layer`` definition: capture one way, build the other.

Building hands the weights to Keras as initialisers, so that no random values are drawn first and no second copy is
made. Whatever a layer creates in a way that this does not reach is assigned afterwards; both end in the same check.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.errors import EmitError, LiftError
from kerasurgeon.hidden import scratch
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.custom_objects import foreign_names, harvest
from kerasurgeon.keras_io.foreign import foreign_in, is_foreign, remedy, said, told
from kerasurgeon.keras_io.injection import injected
from kerasurgeon.keras_io.internals import (
    CallSpec,
    build_record,
    copied_operation,
    exchange_part,
    flatten_layers,
    outside_config,
    own_config,
    parent_path,
    place_inside,
    set_build_record,
)
from kerasurgeon.keras_io.tensors import array_of, tensor_of

# Keras numbers variables without a name over the whole process, so that number says nothing.
_AUTO_NAME = re.compile(r"(^|/)variable_\d+$")


def keyed_variables(layer: Any, variables: list[Any]) -> dict[str, Any]:
    """Variables by path relative to their layer; equal paths get ``#1``, ``#2``, ... in order.

    A variable that a layer elsewhere has made, or was there before the layer had a name, goes by where it is held.
    """
    prefix = f"{getattr(layer, 'path', None) or layer.name}/"
    keyed: dict[str, Any] = {}
    for variable in variables:
        own = variable.path.startswith(prefix)
        path = variable.path.removeprefix(prefix) if own else place_inside(layer, variable) or variable.path
        path = _AUTO_NAME.sub(r"\1variable", path)
        key, count = path, 0
        while key in keyed:
            count += 1
            key = f"{path}#{count}"
        keyed[key] = variable
    return keyed


def capture(operation: Any) -> Layer:
    """The definition of a live layer or op. The layer is only read.

    Raises:
        LiftError: The layer cannot say how it was made.
    """
    try:
        config = own_config(operation)
        if not isinstance(config, Mapping):
            raise TypeError(f"get_config() returned {type(config).__name__}, not a dict")
        assets = _assets(operation)
    except Exception as error:
        cls = type(operation)
        if not isinstance(operation, keras.Layer):
            # An op made from Python functions (while_loop, cond, ...): no config says it, but a copy can stand for it.
            return Layer(operation.name, cls, {"name": operation.name}, prototype=operation)
        raise LiftError(
            f"Layer {operation.name!r} ({cls.__name__}) cannot say how it was made.",
            where=f"{cls.__qualname__} of {cls.__module__}" if is_foreign(cls) else None,
            got=said(error),
            hint=f"give {cls.__name__} a get_config() that returns its constructor arguments; without it, "
            "keras.models.clone_model and saving the model fail alike",
        ) from error
    config = _with_policy(operation, config)
    custom: dict[str, Any] = {}
    if isinstance(operation, keras.layers.Lambda):
        config = _with_live_functions(operation, config)
    else:
        names = foreign_names(config)
        if names:
            custom = harvest(operation, names)
    if not isinstance(operation, keras.Layer):
        return Layer(operation.name, type(operation), config, custom_objects=custom)
    weights = operation.weights
    keyed = keyed_variables(operation, weights)
    known = {id(variable) for variable in weights}
    seeds = [variable for variable in operation.variables if id(variable) not in known]
    flags = tuple(bool(part.trainable) for part in flatten_layers(operation))
    return Layer(
        operation.name,
        type(operation),
        config,
        weights={key: Weight(array_of(variable), bool(variable.trainable)) for key, variable in keyed.items()},
        state={key: array_of(variable) for key, variable in keyed_variables(operation, seeds).items()},
        custom_objects=custom,
        assets=assets,
        parent_path=parent_path(operation),
        paths={key: variable.path for key, variable in keyed.items()},
        build_config=build_record(operation),
        # Not every config says that its layer is frozen: that of an InputLayer does not, nor some of custom layers.
        trainable_flags=flags if set(flags) != {bool(config.get("trainable", True))} else (),
        attributes=outside_config(operation),
    )


def layer_from_keras(layer: Any) -> Layer:
    """The definition of a Keras layer that a user made: its weights come along if it has been built."""
    if not isinstance(layer, keras.Operation):
        raise LiftError(
            f"{layer!r} is not a Keras layer.", expected="an instance of keras.Layer", got=type(layer).__name__
        )
    return capture(layer)


def construct(definition: Layer, parts: Mapping[str, Any] | None = None) -> Any:
    """The Keras layer or op of a definition, not built yet.

    Args:
        definition: What to make.
        parts: Layers to put in place of those that its attributes hold, by attribute: a wrapper around a layer that is
            in the graph by itself too must hold that one, not a copy.

    Raises:
        EmitError: Its class cannot be made from the config.
    """
    if definition.prototype is not None:
        return copied_operation(definition.prototype, definition.name)
    config = map_leaves(lambda leaf: leaf, dict(definition.config))  # from_config may take its argument apart
    if isinstance(config.get("dtype"), keras.dtype_policies.DTypePolicyMap):
        config["dtype"] = copy.deepcopy(config["dtype"])
    with told(definition, "cannot be made from its config", "check the config entries that the last pass changed"):
        if issubclass(definition.cls, keras.layers.Lambda):
            return definition.cls(**config)
        with injected(None, definition), keras.saving.custom_object_scope(dict(definition.custom_objects)):
            made = definition.cls.from_config(config)
        if not isinstance(made, keras.Operation):
            raise TypeError(f"from_config() returned {type(made).__name__}")
        for attribute, value in definition.attributes.items():
            setattr(made, attribute, value)
        for attribute, part in (parts or {}).items():
            exchange_part(made, attribute, part)
    return made


def build(
    definition: Layer, layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, initialise: bool = False
) -> None:
    """Create the variables of a constructed layer from the definition's weights.

    Args:
        definition: What to build.
        layer: What ``construct`` returned for it.
        args: Positional operands of its first call, tensors as ``KerasTensor``.
        kwargs: Keyword operands likewise.
        initialise: Let the layer's initialisers make the weights if the definition has none: for new layers.

    Raises:
        EmitError: The layer wants other weights than the definition holds.
    """
    if not isinstance(layer, keras.Layer):
        return
    if definition.parent_path:
        layer._parent_path = definition.parent_path
    with told(definition, "cannot be built from its config"):
        if not layer.built:
            with injected(layer, definition):
                spec = CallSpec(layer._call_signature, layer._call_context_args, args, dict(kwargs))
                with layer._open_name_scope():
                    layer._maybe_build(spec)
            layer.built = True
        if definition.weights or not initialise:
            restore(definition, layer)
    if definition.build_config is not None:
        set_build_record(layer, definition.build_config)


def restore(definition: Layer, layer: Any) -> None:
    """Bring a built layer to the state of its definition: values, trainable flags, seeds, vocabularies."""
    weights = layer.weights
    if weights or definition.weights:
        _restore_weights(definition, layer, weights)
    if definition.state:
        known = {id(variable) for variable in weights}
        seeds = [variable for variable in layer.variables if id(variable) not in known]
        keyed = keyed_variables(layer, seeds)
        if keyed.keys() != definition.state.keys() and len(keyed) == len(definition.state):
            keyed = dict(zip(definition.state, keyed.values(), strict=True))  # sublayers without a name: see aligned
        for key, variable in keyed.items():
            if key in definition.state:
                variable.assign(definition.state[key])
    if definition.trainable_flags:
        parts = flatten_layers(layer)
        if len(parts) == len(definition.trainable_flags):
            for part, flag in zip(parts, definition.trainable_flags, strict=True):
                part._trainable = flag
    if definition.assets:
        with scratch() as folder:
            for name, content in definition.assets.items():
                Path(folder, name).write_bytes(content)
            layer.load_assets(str(folder))


def _restore_weights(definition: Layer, layer: Any, weights: list[Any]) -> None:
    for key, variable in aligned(definition, keyed_variables(layer, weights)).items():
        weight = definition.weights[key]
        if tuple(variable.shape) != weight.shape:
            raise wrong_shape(definition, key, tuple(variable.shape))
        if variable.__dict__.pop("_kerasurgeon_source", None) is not weight:
            variable.assign(tensor_of(weight, variable.dtype))
        if weight.trainable is not None and bool(variable.trainable) != weight.trainable:
            variable.trainable = weight.trainable
        if key in definition.paths:
            variable._path = definition.paths[key]
    for part in flatten_layers(layer):
        if isinstance(part, keras.layers.Normalization):  # keeps its statistics a second time, as constants
            part.finalize_state()


def aligned(definition: Layer, keyed: dict[str, Any]) -> dict[str, Any]:
    """A layer's variables by the definition's keys.

    Sublayers without a name are numbered over the whole process, so that their keys differ from one instance to the
    next; variables of one class and config come in one order all the same.
    """
    if keyed.keys() == definition.weights.keys():
        return keyed
    shapes = [tuple(variable.shape) for variable in keyed.values()]
    if shapes != [weight.shape for weight in definition.weights.values()]:
        raise EmitError(
            f"Layer {definition.name!r} ({definition.kind}) has other weights than its definition.",
            expected=", ".join(f"{key} {tuple(variable.shape)}" for key, variable in keyed.items()) or "none",
            got=", ".join(f"{key} {weight.shape}" for key, weight in definition.weights.items()) or "none",
            where=foreign_in(definition) or None,
            hint=remedy(
                definition,
                "a pass that changes use_bias, scale, center and the like must set or remove the weights too",
            ),
        )
    return dict(zip(definition.weights, keyed.values(), strict=True))


def wrong_shape(definition: Layer, key: str, wanted: tuple[int, ...]) -> EmitError:
    """The error for a weight whose shape does not fit its layer's config and inputs."""
    recorded = ", ".join(f"{name} {weight.shape}" for name, weight in definition.weights.items())
    return EmitError(
        f"Weight {key!r} of layer {definition.name!r} ({definition.kind}) does not fit.",
        expected=f"shape {wanted}, by the layer's config and its inputs",
        got=f"shape {definition.weights[key].shape if key in definition.weights else None}; all: {recorded}",
        where=foreign_in(definition) or None,
        hint=remedy(
            definition,
            "a pass that changes the channels of a tensor must change the weights of every layer that reads it",
        ),
    )


def _with_policy(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The config with the dtype policy that the layer has: some of Keras' own say the dtype of variables instead."""
    policy: Any = getattr(layer, "dtype_policy", None)
    if type(policy) is not keras.DTypePolicy or isinstance(layer, keras.layers.InputLayer):
        return config
    said = config.get("dtype")
    return {**config, "dtype": policy.name} if isinstance(said, str) and said != policy.name else config


def _with_live_functions(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Lambda's config with its functions themselves, so that no byte code is ever deserialised."""
    live = {"function": layer.function, "mask": layer.mask, "arguments": layer.arguments}
    live["output_shape"] = layer._output_shape
    return {**config, **live}


def _assets(layer: Any) -> dict[str, bytes]:
    if not hasattr(layer, "save_assets"):
        return {}
    with scratch() as folder:
        layer.save_assets(str(folder))
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def specs_of(operation: Any, operands: Iterable[Any], outputs: Any) -> tuple[TensorSpec, ...]:
    """The specs of what a layer or op gave for operands.

    Keras calls the product of a dense tensor and a number sparse; only what is made sparse is.
    """
    sparse = bool(getattr(operation, "sparse", False)) or any(operand.sparse for operand in operands)
    return tuple(
        TensorSpec(tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype), sparse and bool(tensor.sparse))
        for tensor in keras.tree.flatten(outputs)
    )


def symbolic(spec: TensorSpec) -> Any:
    """A fresh symbolic Keras tensor for a spec."""
    return keras.KerasTensor(spec.shape, dtype=spec.dtype, sparse=spec.sparse)
