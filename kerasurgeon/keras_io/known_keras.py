"""Which releases of Keras kerasurgeon knows from inside, and what it says where another one lacks what it needs."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import keras

from kerasurgeon.errors import UnknownKerasError

KNOWN = ("3.15",)
"""The releases that all tests of lifting and emitting have passed with."""


def is_known() -> bool:
    """Whether this Keras is one of the releases in ``KNOWN``."""
    return ".".join(keras.__version__.split(".")[:2]) in KNOWN


def optional(module: str, name: str = "") -> Any:
    """A private module of Keras, or something in one; ``None`` where this Keras has none.

    Args:
        module: Its dotted name.
        name: What is wanted of it; empty for the module itself.
    """
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError):
        return None


def required(module: str, name: str = "") -> Any:
    """As ``optional``, of what nothing works without.

    Raises:
        UnknownKerasError: This Keras has none.
    """
    found = optional(module, name)
    if found is None:
        raise unknown(f"{module}.{name}" if name else module)
    return found


def unknown(missing: str) -> UnknownKerasError:
    """The error for something that this Keras lacks, in one line."""
    return UnknownKerasError(
        f"kerasurgeon knows Keras {', '.join(KNOWN)}; in Keras {keras.__version__} it does not find {missing}: "
        f"install keras=={KNOWN[-1]}.*"
    )


@functools.cache
def require_known() -> None:
    """Look for the attributes that lifting and emitting read, unless the release is known; once in a process.

    Raises:
        UnknownKerasError: One of them is missing; what is found in other releases is not used blindly.
    """
    if is_known():
        return
    for name in _METHODS:
        if not hasattr(keras.Layer, name):
            raise unknown(f"Layer.{name}")
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(1)
    model = keras.Model(inputs, layer(inputs))
    tensor = model.outputs[0]
    owners = {"Functional": model, "Layer": layer, "KerasTensor": tensor}
    for owner, names in _READ.items():
        for name in names:
            if not hasattr(owners[owner], name):
                raise unknown(f"{owner}.{name}")
    history = tensor._keras_history
    for name in ("operation", "node_index", "tensor_index"):
        if not hasattr(history, name):
            raise unknown(f"KerasTensor._keras_history.{name}")
    for name in ("operation", "arguments", "input_tensors", "outputs"):
        if not hasattr(layer._inbound_nodes[0], name):
            raise unknown(f"Node.{name}")


_METHODS = ("_flatten_layers", "_open_name_scope", "_maybe_build", "add_weight")
_READ = {
    "Functional": ("_nodes_by_depth", "_inputs_struct", "_outputs_struct"),
    "Layer": (
        "_inbound_nodes",
        "_outbound_nodes",
        "_layers",
        "_parent_path",
        "_call_signature",
        "_call_context_args",
        "_called",
        "_trainable",
        "_remat_mode",
        "autocast",
    ),
    "KerasTensor": ("_keras_history", "sparse"),
}

__all__ = ["KNOWN", "is_known", "optional", "require_known", "required", "unknown"]
