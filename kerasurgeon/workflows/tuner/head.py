"""The classifier behind the features."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from kerasurgeon.ir.graph import Graph

_POOLINGS = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D, 5: layers.GlobalAveragePooling3D}


def classifier(features: Any, units: int, classes: int, data_format: str) -> Any:
    """Global average pooling, a linear layer, and a softmax over the classes.

    Args:
        features: A Keras tensor of shape ``(batch, ..., channels)``, or ``(batch, channels)``, which is not pooled.
        units: Width of the linear layer.
        classes: How many classes.
        data_format: ``"channels_last"`` or ``"channels_first"``, of the features.

    Returns:
        Probabilities of shape ``(batch, classes)``, in float32.
    """
    rank = len(features.shape)
    if rank in _POOLINGS:
        features = _POOLINGS[rank](data_format=data_format, name="head_pool")(features)
    elif rank > 2:
        features = layers.Flatten(name="head_flatten")(features)
    hidden = layers.Dense(units, name="head_units")(features)
    # Probabilities in half precision would round small losses away.
    return layers.Dense(classes, activation="softmax", dtype="float32", name="head_classes")(hidden)


def data_format_of(graph: Graph) -> str:
    """Where the channels of a graph's output are: as its last layer says that says it, or as Keras is set."""
    for node in reversed(graph.nodes()):
        given = graph.layer_of(node).config.get("data_format")
        if isinstance(given, str):
            return given
    return str(keras.config.image_data_format())
