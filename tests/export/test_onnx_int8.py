"""int8 ONNX: ONNX Runtime's own kernels, on whatever processor, compute what the file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.exporting import onnx_int8
from kerasurgeon.exporting.api import export

layers = keras.layers
Array = np.ndarray[Any, Any]


def images(shape: tuple[int, ...], count: int = 48, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def chained(*steps: Any, shape: tuple[int, ...]) -> keras.Model:
    x = inputs = keras.Input(shape, name="given")
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def attention() -> keras.Model:
    inputs = keras.Input((24, 32), name="given")
    return keras.Model(inputs, layers.MultiHeadAttention(4, 16)(inputs, inputs))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "conv": lambda: chained(layers.Conv2D(16, 3), shape=(16, 16, 8)),
    "conv_relu_conv": lambda: chained(layers.Conv2D(16, 3, activation="relu"), layers.Conv2D(8, 3), shape=(16, 16, 8)),
    "strided_1d": lambda: chained(layers.Conv1D(24, 5, strides=2, padding="same"), shape=(32, 12)),
    "depthwise": lambda: chained(layers.DepthwiseConv2D(3), layers.Conv2D(16, 1), shape=(12, 12, 16)),
    "grouped": lambda: chained(layers.Conv2D(16, 3, groups=4), shape=(12, 12, 16)),
    "transposed": lambda: chained(layers.Conv2DTranspose(12, 3, strides=2), shape=(8, 8, 8)),
    "dense": lambda: chained(layers.Dense(64, activation="relu"), layers.Dense(20), shape=(32,)),
    "lstm": lambda: chained(layers.LSTM(24), layers.Dense(4), shape=(9, 16)),
    "attention": attention,
}


def run(path: Path, inputs: Array, *, optimised: bool) -> Array:
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return np.asarray(onnxruntime.InferenceSession(str(path), options).run(None, {"given": inputs})[0])


def error(expected: Array, got: Array) -> float:
    return float(np.sqrt(np.mean(np.square(expected - got))) / expected.std())


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", MODELS)
def test_kernels_compute_what_the_file_says(name: str, tmp_path: Path) -> None:
    """On inputs that ranges were not found from; twice the error of exact arithmetic would be an overflow."""
    model = MODELS[name]()
    report = export(model, tmp_path / "m.onnx", quantize="int8", calibration=images(model.inputs[0].shape[1:]))
    inputs = images(model.inputs[0].shape[1:], count=8, seed=1)
    expected = keras.ops.convert_to_numpy(model(inputs))
    exact = error(expected, run(tmp_path / "m.onnx", inputs, optimised=False))
    used = error(expected, run(tmp_path / "m.onnx", inputs, optimised=True))
    assert exact < 0.1
    assert used < 1.5 * exact + 1e-3
    assert [note for note in report.notes if note.startswith("int8 with ")]


def stored(path: Path) -> list[Array]:
    """The integers of the weights of a file."""
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return [array for array in arrays if array.dtype in (np.int8, np.uint8) and array.ndim > 1]


@pytest.mark.parametrize(("weights", "dtype", "most"), [("full", "int8", 127), ("reduced", "int8", 64)])
def test_signed_weights(weights: Any, dtype: str, most: int, tmp_path: Path) -> None:
    model = MODELS["conv"]()
    export(model, tmp_path / "m.onnx", quantize="int8", calibration=images((16, 16, 8)), int8_weights=weights)
    (kernel,) = stored(tmp_path / "m.onnx")
    assert kernel.dtype == dtype
    largest = np.abs(kernel.astype(int)).max()
    assert most * 0.9 <= largest <= most
    # Two products of an unsigned activation and a weight of 7 bits are within 16 bits.
    assert (2 * 255 * largest <= 2**15) == (weights == "reduced")


def test_unsigned_weights(tmp_path: Path) -> None:
    model = MODELS["conv"]()
    report = export(
        model, tmp_path / "m.onnx", quantize="int8", calibration=images((16, 16, 8)), int8_weights="unsigned"
    )
    (kernel,) = stored(tmp_path / "m.onnx")
    assert kernel.dtype == np.uint8
    assert report.relative_error < 0.1
    assert not report.notes  # what was asked for needs no word


def overflowing(kept: Callable[..., list[list[Array]]]) -> Callable[..., list[list[Array]]]:
    """ONNX Runtime as it is on a processor whose kernels overflow with full weights, whatever this one does."""

    def run_(path: Path, feeds: Any, *, optimised: bool) -> list[list[Array]]:
        outputs = kept(path, feeds, optimised=False)
        if optimised and path.stem == "full":
            return [[np.clip(array, -0.3 * array.std(), None) for array in each] for each in outputs]
        return outputs

    return run_


@pytest.mark.parametrize("loses", ["neither", "reduced"])
def test_where_kernels_overflow_weights_are_stored_otherwise(
    loses: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ = overflowing(onnx_int8._run)

    def coarse(path: Path, feeds: Any, *, optimised: bool) -> list[list[Array]]:
        outputs = run_(path, feeds, optimised=optimised)
        return [[3 * array for array in each] for each in outputs] if path.stem == loses else outputs

    monkeypatch.setattr(onnx_int8, "_run", coarse)
    model = MODELS["conv"]()
    report = export(model, tmp_path / "m.onnx", quantize="int8", calibration=images((16, 16, 8)))
    (kernel,) = stored(tmp_path / "m.onnx")
    assert kernel.dtype == (np.uint8 if loses == "reduced" else np.int8)
    assert np.abs(kernel.astype(int)).max() <= (255 if loses == "reduced" else 64)
    (note,) = report.notes
    assert note.startswith("int8 with unsigned 8-bit" if loses == "reduced" else "int8 with 7-bit weights")
    assert "this processor's kernels overflow" in note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int8", "int8_weights": "7bit"}, r"'auto' or 'full' or 'reduced' or 'unsigned'"),
        ({"quantize": "dynamic", "int8_weights": "full"}, "int8 ONNX files only"),
        ({"int8_weights": "reduced"}, "int8 ONNX files only"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    if options.get("quantize") == "int8":
        options = options | {"calibration": images((32,))}
    with pytest.raises(OptionError, match=message):
        export(MODELS["dense"](), tmp_path / "m.onnx", **options)
    with pytest.raises(OptionError, match="int8 ONNX files only"):
        export(
            MODELS["dense"](), tmp_path / "m.tflite", quantize="int8", calibration=images((32,)), int8_weights="full"
        )


def test_errors_of_outputs_that_are_not_finite() -> None:
    expected = [[np.array([1.0, np.inf, 3.0], "float32"), np.array([1, 2])]]
    close = [[np.array([1.0, np.nan, 3.5], "float32"), np.array([7, 7])]]
    broken = [[np.array([np.nan, np.inf, 3.0], "float32"), np.array([1, 2])]]
    assert onnx_int8._error(expected, expected) == 0.0
    assert onnx_int8._error(expected, close) == pytest.approx(np.sqrt(0.25 / 2) / 1.0)
    assert onnx_int8._error(expected, broken) == np.inf
