"""Layers inside layers: read from the config of the layer around them, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.keras_io.internals import Functional
from kerasurgeon.rules.call import CannotTell


def inner_layer(outer: Layer, entry: Any) -> Layer:
    """The definition of a layer inside another, with its weights.

    Args:
        outer: The layer around it.
        entry: Where the config of ``outer`` holds it: what ``keras.saving.serialize_keras_object`` made.

    Raises:
        CannotTell: Its class is not to be found.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), Mapping):
        raise CannotTell(f"the config of {outer.name!r} does not describe the layer inside")
    config: Mapping[str, Any] = entry["config"]
    name = str(config.get("name", entry["class_name"]))
    prefix = f"{name}/"
    weights = {key.removeprefix(prefix): weight for key, weight in outer.weights.items() if key.startswith(prefix)}
    custom = outer.custom_objects
    return Layer(name, _class(entry, custom), config, weights=weights, custom_objects=custom)


def _class(entry: Mapping[str, Any], custom: Mapping[str, Any]) -> type[Any]:
    name, registered = str(entry["class_name"]), entry.get("registered_name")
    found: Any = None
    if str(entry.get("module", "")).split(".")[0] == "keras":
        found = Functional if name == "Functional" else getattr(keras.layers, name, getattr(keras, name, None))
    else:
        for key in (registered, name):
            found = found or (custom.get(key) or keras.saving.get_registered_object(key) if key else None)
    if not isinstance(found, type):
        raise CannotTell(f"the class {name!r} of a layer inside is not to be found")
    return found
