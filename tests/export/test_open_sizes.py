"""One file for every size: what resizes, sorts and multiplies along open axes. The oracle is Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tests.export import test_onnx_writer as onnx_file
from tests.export import test_tflite_writer as tflite_file
from tests.export.runtimes import difference, expected

IMAGES = ((3, 4), (7, 9), (16, 11))
"""Sizes of images, made larger and smaller."""


def resizings() -> dict[str, Any]:
    size = {"height": 5, "width": 12}
    found: dict[str, Any] = {
        mode: layers.Resizing(**size, interpolation=mode)
        for mode in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area")
    }
    for mode in ("bilinear", "bicubic", "lanczos3"):
        found[f"{mode}, smooth"] = layers.Resizing(**size, interpolation=mode, antialias=True)
    found["cropped"] = layers.Resizing(**size, crop_to_aspect_ratio=True, interpolation="bicubic")
    found["padded"] = layers.Resizing(**size, pad_to_aspect_ratio=True, fill_mode="constant", fill_value=1.5)
    return found


def test_images_of_every_size() -> None:
    image = keras.Input((None, None, 3), name="image")
    made = resizings()
    model = keras.Model(image, [layer(image) for layer in made.values()])
    proto, data = onnx_file.written(model), tflite_file.written(model, batch_size=None)
    for rows, columns in IMAGES:
        pixels = np.random.default_rng(rows).uniform(size=(2, rows, columns, 3)).astype("float32")
        wanted = expected(model, pixels)
        got = {"onnx": onnx_file.run(proto, pixels), "tflite": tflite_file.run(data, pixels)}
        for where, several in got.items():
            for name, one, other in zip(made, wanted, several, strict=True):
                assert difference([one], [other]) < 2e-5, f"{where}, {name}, {rows} x {columns}"


def test_parts_of_images_of_every_size() -> None:
    image = keras.Input((None, None, 4), name="image")
    several = [
        layers.AdaptiveAveragePooling2D(3)(image),
        layers.AdaptiveMaxPooling2D((2, 4))(image),
        layers.MultiHeadAttention(2, 3)(image, image),
        layers.EinsumDense("abcd,de->acbe", (None, None, 3))(image),
        ops.take(image, [2, 0, -1], axis=1),
        ops.median(image, axis=(1, 2)),
        *ops.array_split(image, 3, axis=1),
        *ops.split(image, [1, 2], axis=2),
    ]
    model = keras.Model(image, several)
    proto, data = onnx_file.written(model), tflite_file.written(model, batch_size=None)
    for rows, columns in IMAGES:
        pixels = np.random.default_rng(rows).uniform(-1, 1, size=(2, rows, columns, 4)).astype("float32")
        wanted = expected(model, pixels)
        for got in (onnx_file.run(proto, pixels), tflite_file.run(data, pixels)):
            for place, (one, other) in enumerate(zip(wanted, got, strict=True)):
                assert difference([one], [other]) < 1e-5, f"output {place}, {rows} x {columns}"


def test_orders_and_products_of_every_length() -> None:
    x = keras.Input((None, 3), name="x")
    made = [ops.median(x, axis=1), ops.cumprod(x, axis=1), ops.quantile(x, 0.3, axis=1, keepdims=True)]
    model = keras.Model(x, [*made, ops.cumprod(ops.cast(x * 2, "int64"), axis=1)])
    proto, data = onnx_file.written(model), tflite_file.written(model, batch_size=None)
    for steps in (1, 2, 5, 20):
        rows = np.random.default_rng(steps).normal(size=(2, steps, 3)).astype("float32")
        for got in (onnx_file.run(proto, rows), tflite_file.run(data, rows)):
            wanted = expected(model, rows)
            assert difference(wanted[:-1], got[:-1]) < 1e-5
            assert np.array_equal(wanted[-1], got[-1])
