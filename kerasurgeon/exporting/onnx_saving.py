"""ONNX models whose large tensors stay arrays until a file is written: each is then copied once, to its place there.

The message of a whole model would hold all weights a second time, and its bytes a third time. The file's form is that
of any protobuf message: fields, each a key, for bytes a length, and the bytes. A message's fields may come in any
order, so that the graph comes last, and in it its initialisers, and in each of these its data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerasurgeon.exporting.tensors import Array

# One protobuf message holds less than 2 GiB.
LARGEST_FILE = 2**31 - 2**24

_LARGE = 1024  # bytes: tensors from here on stay arrays
_AT_ONCE = 2**24  # bytes that are copied together
_ALIGNMENT = 4096  # of tensors in a file of their own: runtimes map such files into memory
# The keys of the fields in which bytes stand: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = (number << 3 | 2 for number in (7, 5, 9))


@dataclass(slots=True)
class OnnxModel:
    """An ONNX model.

    Attributes:
        proto: An ``onnx.ModelProto``.
        arrays: The values of initialisers that it has without any, by name.
    """

    proto: Any
    arrays: dict[str, Array]

    def put(self, tensor: Any, name: str, array: Array, data_type: int) -> None:
        """Say what a tensor of the message is; a large one's values stay an array.

        Args:
            tensor: An initialiser of the graph.
            name: What it is called now.
            array: Its values.
            data_type: ONNX's number of its dtype.
        """
        self.arrays.pop(tensor.name, None)
        tensor.Clear()
        tensor.name, tensor.data_type = name, data_type
        tensor.dims.extend(array.shape)
        if array.nbytes >= _LARGE:
            self.arrays[name] = array
        else:
            tensor.raw_data = array.tobytes()

    def values(self, tensor: Any) -> Array:
        """The values of an initialiser."""
        from onnx import numpy_helper

        found: Array = self.arrays[tensor.name] if tensor.name in self.arrays else numpy_helper.to_array(tensor)
        return found

    def whole(self) -> Any:
        """The message with all values in it; the arrays are given up."""
        for tensor in self.proto.graph.initializer:
            if tensor.name in self.arrays:
                tensor.raw_data = self.arrays.pop(tensor.name).tobytes()
        return self.proto


def describe(proto: Any, said: Mapping[str, str]) -> None:
    """Write into a model what is to be known of it.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.
        said: Texts by key.
    """
    from onnx import helper

    proto.producer_name, proto.producer_version = "kerasurgeon", said.get("kerasurgeon", "")
    helper.set_model_props(proto, dict(said))


def data_file(path: Path) -> Path:
    """Where the weights of a model are that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def save(model: OnnxModel, path: Path) -> None:
    """Write a model.

    Args:
        model: The model; it is the same afterwards.
        path: Where to write; large weights go to ``data_file(path)`` where one file cannot hold them.
    """
    import onnx

    if not model.arrays:
        path.write_bytes(model.proto.SerializeToString())
        return
    rest = onnx.ModelProto()
    rest.CopyFrom(model.proto)
    del rest.graph.initializer[:]
    rest.graph.initializer.extend(each for each in model.proto.graph.initializer if each.name not in model.arrays)
    large = [(each, model.arrays[each.name]) for each in model.proto.graph.initializer if each.name in model.arrays]
    if sum(array.nbytes for _, array in large) > LARGEST_FILE:
        with data_file(path).open("wb") as file:
            for tensor, array in large:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                rest.graph.initializer.append(_elsewhere(tensor, data_file(path).name, file.tell(), array.nbytes))
                _write(file, array)
        large = []
    graph = rest.graph.SerializeToString()
    rest.ClearField("graph")
    heads = [_head(tensor.SerializeToString(), array.nbytes) for tensor, array in large]
    size = len(graph) + sum(len(head) + array.nbytes for head, (_, array) in zip(heads, large, strict=True))
    with path.open("wb") as file:
        file.write(rest.SerializeToString() + _key(_GRAPH, size) + graph)
        for head, (_, array) in zip(heads, large, strict=True):
            file.write(head)
            _write(file, array)


def _head(tensor: bytes, size: int) -> bytes:
    """All of an initialiser's field but the data, which is to follow."""
    inner = tensor + _key(_RAW_DATA, size)
    return _key(_INITIALIZER, len(inner) + size) + inner


def _key(key: int, size: int) -> bytes:
    """The key of a field of bytes, and how many there are: seven bits to a byte, the lowest first."""
    found = bytearray([key])
    while size > 127:
        found.append(size & 127 | 128)
        size >>= 7
    found.append(size)
    return bytes(found)


def _elsewhere(tensor: Any, file: str, place: int, size: int) -> Any:
    """A tensor whose data is in another file."""
    import onnx

    found = onnx.TensorProto()
    found.CopyFrom(tensor)
    found.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(place)), ("length", str(size))):
        found.external_data.add(key=key, value=value)
    return found


def _write(file: BinaryIO, array: Array) -> None:
    for part in _parts(array):
        file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _parts(array: Array) -> Iterator[Array]:
    """An array in parts that are contiguous in its order, none of them large if that can be."""
    if array.nbytes <= _AT_ONCE or array.ndim == 0:
        yield array
        return
    rows = _AT_ONCE * len(array) // array.nbytes
    if not rows:
        for row in array:
            yield from _parts(row)
        return
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
