"""What a model's config may name.

In safe mode Keras makes no Python function of what a file holds, and imports no module for it. But it finds by its name
each function that it exports, and a layer may be told to call one, with arguments from the file: some of them write
pictures, fetch files or change settings of the process. So only those that belong to models are let through.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras

from kerasurgeon.errors import ModelFileError

# Where Keras keeps functions that compute a tensor from tensors, or make layers, and touch nothing else.
_FUNCTIONS = (
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.ops",
    "keras.quantizers",
    "keras.random",
    "keras.regularizers",
)
_ALSO = frozenset({"keras.utils.normalize", "keras.utils.to_categorical"})
# In these modules, too, there are those that make an object of a config.
_MAKERS = frozenset({"deserialize", "get", "serialize"})


def check_config(config: Any, where: str | None = None, how: str = "unsafe=True") -> None:
    """Refuse a config that names functions of Keras which are no part of a model.

    Args:
        config: What JSON holds: of a model, a layer, or how a model is compiled.
        where: The file, for errors.
        how: How the user says that a file is trusted.

    Raises:
        ModelFileError: It names one.
    """
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            _check_name(item, where, how)
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)


def _check_name(item: Mapping[str, Any], where: str | None, how: str) -> None:
    module, name = item.get("module"), item.get("class_name")
    if name == "function":
        name = item.get("config")
    if not isinstance(module, str) or not isinstance(name, str) or module.split(".")[0] != "keras":
        return  # a registered class or function, or none: Keras looks nowhere else
    full = f"{module}.{name}"
    try:
        found = functools.reduce(getattr, full.split(".")[1:], keras)
    except AttributeError:
        # Keras itself makes classes only of what it does not export; the names of its first version are all functions.
        if "._legacy" not in full:
            return
        found = None
    known = any(module == known or module.startswith(f"{known}.") for known in _FUNCTIONS) and name not in _MAKERS
    if not isinstance(found, type) and not known and full not in _ALSO:
        raise ModelFileError(
            f"The model names {full!r}, which is no part of a model and may do harm if a file says how it is called.",
            where=where,
            expected=f"layers, and functions of {', '.join(_FUNCTIONS)}",
            hint=f"if you trust the file, load it with {how}",
        )


__all__ = ["check_config"]
