"""Parity over architecture families, measured with the runtimes directly."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasurgeon.exporting.api import export
from tests.applications import FAMILIES, application_inputs, shared_application
from tests.export.runtimes import relative_error, run_keras, run_onnx, run_tflite

# A few that differ most run always, the others in the sweep. VGG16 takes half a minute in TFLite.
ALWAYS = {
    "tflite": ("EfficientNet", "MobileNetV2", "ResNetV2"),
    "onnx": ("EfficientNet",),  # more of them in test_onnx_writer.py
}
INT8 = ("MobileNet", "MobileNetV2", "ResNet", "EfficientNet")
INT8_ALWAYS = "MobileNetV2"


def _marked(family: str, always: tuple[str, ...]) -> object:
    return pytest.param(family, marks=() if family in always else pytest.mark.sweep)


@pytest.fixture(autouse=True)
def _free_models() -> object:
    yield
    gc.collect()


@pytest.mark.spread(3)
@pytest.mark.parametrize("family", [_marked(family, ALWAYS["tflite"]) for family in FAMILIES])
def test_tflite_parity(family: str, tmp_path: Path) -> None:
    model = shared_application(FAMILIES[family])
    path = tmp_path / "model.tflite"
    report = export(model, path)
    inputs = application_inputs(model, seed=5, batch=2)
    (expected,) = run_keras(model, {"image": inputs})
    (got,) = run_tflite(path, {_input_name(model): inputs}).values()
    error = relative_error(expected, got)
    assert error < 1e-4, f"{family}: {error:.2e}"
    assert report.relative_error < 1e-4
    assert report.bytes == path.stat().st_size


@pytest.mark.sweep
@pytest.mark.parametrize("family", [_marked(family, ALWAYS["onnx"]) for family in FAMILIES])
def test_onnx_parity(family: str, tmp_path: Path) -> None:
    model = shared_application(FAMILIES[family])
    path = tmp_path / "model.onnx"
    report = export(model, path)
    inputs = application_inputs(model, seed=5, batch=2)
    (expected,) = run_keras(model, {"image": inputs})
    (got,) = run_onnx(path, {_input_name(model): inputs}).values()
    error = relative_error(expected, got)
    assert error < 1e-4, f"{family}: {error:.2e}"
    assert report.relative_error < 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize("family", [_marked(family, (INT8_ALWAYS,)) for family in INT8])
def test_int8_is_as_good_as_tensorflows_own(family: str, tmp_path: Path) -> None:
    """Random networks quantise badly (noise of 0.5 to 33 % here), so what counts is the noise that must be."""
    model = shared_application(FAMILIES[family])
    data = application_inputs(model, seed=7, batch=24)
    (expected,) = run_keras(model, {"image": data[:8]})
    (tmp_path / "plain.tflite").write_bytes(_tensorflows_int8(model, data))
    (plain,) = run_tflite(tmp_path / "plain.tflite", {str(model.inputs[0].name): data[:8]}).values()
    unavoidable = _noise(expected, plain)
    for suffix, run in (("tflite", run_tflite), ("onnx", run_onnx)):
        path = tmp_path / f"model.{suffix}"
        report = export(model, path, quantize="int8", calibration=data, inputs=data[:4], accept=1)
        (got,) = run(path, {_input_name(model): data[:8]}).values()
        noise = _noise(expected, got)
        # The same calibration by another quantiser; a wrong scale would give a noise of 1.
        assert noise < 1.5 * unavoidable + 0.01, f"{family}, {suffix}: {noise:.3f}, {unavoidable:.3f}"
        assert report.bytes < 0.5 * 4 * model.count_params()


def _noise(expected: np.ndarray, got: np.ndarray) -> float:
    return float(np.mean((expected - got) ** 2) / np.mean(expected**2))


def _tensorflows_int8(model: keras.Model, data: np.ndarray) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([data[i : i + 1]] for i in range(len(data)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(converter.convert())


def _input_name(model: object) -> str:
    return str(model.inputs[0]._keras_history.operation.name)  # type: ignore[attr-defined]
