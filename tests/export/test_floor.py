"""Quantised files are held to something: samples kept from calibration, a floor, layers that are to blame, masks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.errors import ExportError, OptionError
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.floor import check_floor, hold_out
from kerasurgeon.exporting.parity import OutputParity, measure
from tests.export.runtimes import run_onnx, run_tflite

SUFFIXES = ("onnx", "tflite")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("sizes", [[64], [1] * 64, [30, 3, 31], [512], [32]])
def test_samples_that_are_kept_are_no_others(sizes: list[int]) -> None:
    total = sum(sizes)
    whole = np.arange(total, dtype="float32")[:, None]
    batches = [{"x": part} for part in np.split(whole, np.cumsum(sizes)[:-1])]
    rest, held = hold_out(batches)
    assert held is not None
    assert len(held["x"]) == min(total // 8, 32)
    left = np.concatenate([feeds["x"] for feeds in rest])
    np.testing.assert_array_equal(np.sort(np.concatenate([left, held["x"]]), axis=0), whole)


def test_few_samples_are_all_for_ranges() -> None:
    batches = [{"x": numbers(31, 3)}]
    assert hold_out(batches) == (batches, None)


def test_samples_of_other_sizes_are_not_kept_together() -> None:
    rest, held = hold_out([{"x": numbers(16, 3)}, {"x": numbers(16, 5)}, {"x": numbers(16, 3)}])
    assert held is not None
    assert held["x"].shape == (4, 3)
    assert [feeds["x"].shape for feeds in rest] == [(14, 3), (16, 5), (14, 3)]


def two_layers() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    return keras.Model(x, layers.Dense(4, name="last")(layers.Dense(8, activation="relu", name="first")(x)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_far_off_is_refused(suffix: str, tmp_path: Path) -> None:
    data = numbers(64, 6)
    assert export(two_layers(), tmp_path / f"good.{suffix}", quantize="int8", calibration=data).samples == 8
    data[0] *= 1e4  # one sample that takes the range from all others
    path = tmp_path / f"bad.{suffix}"
    with pytest.raises(ExportError, match="too far from the model") as caught:
        export(two_layers(), path, quantize="int8", calibration=data)
    assert not path.exists()
    assert "at most 40%" in str(caught.value)
    assert re.search(r"first: \d+%", str(caught.value).split("the layers that add most:")[1])
    report = export(two_layers(), path, quantize="int8", calibration=data, accept=2)
    assert report.outputs[0].rms_error > 0.4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_few_samples_are_said(suffix: str, tmp_path: Path) -> None:
    report = export(two_layers(), tmp_path / f"m.{suffix}", quantize="int8", calibration=numbers(5, 6))
    assert report.samples == 5
    assert any("they are too few" in note for note in report.notes)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_masks_take_no_range(suffix: str, tmp_path: Path) -> None:
    data, errors = numbers(64, 10, 16), {}
    for causal in (False, True):
        keras.utils.set_random_seed(0)
        x = keras.Input((10, 16), name="s")
        model = keras.Model(x, layers.MultiHeadAttention(4, 4, name="attention")(x, x, use_causal_mask=causal))
        path = tmp_path / f"{causal}.{suffix}"
        export(model, path, quantize="int8", calibration=data)
        wanted = keras.ops.convert_to_numpy(model(data[:4]))
        (got,) = (run_onnx if suffix == "onnx" else run_tflite)(path, {"s": data[:4]}).values()
        errors[causal] = float(np.sqrt(np.mean((got - wanted) ** 2)) / wanted.std())
    assert errors[False] < 0.1
    assert errors[True] < 3 * errors[False]


def test_what_is_measured() -> None:
    wanted = {"real": numbers(50, 3), "class": np.arange(50), "share": np.full((50, 2), 0.5, "float32")}
    noise = numbers(50, 3, seed=1)
    got = {"real": wanted["real"] + 0.1 * noise, "class": wanted["class"][::-1], "share": wanted["share"] + 1 / 512}
    real, order, share = measure(wanted, got)
    assert real.rms_error == pytest.approx(0.1 * np.sqrt(np.mean(noise**2)) / wanted["real"].std(), rel=1e-4)
    assert (order.rms_error, order.steps) == (0.0, 0.0)
    assert share.rms_error > 100  # it does not vary: held to a step of its integers
    assert share.steps == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rms", "steps", "accept", "refused"),
    [
        (0.39, 50.0, None, False),
        (0.41, 50.0, None, True),
        (0.41, 0.9, None, False),
        (0.41, 50.0, 0.5, False),
        (0.2, 0.9, 0.1, True),
        (float("nan"), float("nan"), None, True),
    ],
)
def test_the_floor(rms: float, steps: float, accept: float | None, refused: bool) -> None:
    outputs = [OutputParity("fine", 0.0, 0.0, None, 0.0, 0.0), OutputParity("y", 1.0, 1.0, None, rms, steps)]

    def check() -> None:
        check_floor(outputs, Path("m.onnx"), "int8", accept, lambda: [("conv", 0.3)])

    if refused:
        with pytest.raises(ExportError, match=r"output 'y'[\s\S]*conv: 30%"):
            check()
    else:
        check()


@pytest.mark.parametrize(
    "options", [{"accept": 0.5}, {"quantize": "float16", "accept": 0}, {"quantize": "float16", "accept": "much"}]
)
def test_wrong_options(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="accept"):
        export(two_layers(), tmp_path / "m.onnx", **options)
