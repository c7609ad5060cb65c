"""Files that were made to do harm, or to claim what is not so, written byte by byte."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers


def vector_model() -> keras.Model:
    """Four numbers to two."""
    vector = keras.Input((4,), name="vector")
    return keras.Model(vector, layers.Dense(2, name="scores")(vector), name="vectors")


def marking(mark: Path) -> keras.Model:
    """A model whose Lambda writes a file: Python code in a file."""
    vector = keras.Input((4,), name="vector")
    function = eval(f"lambda t: (open({str(mark)!r}, 'w').close(), t)[1]")  # with nothing that it refers to
    made = keras.Model(vector, layers.Lambda(function, output_shape=(4,), name="mark")(vector))
    mark.unlink(missing_ok=True)
    return made


def described(path: Path, change: Callable[[dict[str, Any]], Any], *, base: keras.Model | None = None) -> Path:
    """A .keras file whose description is changed by hand."""
    (base or vector_model()).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps(change(config) or config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def put_layer(class_name: str, settings: dict[str, Any], module: str | None = "keras.layers") -> Any:
    """A change that puts a layer behind the last one."""

    def change(config: dict[str, Any]) -> None:
        tensor = {"shape": [None, 2], "dtype": "float32", "keras_history": ["scores", 0, 0]}
        operand = {"class_name": "__keras_tensor__", "config": tensor}
        config["config"]["layers"].append(
            {
                "module": module,
                "class_name": class_name,
                "config": {"name": "put", "dtype": "float32", **settings},
                "registered_name": None if module == "keras.layers" else class_name,
                "name": "put",
                "inbound_nodes": [{"args": [operand], "kwargs": {}}],
            }
        )
        config["config"]["output_layers"] = [["put", 0, 0]]

    return change


def function_of(module: str, name: str, **arguments: Any) -> Any:
    """A change that puts a call of a function behind the last layer."""
    function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return put_layer("Lambda", {"function": function, "arguments": arguments, "output_shape": [2]})


def written(shape: tuple[int, ...], content: bytes = b"\0" * 64) -> bytes:
    """An array as .npy has it, of this shape, whatever it holds."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return head.getvalue() + content


def masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, turned and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes, length: int | None = None) -> bytes:
    """A record of a TFRecord file, of the length that it says or another."""
    head = struct.pack("<Q", len(data) if length is None else length)
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def png(width: int, height: int) -> bytes:
    """A picture of a few pixels that says that it has more."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def example(image: bytes, labels: bytes) -> bytes:
    """A record's content, as segmentation sets have it."""
    import tensorflow as tf

    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in (("image/encoded", image), ("image/segmentation/class/encoded", labels))
    }
    content: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return content
