"""What a TFLite file says of itself: an entry of its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

METADATA = "kerasurgeon"
"""The name of a file's metadata of ours: JSON, texts by key."""


def describe(model: Any, said: Mapping[str, str]) -> None:
    """Write into a model what is to be known of it.

    Args:
        model: The ``ModelT`` of a TFLite file.
        said: Texts by key.
    """
    from ai_edge_litert import schema_py_generated as schema

    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(json.dumps(said).encode(), np.uint8)
    entry.name, entry.buffer = METADATA.encode(), len(model.buffers)
    model.buffers = [*model.buffers, buffer]
    model.metadata = [*(each for each in model.metadata or () if each.name != entry.name), entry]


def description(content: Any) -> dict[str, str]:
    """What a file says of itself; nothing where it says nothing that can be read."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    for entry in (model.Metadata(place) for place in range(model.MetadataLength())):
        if entry.Name() == METADATA.encode():
            found = json.loads(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
            return {str(key): str(value) for key, value in found.items()}
    return {}
