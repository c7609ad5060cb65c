"""Put an ONNX model into a file; beside it, where it is too large for one, a file with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# One protobuf message holds less than 2 GiB.
LARGEST_FILE = 2**31 - 2**24


def data_file(path: Path) -> Path:
    """Where the weights of a model are that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def save(proto: Any, path: Path) -> None:
    """Write a model.

    Args:
        proto: An ``onnx.ModelProto``; where it is too large for one file, its weights are taken out.
        path: Where to write; large weights go to ``data_file(path)`` where one file cannot hold them.
    """
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > LARGEST_FILE:
        from onnx import external_data_helper

        external_data_helper.convert_model_to_external_data(proto, location=data_file(path).name)
        external_data_helper.write_external_data_tensors(proto, str(path.parent))
    path.write_bytes(proto.SerializeToString())
