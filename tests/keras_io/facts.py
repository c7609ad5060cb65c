"""What two Keras models must share to be the same model, and what must not change in one that is only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tests.zoo import ZOO, flatten_layers

# Zoo cases that cannot come back as they were, each for a reason that the user is told.
REFUSED = {"custom_without_config": "its get_config() fails, so no layer like it can be made: LiftError"}
CHANGED = {"functional_subclass_with_options": "its constructor takes no graph: emitted as keras.Model, with a note"}
SAME = [name for name in ZOO if name not in REFUSED and name not in CHANGED]


@dataclass(frozen=True)
class Facts:
    """What Keras says of a model. Two models with equal facts are configured alike."""

    cls: type[Any]
    name: str
    config: Any
    inputs: Any
    outputs: Any
    output_names: Any
    layers: list[Any]
    weights: list[Any]
    trainable_weights: list[str]
    compiled: Any


def facts(model: Any) -> Facts:
    functional = getattr(model, "_functional", None) or model
    return Facts(
        cls=type(model),
        name=model.name,
        config=_or_error(model.get_config),
        inputs=keras.tree.map_structure(
            lambda t: (t._keras_history.operation.name, t.shape, t.dtype), functional._inputs_struct
        ),
        outputs=keras.tree.map_structure(lambda t: (t.shape, t.dtype), functional._outputs_struct),
        output_names=getattr(model, "output_names", None),
        layers=[_layer_facts(path, layer) for path, layer in named_layers(model)],
        weights=[
            (weight.path, str(weight.dtype), tuple(weight.shape), bool(weight.trainable)) for weight in model.weights
        ],
        trainable_weights=[weight.path for weight in model.trainable_weights],
        compiled=model.get_compile_config() if model.compiled else None,
    )


def named_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The layers of a model and of the models in it, as the user sees them."""
    for layer in model.layers:
        yield prefix + layer.name, layer
        if isinstance(layer, keras.Sequential) or hasattr(layer, "_inputs_struct"):
            yield from named_layers(layer, f"{prefix}{layer.name}/")


def _layer_facts(path: str, layer: Any) -> tuple[Any, ...]:
    if isinstance(layer, keras.layers.InputLayer):  # Keras never says its policy, which has no effect
        return path, type(layer), bool(layer.trainable)
    inside = [(type(part), bool(part.trainable), str(part.compute_dtype)) for part in flatten_layers(layer)]
    policy = keras.dtype_policies.serialize(layer.dtype_policy)
    return path, type(layer), bool(layer.trainable), policy, layer.autocast, len(layer.weights), inside


def _or_error(function: Any) -> Any:
    try:
        return function()
    except (NotImplementedError, TypeError) as error:  # a model that Keras cannot describe: see its zoo case
        return type(error)


def state(model: Any) -> dict[str, Any]:
    """All that lifting must leave alone: facts, values, and who calls which layer."""
    optimizer = model.optimizer.variables if getattr(model, "optimizer", None) is not None else []
    operations = (getattr(model, "_functional", None) or model).operations
    return {
        "facts": facts(model),
        "variables": values(model.variables),
        "optimizer": values(optimizer),
        "metrics": values(model.metrics_variables if model.compiled else []),
        "calls": [
            (operation.name, len(operation._inbound_nodes), len(operation._outbound_nodes)) for operation in operations
        ],
    }


def values(variables: Any) -> list[np.ndarray[Any, Any]]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def arrays(outputs: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(outputs)]


def predict(model: Any, inputs: Any) -> list[np.ndarray[Any, Any]]:
    return arrays(model(inputs, training=False))


def bitwise_equal(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]]) -> bool:
    return len(one) == len(other) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where two nested structures first differ, or ``None``: an assertion on it shows the place."""
    if type(one) is not type(other):
        return f"{path}: {one!r} is not {other!r}"
    if isinstance(one, Facts):
        return difference(vars(one), vars(other), path)
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{path}: keys {sorted(one, key=str)} are not {sorted(other, key=str)}"
        return next(filter(None, (difference(one[key], other[key], f"{path}.{key}") for key in one)), None)
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{path}: {len(one)} entries are not {len(other)}"
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, f"{path}[{index}]") for index, (a, b) in pairs)), None)
    same = one is other or (one.tobytes() == other.tobytes() if isinstance(one, np.ndarray) else bool(one == other))
    return None if same else f"{path}: {one!r} is not {other!r}"
