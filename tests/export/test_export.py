"""What `export` writes, what it reports and what it leaves behind when it fails."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest

from kerasurgeon.errors import ExportError, ModelFileError, OptionError
from kerasurgeon.exporting import api, tflite_ways
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.tflite_writer import write_tflite
from tests.export.runtimes import relative_error, run_keras, run_onnx, run_tflite

Quantize = Literal["float16", "dynamic", "int8"]
FILES = ("model.keras", "model.tflite", "model.onnx")


@pytest.mark.parametrize("name", FILES)
def test_report_describes_the_file(small_cnn: keras.Model, tmp_path: Path, name: str) -> None:
    steps: list[tuple[float, str]] = []
    report = export(small_cnn, tmp_path / name, progress=lambda *step: steps.append(step))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert report.bytes == (tmp_path / name).stat().st_size
    assert report.format == name.split(".")[1]
    assert [output.name for output in report.outputs] == ["logits"]
    assert report.outputs[0].argmax_agreement == 1.0
    assert json.loads(json.dumps(report.to_dict()))["path"] == str(tmp_path / name)
    assert "logits" in str(report)
    fractions = [fraction for fraction, _ in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("name", FILES)
def test_the_model_is_left_alone(small_cnn: keras.Model, tmp_path: Path, name: str) -> None:
    before, config = [w.copy() for w in small_cnn.get_weights()], small_cnn.get_config()
    attributes = set(vars(small_cnn))
    export(small_cnn, tmp_path / name)
    assert small_cnn.get_config() == config
    assert set(vars(small_cnn)) == attributes
    for old, new in zip(before, small_cnn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_state_is_left_alone(tmp_path: Path) -> None:
    steps = keras.Input((4, 3), batch_size=1)
    model = keras.Model(steps, keras.layers.GRU(3, stateful=True, name="gru")(steps))
    before = [keras.ops.convert_to_numpy(v) for v in model.variables]
    report = export(model, tmp_path / "model.tflite")
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))
    assert any("gru" in note for note in report.notes)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_several_inputs_and_outputs_keep_their_names(
    two_in_two_out: keras.Model, two_inputs: dict[str, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model.{suffix}"
    report = export(two_in_two_out, path, inputs=two_inputs)
    assert [output.name for output in report.outputs] == ["alpha", "zeta"]
    alpha, zeta = run_keras(two_in_two_out, two_inputs)
    got = run_tflite(path, two_inputs) if suffix == "tflite" else run_onnx(path, two_inputs)
    assert set(got) == {"alpha", "zeta"}
    # Both outputs have one shape: a swap would pass every check but this.
    assert relative_error(alpha, got["alpha"]) < 1e-5
    assert relative_error(zeta, got["zeta"]) < 1e-5


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_repeated_and_passed_through_outputs(tmp_path: Path, suffix: str) -> None:
    given = keras.Input((4,), name="given")
    made = keras.layers.Dense(3, name="made")(given)
    model = keras.Model(given, [given, made, made])
    path = tmp_path / f"model.{suffix}"
    report = export(model, path)
    assert [output.name for output in report.outputs] == ["given_1", "made", "made_1"]
    assert report.relative_error < 1e-6


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_quantised_files_are_smaller_and_close(
    images: np.ndarray, tmp_path: Path, suffix: str, quantize: Quantize
) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(32, 3, activation="relu")(image)
    x = keras.layers.Conv2D(64, 3, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(x)))
    path = tmp_path / f"model.{suffix}"
    report = export(model, path, quantize=quantize, calibration=images if quantize == "int8" else None)
    (expected,) = run_keras(model, {"image": images})
    got = (run_tflite if suffix == "tflite" else run_onnx)(path, {"image": images})["logits"]
    limit = {"float16": 1e-3, "dynamic": 0.03, "int8": 0.06}[quantize]
    assert relative_error(expected, got) < limit
    assert 0 < report.relative_error < limit
    assert path.stat().st_size < {"float16": 0.6, "dynamic": 0.4, "int8": 0.4}[quantize] * 4 * model.count_params()


def test_int8_interface(small_cnn: keras.Model, images: np.ndarray, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "model.tflite"
    report = export(small_cnn, path, quantize="int8", calibration=images, integer_io=True, inputs=images)
    interpreter = Interpreter(model_path=str(path))
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["name"], given["dtype"], made["dtype"]) == ("image", np.int8, np.int8)
    assert report.relative_error < 0.1


@pytest.mark.parametrize("form", ["tuple", "mapping", "batches", "pairs"])
def test_forms_of_calibration(
    two_in_two_out: keras.Model, two_inputs: dict[str, np.ndarray], tmp_path: Path, form: str
) -> None:
    arrays = tuple(two_inputs.values())
    calibration = {
        "tuple": arrays,
        "mapping": two_inputs,
        "batches": (arrays for _ in range(3)),
        "pairs": [(two_inputs, np.zeros(3)) for _ in range(2)],
    }[form]
    report = export(two_in_two_out, tmp_path / "m.tflite", quantize="int8", calibration=calibration)
    assert report.relative_error < 0.2


def test_fixed_and_free_batch(small_cnn: keras.Model, images: np.ndarray, tmp_path: Path) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    export(small_cnn, tmp_path / "free.tflite", batch_size=None)
    interpreter = Interpreter(model_path=str(tmp_path / "free.tflite"))
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, 8, 8, 3]
    export(small_cnn, tmp_path / "four.onnx", batch_size=4)
    session = onnxruntime.InferenceSession(str(tmp_path / "four.onnx"))
    assert session.get_inputs()[0].shape == [4, 8, 8, 3]
    export(small_cnn, tmp_path / "free.onnx")
    (expected,) = run_keras(small_cnn, {"image": images})
    assert relative_error(expected, run_onnx(tmp_path / "free.onnx", {"image": images})["logits"]) < 1e-5


@pytest.mark.parametrize("opset", [8, 13, 18, 24])
def test_opsets(small_cnn: keras.Model, tmp_path: Path, opset: int) -> None:
    import onnx

    export(small_cnn, tmp_path / "model.onnx", opset=opset)
    proto = onnx.load(tmp_path / "model.onnx")
    assert {entry.version for entry in proto.opset_import if entry.domain == ""} == {opset}


def test_zero_padding_before_max_pooling_of_negative_values(tmp_path: Path) -> None:
    """ONNX Runtime folds such a pad into the pooling, which then pads with minus infinity."""
    image = keras.Input((6, 6, 2), name="image")
    x = keras.layers.ZeroPadding2D(1)(image)
    model = keras.Model(image, keras.layers.MaxPooling2D(3, 2, name="pool")(x))
    inputs = -1 - np.random.default_rng(0).random((2, 6, 6, 2), np.float32)
    export(model, tmp_path / "model.onnx", inputs=inputs)
    got = run_onnx(tmp_path / "model.onnx", {"image": inputs})["pool"]
    np.testing.assert_allclose(got, run_keras(model, {"image": inputs})[0], atol=1e-6)
    assert got.max() < 1e-6
    assert (got > -1e-6).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_half_precision_models_become_float32(tmp_path: Path, suffix: str, policy: str) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.BatchNormalization(dtype=policy)(keras.layers.Conv2D(4, 3, dtype=policy)(image))
    model = keras.Model(image, keras.layers.Dense(3, dtype=policy, name="d")(keras.layers.Flatten()(x)))
    path = tmp_path / f"model.{suffix}"
    report = export(model, path)
    assert report.relative_error < 1e-5
    assert any("float32" in note for note in report.notes)
    inputs = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    got = (run_tflite if suffix == "tflite" else run_onnx)(path, {"image": inputs})["d"]
    assert got.dtype == np.float32
    expected = run_keras(model, {"image": inputs})[0].astype(np.float32)
    assert relative_error(expected, got) < 0.05


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.parametrize("recurrent", ["LSTM", "GRU", "Bidirectional"])
def test_recurrent_layers_and_embeddings(tmp_path: Path, recurrent: str, suffix: str) -> None:
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(40, 128)(tokens)
    if recurrent == "Bidirectional":
        x = keras.layers.Bidirectional(keras.layers.LSTM(8))(x)
    else:
        x = getattr(keras.layers, recurrent)(32)(x)
    model = keras.Model(tokens, keras.layers.Dense(2, name="d")(x))
    path = tmp_path / f"model.{suffix}"
    export(model, path)
    inputs = np.random.default_rng(0).integers(0, 40, (3, 7)).astype(np.int32)
    got = (run_tflite if suffix == "tflite" else run_onnx)(path, {"tokens": inputs})["d"]
    assert relative_error(run_keras(model, {"tokens": inputs})[0], got) < 1e-5


def test_quantised_recurrent_layers(tmp_path: Path) -> None:
    """TensorFlow's calibrator dies on loops, and ONNX Runtime on dynamically quantised Embeddings."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    x = keras.layers.LSTM(32)(keras.layers.Embedding(60, 64)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2, name="d")(x))
    data = np.random.default_rng(0).integers(0, 60, (8, 7)).astype(np.int32)
    with pytest.raises(ExportError, match="unroll=True"):
        export(model, tmp_path / "model.tflite", quantize="int8", calibration=data, writer="converter")
    report = export(model, tmp_path / "model.tflite", quantize="int8", calibration=data)
    assert report.outputs[0].rms_error < 0.2
    assert not [note for note in report.notes if "converted" in note]
    with pytest.raises(ExportError, match="fixed batch size"):
        export(model, tmp_path / "model.tflite", batch_size=None, writer="converter")
    assert export(model, tmp_path / "free.tflite", batch_size=None).relative_error < 1e-5
    assert export(model, tmp_path / "model.tflite", quantize="dynamic").relative_error < 0.05
    assert export(model, tmp_path / "model.onnx", quantize="dynamic").relative_error < 0.05
    report = export(model, tmp_path / "model.onnx", quantize="int8", calibration=data, accept=1)
    assert report.relative_error < 0.1


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_layers_that_train_by_default_are_traced_for_inference(tmp_path: Path, suffix: str) -> None:
    layers = [keras.Input((6, 6, 3), name="image"), keras.layers.RandomFlip(), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(3, activation="gelu", name="d")])
    assert export(model, tmp_path / f"model.{suffix}").relative_error < 1e-5


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_free_image_size(tmp_path: Path, suffix: str) -> None:
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    model = keras.Model(image, keras.layers.GlobalMaxPooling2D(name="pooled")(x))
    inputs = np.random.default_rng(0).random((2, 20, 28, 3), np.float32)
    assert export(model, tmp_path / f"model.{suffix}", inputs=inputs).relative_error < 1e-5


@pytest.mark.parametrize("name", FILES)
def test_a_failed_check_keeps_the_old_file(
    small_cnn: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"what was there")
    monkeypatch.setattr(api, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="does not compute what the model does"):
        export(small_cnn, path)
    assert path.read_bytes() == b"what was there"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_wrong_file_is_an_error(small_cnn: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = write_tflite

    def corrupt(*args: object, **options: object) -> object:
        kernel = small_cnn.get_layer("logits").kernel
        values = keras.ops.convert_to_numpy(kernel)
        kernel.assign(1.01 * values)
        result = bytes(original(*args, **options))  # type: ignore[arg-type]
        kernel.assign(values)
        return result

    monkeypatch.setattr(tflite_ways, "write_tflite", corrupt)
    with pytest.raises(ExportError, match="'logits'"):
        export(small_cnn, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_interruption_leaves_nothing(small_cnn: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(small_cnn, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", FILES)
def test_weights_that_are_not_finite(small_cnn: keras.Model, tmp_path: Path, name: str, value: float) -> None:
    bias = small_cnn.get_layer("logits").bias
    bias.assign([value, 0, 0, 0, 0])
    with pytest.raises(ExportError, match=r"logits/bias \(1 of 5 values\)"):
        export(small_cnn, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_outputs_that_are_not_finite(tmp_path: Path) -> None:
    given = keras.Input((3,))
    model = keras.Model(given, keras.ops.log(given - 2.0))
    with pytest.raises(ExportError, match="itself gives NaN"):
        export(model, tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, r"option 'quantize' cannot be used[\s\S]*'int8' or None"),
        ({"quantize": "int8"}, "needs calibration data"),
        ({"quantize": "int8", "calibration": []}, "empty"),
        ({"quantize": "int8", "calibration": np.zeros((0, 8, 8, 3))}, "empty"),
        (
            {"quantize": "int8", "calibration": np.zeros((4, 9, 8, 3))},
            r"'image'[^$]*8, 8, 3[^$]*\(4, 9, 8, 3\)",
        ),
        ({"quantize": "int8", "calibration": np.zeros((8, 8, 3))}, r"array\[None\]"),
        ({"quantize": "int8", "calibration": np.full((4, 8, 8, 3), np.nan)}, "NaN"),
        ({"quantize": "int8", "calibration": {"picture": np.zeros((4, 8, 8, 3))}}, "picture"),
        ({"quantize": "int8", "calibration": 7}, "no data"),
        ({"calibration": np.zeros((4, 8, 8, 3))}, "int8'? only"),
        ({"integer_io": True}, "integer_io needs"),
        ({"batch_size": 0}, "no batch size"),
        ({"batch_size": "1"}, "no batch size"),
        ({"opset": 17}, "onnx files only"),
        ({"inputs": np.zeros((4, 8, 8))}, "wrong shape"),
        ({"inputs": "picture.png"}, "no array of numbers"),
    ],
)
def test_wrong_options(small_cnn: keras.Model, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        export(small_cnn, tmp_path / "model.tflite", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [7, 25, 17.0])
def test_opsets_that_cannot_be_written(small_cnn: keras.Model, tmp_path: Path, opset: int) -> None:
    with pytest.raises(OptionError, match="8 to 24"):
        export(small_cnn, tmp_path / "model.onnx", opset=opset)


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_keras_files_are_not_quantised(small_cnn: keras.Model, tmp_path: Path, quantize: Quantize) -> None:
    with pytest.raises(OptionError, match="not quantised"):
        export(small_cnn, tmp_path / "model.keras", quantize=quantize)


@pytest.mark.parametrize("name", ["model", "model.h5", "model.pb"])
def test_unknown_formats(small_cnn: keras.Model, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"\.keras, \.tflite, \.onnx"):
        export(small_cnn, tmp_path / name)


def test_places_that_cannot_be_written(small_cnn: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(ModelFileError, match="is a directory"):
        export(small_cnn, tmp_path / "folder.tflite")
    with pytest.raises(ModelFileError, match="mkdir -p"):
        export(small_cnn, tmp_path / "missing" / "model.tflite")
    (tmp_path / "there.onnx").write_bytes(b"old")
    with pytest.raises(ModelFileError, match="exists already"):
        export(small_cnn, tmp_path / "there.onnx", overwrite=False)
    assert (tmp_path / "there.onnx").read_bytes() == b"old"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ModelFileError, match="Permission denied"):
        export(small_cnn, tmp_path / "model.tflite")


@pytest.mark.parametrize("overwrite", [None, False, True])
def test_a_file_that_appears_meanwhile(small_cnn: keras.Model, tmp_path: Path, overwrite: bool | None) -> None:
    path = tmp_path / "model.keras"

    def other(fraction: float, message: str) -> None:
        if not path.exists():
            path.write_text("the work of another process")

    if overwrite:
        export(small_cnn, path, progress=other, overwrite=True)
        assert keras.saving.load_model(path).count_params() == small_cnn.count_params()
        return
    with pytest.raises(ModelFileError, match="exists already" if overwrite is False else r"kept as .*model-2\.keras"):
        export(small_cnn, path, progress=other, overwrite=overwrite)
    assert path.read_text() == "the work of another process"


def test_one_of_two_wins(small_cnn: keras.Model, tmp_path: Path) -> None:
    path, said = tmp_path / "model.keras", []
    together = threading.Barrier(2)

    def wait(fraction: float, message: str) -> None:
        if fraction == 0.95:
            together.wait(60)

    def write() -> None:
        try:
            export(small_cnn, path, overwrite=False, progress=wait)
        except ModelFileError as error:
            said.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert "model-2.keras" in said[0]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model-2.keras", "model.keras"]


def test_what_cannot_be_exported_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    given = keras.Input((8,), name="given")
    for file in (path, tmp_path / "model.onnx"):
        with pytest.raises(ExportError, match=r"(?i)next_?after"):
            export(keras.Model(given, keras.ops.nextafter(given, given)), file)
    with pytest.raises(ExportError, match="'my dense'"):
        export(keras.Model(given, keras.layers.Dense(2, name="my dense")(given)), path, writer="converter")
    with pytest.raises(ExportError, match=r"not built[^$]*keras.Input"):
        export(keras.Sequential([keras.layers.Dense(2)]), path)
    with pytest.raises(ExportError, match="Only Keras models"):
        export("model.keras", path)
    text = keras.Input((), dtype="string", name="text")
    with pytest.raises(ExportError, match="strings"):
        export(keras.Model(text, keras.layers.Identity()(text)), path)
    assert not list(tmp_path.iterdir())


def test_models_quantised_by_keras(tmp_path: Path) -> None:
    given = keras.Input((8,), name="given")
    model = keras.Model(given, keras.layers.Dense(4, name="d")(given))
    model.get_layer("d").quantize("int8")
    with pytest.raises(ExportError, match="quantised"):
        export(model, tmp_path / "model.tflite")
    assert export(model, tmp_path / "model.onnx").relative_error < 1e-3


def test_the_package_can_be_called(small_cnn: keras.Model, tmp_path: Path) -> None:
    import kerasurgeon
    import kerasurgeon.exporting as package
    import kerasurgeon.exporting.opening as opening

    assert kerasurgeon.export(small_cnn, tmp_path / "a.keras").bytes
    assert package.export(small_cnn, tmp_path / "b.keras").bytes
    assert package.open_runner is opening.open_runner
