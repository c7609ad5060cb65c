"""Runners, comparison and latency over all kinds of models."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import ExportError, ModelFileError, OptionError
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.benchmark import latency
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.exporting.parity import compare, measure
from tests.export.runtimes import relative_error, run_keras

KINDS = ("memory", "keras", "tflite", "onnx")


@pytest.fixture
def forms(two_in_two_out: keras.Model, tmp_path: Path) -> dict[str, Any]:
    """One model in memory and in every format."""
    made: dict[str, Any] = {"memory": two_in_two_out}
    for suffix in ("keras", "tflite", "onnx"):
        made[suffix] = tmp_path / f"model.{suffix}"
        export(two_in_two_out, made[suffix])
    return made


def test_every_kind_runs_the_same(forms: dict[str, Any], two_inputs: dict[str, np.ndarray]) -> None:
    alpha, zeta = run_keras(forms["memory"], two_inputs)
    for kind in KINDS:
        runner = open_runner(forms[kind])
        assert {info.name for info in runner.inputs} == {"a_meta", "z_picture"}
        assert {info.name for info in runner.outputs} == {"alpha", "zeta"}
        got = runner.run(two_inputs)
        assert relative_error(alpha, got["alpha"]) < 1e-5
        assert relative_error(zeta, got["zeta"]) < 1e-5
        by_position = runner.run([two_inputs[info.name] for info in runner.inputs])
        np.testing.assert_allclose(by_position["zeta"], got["zeta"], rtol=1e-6)


def test_compare_in_every_combination(forms: dict[str, Any]) -> None:
    for first, second in itertools.product(KINDS, KINDS):
        report = compare(forms[first], forms[second], samples=2)
        assert report.relative_error < 1e-5, (first, second)
        assert {output.name for output in report.outputs} == {"alpha", "zeta"}
        assert report.samples == 2


def test_compare_finds_a_difference(small_cnn: keras.Model, tmp_path: Path) -> None:
    export(small_cnn, tmp_path / "a.tflite")
    bias = small_cnn.get_layer("logits").bias
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.25, 0, 0, 0, 0]))
    (output,) = compare(tmp_path / "a.tflite", small_cnn).outputs
    assert output.max_abs_error == pytest.approx(0.25, rel=1e-3)


def test_compare_needs_the_same_border(small_cnn: keras.Model, two_in_two_out: keras.Model) -> None:
    with pytest.raises(OptionError, match="different inputs"):
        compare(small_cnn, two_in_two_out)


def test_measures_are_what_they_say() -> None:
    expected = {"y": np.array([[1.0, -4.0, 2.0], [0.0, 1.0, 3.0]], np.float32)}
    got = {"y": np.array([[1.0, -4.0, 2.5], [0.0, 3.5, 3.0]], np.float32)}
    (output,) = measure(expected, got)
    assert output.max_abs_error == 2.5
    assert output.relative_error == 2.5 / 4
    assert output.argmax_agreement == 0.5
    (zero,) = measure({"y": np.zeros((2, 1))}, {"y": np.zeros((2, 1))})
    assert (zero.relative_error, zero.argmax_agreement) == (0.0, None)
    with pytest.raises(ExportError, match="NaN"):
        measure(expected, {"y": np.full((2, 3), np.nan)})
    with pytest.raises(ExportError, match="shape"):
        measure(expected, {"y": np.zeros((2, 4))})


def test_batches_of_any_size(small_cnn: keras.Model, images: np.ndarray, tmp_path: Path) -> None:
    (expected,) = run_keras(small_cnn, {"image": images})
    for name, batch in (("one.tflite", 1), ("five.tflite", 5), ("free.tflite", None), ("five.onnx", 5)):
        export(small_cnn, tmp_path / name, batch_size=batch)
        runner = open_runner(tmp_path / name)
        assert runner.batch_size == batch
        assert relative_error(expected, runner.run(images)["logits"]) < 1e-5
        assert relative_error(expected[:3], runner.run(images[:3])["logits"]) < 1e-5


def test_many_samples_are_cut_into_batches(small_cnn: keras.Model) -> None:
    images = np.random.default_rng(0).random((150, 8, 8, 3), np.float32)
    got = open_runner(small_cnn).run(images)["logits"]
    assert relative_error(run_keras(small_cnn, {"image": images})[0], got) < 1e-6


def test_quantised_interface_takes_reals_and_integers(
    small_cnn: keras.Model, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    export(small_cnn, path, quantize="int8", calibration=images, integer_io=True)
    runner = open_runner(path)
    (info,) = runner.inputs
    assert info.dtype == "int8"
    assert info.quantization is not None
    scale, zero = info.quantization
    integers = np.clip(np.round(images / scale) + zero, -128, 127).astype(np.int8)
    reals = runner.run(images)["logits"]
    assert reals.dtype == np.float32
    np.testing.assert_array_equal(reals, runner.run(integers)["logits"])
    assert relative_error(run_keras(small_cnn, {"image": images})[0], reals) < 0.1


@pytest.mark.parametrize("suffix", ["keras", "tflite", "onnx"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_truncated_files(small_cnn: keras.Model, tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"model.{suffix}"
    export(small_cnn, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ModelFileError, match=rf"model\.{suffix}"):
        open_runner(path)


@pytest.mark.parametrize("suffix", ["keras", "tflite", "onnx"])
def test_files_that_are_something_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"certainly no model, whatever the name says" * 100)
    with pytest.raises(ModelFileError, match=r"what to do|identifier"):
        open_runner(path)


def test_missing_files(small_cnn: keras.Model, tmp_path: Path) -> None:
    export(small_cnn, tmp_path / "model.tflite")
    with pytest.raises(ModelFileError, match=r"did you mean 'model\.tflite'"):
        open_runner(tmp_path / "modle.tflite")
    with pytest.raises(ModelFileError, match="ending in"):
        open_runner(tmp_path / "model.pb")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelFileError, match="directory"):
        open_runner(tmp_path / "folder.onnx")


def test_lambda_layers_need_consent(tmp_path: Path) -> None:
    given = keras.Input((3,), name="given")
    model = keras.Model(given, keras.layers.Lambda(lambda t: 2 * t, name="twice")(given))
    export(model, tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="safe_mode=False"):
        open_runner(tmp_path / "model.keras")
    got = open_runner(tmp_path / "model.keras", safe_mode=False).run(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(got["twice"], np.full((1, 3), 2))


def test_latency_is_measured_side_by_side(forms: dict[str, Any]) -> None:
    table = latency(forms, rounds=3, warmup=1)
    assert [row.name for row in table.rows] == list(KINDS)
    assert [row.kind for row in table.rows] == ["keras", "keras", "tflite", "onnx"]
    assert table.rows[0].ratio == 1.0
    for row in table.rows:
        assert 0 < row.low_ms <= row.median_ms <= row.high_ms
        assert row.ratio == pytest.approx(row.median_ms / table.rows[0].median_ms)
    assert "ratio" in str(table)
    with pytest.raises(OptionError, match="batch size"):
        latency({"a": forms["tflite"]}, batch_size=2)
    with pytest.raises(OptionError, match="Nothing"):
        latency({})


def test_a_model_that_fails_is_an_error_in_words(tmp_path: Path) -> None:
    """The layer inside computes in float64 on what the wrapper has made float32: Keras builds it, and cannot run it."""
    given = keras.Input((3, 6, 6, 2), dtype="float64")
    model = keras.Model(given, keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3, dtype="float64"))(given))
    for call in (lambda: compare(model, model), lambda: export(model, tmp_path / "m.keras")):
        with pytest.raises(ExportError, match=r"The Keras model itself cannot be run[^$]*float64"):
            call()
    assert not list(tmp_path.iterdir())
