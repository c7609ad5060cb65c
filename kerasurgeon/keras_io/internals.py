"""The private parts of Keras that kerasurgeon relies on, gathered so that a new Keras release is checked in one place.

Verified with Keras 3.15. Nothing outside ``keras_io`` imports from ``keras.src``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.layers.layer import CallSpec
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops.node import Node as KerasNode
from keras.src.saving.serialization_lib import SerializableDict

__all__ = [
    "CallSpec",
    "Functional",
    "KerasNode",
    "SerializableDict",
    "flatten_layers",
    "functional_graph",
    "has_functional_constructor",
    "nodes_of",
    "parent_path",
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


def flatten_layers(layer: Any) -> list[Any]:
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def parent_path(layer: Any) -> str:
    """The name scope in which a layer was built: part of its variables' paths."""
    return getattr(layer, "_parent_path", None) or ""
