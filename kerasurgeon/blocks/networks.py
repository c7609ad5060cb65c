"""A small network as data: the config that Keras rebuilds it from, and its weights by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.array_files import free_memory
from kerasurgeon.errors import PlanError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.injection import limited
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.keras_io.model_config import check_config

Array = np.ndarray[Any, Any]


def network_config(network: Graph) -> dict[str, Any]:
    """What ``network_from_config`` makes it from again, as plain data.

    Raises:
        PlanError: A layer's config cannot be written as JSON.
    """
    try:
        made: dict[str, Any] = json.loads(emit(network, compile=False).to_json())
    except (TypeError, ValueError) as error:
        raise PlanError("The network cannot be written to a plan.", where=network.name, got=str(error)) from error
    return made


def network_from_config(config: Mapping[str, Any]) -> Graph:
    """The network of a config, with fresh weights.

    Raises:
        PlanError: Keras cannot make it in safe mode, as where a layer's class is not registered.
    """
    try:
        check_config(config)
        with limited(free_memory()):
            return lift(keras.models.model_from_json(json.dumps(config)))
    except Exception as error:
        raise PlanError(
            "The plan's network cannot be made.",
            where=str(config.get("config", {}).get("name", "")) if isinstance(config, Mapping) else None,
            got=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            hint="classes of your own are found if registered with keras.saving.register_keras_serializable",
        ) from error


def network_weights(network: Graph) -> dict[str, Array]:
    """The weights by layer and path, as ``"conv/kernel"``."""
    return {
        f"{key}/{path}": weight.array for key, layer in network.layers.items() for path, weight in layer.weights.items()
    }


def with_weights(network: Graph, weights: Mapping[str, Array]) -> Graph:
    """The network with these weights.

    Raises:
        PlanError: They are not its weights.
    """
    wanted = {key: array.shape for key, array in network_weights(network).items()}
    given = {key: np.shape(array) for key, array in weights.items()}
    if wanted != given:
        odd = sorted(set(wanted.items()) ^ set(given.items()))
        raise PlanError(
            "The plan's weights are not those of its network.",
            where=network.name,
            expected=", ".join(f"{key} {shape}" for key, shape in odd if wanted.get(key) == shape) or "fewer",
            got=", ".join(f"{key} {shape}" for key, shape in odd if given.get(key) == shape) or "fewer",
        )
    result = network.copy()
    for key, layer in network.layers.items():
        for path in layer.weights:
            result.set_weight(key, path, weights[f"{key}/{path}"])
    return result


__all__ = ["Array", "network_config", "network_from_config", "network_weights", "with_weights"]
