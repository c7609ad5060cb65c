"""ONNX files of models that do not compute in float32, in their own precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from kerasurgeon.errors import OptionError
from kerasurgeon.exporting.api import export
from tests.export.runtimes import relative_error, run_keras, run_onnx

TYPES = onnx.TensorProto


def network(policy: str, *, norm: bool = True) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(48, 3, activation="gelu", dtype=policy, name="conv")(image)
    x = layers.BatchNormalization(dtype=policy)(x) if norm else x
    x = layers.GlobalAveragePooling2D(dtype=policy)(x)
    return keras.Model(image, layers.Dense(30, dtype=policy, name="scores")(x))


def images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 8, 8, 3), np.float32)


def weights(path: Path) -> dict[str, Any]:
    return {each.name: each for each in onnx.load(path).graph.initializer if np.prod(each.dims) >= 1024}


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_float16_is_computed_in_float16(policy: str, tmp_path: Path) -> None:
    model, path = network(policy), tmp_path / "m.onnx"
    report = export(model, path, precision="own", writer="graph")
    (note,) = report.notes
    assert "float16, in the file as well" in note
    assert {each.data_type for each in weights(path).values()} == {TYPES.FLOAT16}
    assert onnx.load(path).graph.output[0].type.tensor_type.elem_type == TYPES.FLOAT16
    (wanted,) = run_keras(model, {"image": images()})
    got = run_onnx(path, {"image": images()})["scores"]
    assert got.dtype == np.float16
    assert relative_error(wanted.astype(np.float32), got.astype(np.float32)) < 1e-2


def test_bfloat16_is_stored(tmp_path: Path) -> None:
    model, path = network("bfloat16", norm=False), tmp_path / "m.onnx"
    report = export(model, path, precision="own", writer="graph")
    assert any("stored as bfloat16" in note for note in report.notes)
    assert report.relative_error < 1e-5  # the weights have no more digits than that
    stored = weights(path)
    assert {each.data_type for each in stored.values()} == {TYPES.BFLOAT16}
    kernel = np.asarray(model.get_layer("conv").kernel).astype(np.float32)
    (found,) = (onnx.numpy_helper.to_array(each) for name, each in stored.items() if name.startswith("conv/kernel"))
    np.testing.assert_array_equal(found.astype(np.float32), kernel.transpose(3, 2, 0, 1))
    assert path.stat().st_size < 0.8 * export(model, tmp_path / "whole.onnx", writer="graph").bytes


def test_mixed_bfloat16_is_rounded(tmp_path: Path) -> None:
    report = export(network("mixed_bfloat16"), tmp_path / "m.onnx", precision="own", writer="graph")
    assert 0 < report.relative_error < 1e-2


def test_float32_is_float32(tmp_path: Path) -> None:
    report = export(network("float32"), tmp_path / "m.onnx", precision="own", writer="graph")
    assert not report.notes
    assert report.relative_error < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("m.tflite", {}),
        ("m.keras", {}),
        ("m.onnx", {"quantize": "dynamic"}),
        ("m.onnx", {"writer": "converter"}),
        ("m.onnx", {"precision": "half"}),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="precision"):
        export(network("float16"), tmp_path / name, **({"precision": "own"} | options))
