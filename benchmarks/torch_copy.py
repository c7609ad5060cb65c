"""A Keras network as a list of calls and arrays that torch can be built of, and back once its kernels are smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]

ACTIVATIONS = ("linear", "relu", "relu6", "silu")


def described(model: keras.Model) -> list[dict[str, Any]]:
    """The calls of a functional model, each with its kind, its inputs by name, and its options.

    Raises:
        ValueError: A layer is of a kind that the copy does not know, or has an option that it does not.
    """
    return [_call(layer) for layer in model.layers]


def _call(layer: Any) -> dict[str, Any]:
    kind = type(layer).__name__
    call = {"name": layer.name, "kind": kind, "inputs": []}
    if kind == "InputLayer":
        return call
    if len(layer._inbound_nodes) != 1:
        raise ValueError(f"{layer.name} is called more than once")
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    call["inputs"] = [tensor._keras_history.operation.name for tensor in tensors]
    if kind in ("Conv1D", "Conv2D", "DepthwiseConv2D"):
        options = layer.get_config()
        known: dict[str, set[Any]] = {
            "dilation_rate": {1},
            "padding": {"same", "valid"},
            "data_format": {"channels_last"},
        }
        known |= {"depth_multiplier": {1}} if kind == "DepthwiseConv2D" else {"groups": {1}}
        for option, values in known.items():
            given = options[option]
            if not set(given if isinstance(given, (tuple, list)) else [given]) <= values:
                raise ValueError(f"{layer.name}: {option}={given} has no copy")
        call |= {"strides": list(layer.strides), "same": layer.padding == "same"}
    elif kind == "BatchNormalization":
        call |= {"epsilon": layer.epsilon, "rank": len(layer.input.shape)}
    elif kind not in ("Dense", "Activation", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "Add"):
        raise ValueError(f"{layer.name}: {kind} has no copy")
    call["activation"] = keras.activations.serialize(getattr(layer, "activation", None) or keras.activations.linear)
    if call["activation"] not in ACTIVATIONS:
        raise ValueError(f"{layer.name}: {call['activation']} has no copy")
    return call


def arrays(model: keras.Model) -> dict[str, Array]:
    """The weights by ``layer/weight``."""
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in model.layers for weight in layer.weights}


def rebuilt(model: keras.Model, weights: Mapping[str, Array]) -> keras.Model:
    """The network with other weights, as narrow as these are.

    Args:
        model: A functional model.
        weights: By ``layer/weight``, as ``arrays`` gives them.
    """

    def narrowed(layer: Any) -> Any:
        options = layer.get_config()
        for width in ("filters", "units"):
            if width in options:
                options[width] = weights[f"{layer.name}/kernel"].shape[-1]
        return type(layer).from_config(options)

    small = keras.models.clone_model(model, clone_function=narrowed)
    for layer in small.layers:
        layer.set_weights([weights[f"{layer.name}/{weight.name}"] for weight in layer.weights])
    return small
