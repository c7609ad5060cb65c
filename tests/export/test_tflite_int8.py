"""TFLite files of int8, and of int8 weights, from the graph. The oracle is the runtime, called directly, and Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from kerasurgeon.exporting.api import export
from tests.export.runtimes import relative_error, run_keras, run_tflite
from tests.zoo import randomise


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def every_kernel() -> keras.Model:
    image, tokens = keras.Input((8, 8, 16), name="image"), keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="plain")(image)
    x = layers.Conv2D(32, 3, padding="same", dilation_rate=2, name="dilated")(x)
    x = layers.Conv2D(32, 3, padding="same", groups=4, activation="relu", name="grouped")(x)
    x = layers.DepthwiseConv2D(7, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, name="transposed")(x)
    words = layers.LSTM(16, name="recurrent")(layers.Embedding(50, 24, name="table")(tokens))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), words])
    model = keras.Model([image, tokens], layers.Dense(64, name="dense")(x))
    randomise(model, 0)
    return model


def test_weights_of_eight_bits(tmp_path: Path) -> None:
    model, path = every_kernel(), tmp_path / "m.tflite"
    feeds = {"image": numbers(2, 8, 8, 16), "tokens": np.random.default_rng(1).integers(0, 50, (2, 6)).astype("int32")}
    export(model, path, quantize="dynamic", writer="graph", inputs=feeds)
    (wanted,) = run_keras(model, feeds)
    assert relative_error(wanted, run_tflite(path, feeds)["dense"]) < 0.05
    runtime = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    runtime.allocate_tensors()
    stored = {detail["name"]: detail for detail in runtime.get_tensor_details() if detail["dtype"] == np.int8}
    axes = {"plain": 0, "dilated": 0, "grouped": 0, "depthwise": 3, "transposed": 0, "table": 0, "dense": 0}
    found = {layer: next(each for name, each in stored.items() if name.startswith(f"{layer}/")) for layer in axes}
    assert len([name for name in stored if name.startswith("recurrent/")]) >= 1
    orders: dict[str, tuple[int, ...]] = {
        "plain": (3, 0, 1, 2),
        "dilated": (3, 0, 1, 2),
        "grouped": (3, 0, 1, 2),
        "depthwise": (3, 0, 1, 2),
    }
    orders |= {"transposed": (2, 0, 1, 3), "dense": (1, 0), "table": (0, 1)}
    for layer, detail in found.items():
        known = detail["quantization_parameters"]
        sizes = [1] * len(detail["shape"])
        sizes[known["quantized_dimension"]] = -1
        scale = known["scales"].reshape(sizes)
        assert known["quantized_dimension"] == axes[layer]
        assert known["scales"].size == detail["shape"][axes[layer]]
        kernel = np.asarray(model.get_layer(layer).weights[0])
        got = runtime.get_tensor(detail["index"]) * scale
        assert (np.abs(kernel.transpose(orders[layer]).reshape(got.shape) - got) <= scale * 0.5001).all()
    assert path.stat().st_size < 0.5 * 4 * model.count_params()


@pytest.mark.parametrize("integer_io", [False, True])
def test_twelve_outputs_keep_their_names_and_order(tmp_path: Path, integer_io: bool) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(image)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, {f"out{i}": layers.Dense(4, name=f"head{i}")(pooled) for i in (*range(11, -1, -1),)})
    randomise(model, 0)
    data, path = numbers(64, 8, 8, 3), tmp_path / "m.tflite"
    report = export(model, path, quantize="int8", calibration=data, integer_io=integer_io, writer="graph")
    assert report.notes == ()
    runtime = Interpreter(str(path))
    runner = runtime.get_signature_runner("serving_default")
    given, made = runner.get_input_details()["image"], runner.get_output_details()
    wanted = {name: np.asarray(each) for name, each in model(data[:1]).items()}
    assert [each["index"] for each in runtime.get_output_details()] == [made[name]["index"] for name in sorted(made)]
    got = runner(image=as_stored(data[:1], given))
    for name, array in wanted.items():
        assert np.abs(as_reals(got[name], made[name]) - array).max() < 0.1 * np.abs(array).max(), name


def as_stored(array: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero = detail["quantization"]
    return np.clip(np.round(array / scale) + zero, -128, 127).astype(np.int8) if scale else array


def as_reals(array: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype("float32") - zero) * scale if scale else array


def test_large_numbers_that_mask_nothing_stay(tmp_path: Path) -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, layers.Dense(4, name="y")(layers.Rescaling(40000.0)(layers.Dense(8)(x))))
    data = numbers(64, 6)
    report = export(model, tmp_path / "m.tflite", quantize="int8", calibration=data, writer="graph")
    assert report.outputs[0].rms_error < 0.1


def test_what_stays_float_is_said(tmp_path: Path) -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.ops.erf(layers.Dense(8, name="d")(x)))
    data = numbers(64, 6)
    report = export(model, tmp_path / "m.tflite", quantize="int8", calibration=data)
    assert any("stay float32" in note for note in report.notes)
