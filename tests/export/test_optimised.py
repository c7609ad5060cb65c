"""Files are run with the runtime's optimisation and without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.onnx_runner import OnnxRunner
from kerasurgeon.exporting.optimised import disagreement
from kerasurgeon.exporting.parity import measure
from kerasurgeon.exporting.tflite_runner import TfliteRunner

REAL = {"y": np.random.default_rng(0).normal(size=(6, 5)).astype("float32")}


def off(by: float) -> dict[str, np.ndarray]:
    return {"y": REAL["y"] + np.float32(by)}


@pytest.mark.parametrize(
    ("used", "plain", "tolerance", "words"),
    [
        (0.0, 1e-6, 1e-3, None),
        (0.5, 0.0, 1e-3, "with it output 'y' is off by"),
        (0.0, 0.5, 1e-3, "without it output 'y' is off by"),
        (0.5, 0.6, 1e-3, None),  # both wrong: the file is
        (0.1, 0.105, None, None),
        (0.3, 0.1, None, "with it output 'y' is off by"),
        (0.1, 0.3, None, "without it output 'y' is off by"),
    ],
)
def test_which_is_wrong(used: float, plain: float, tolerance: float | None, words: str | None) -> None:
    found = disagreement(measure(REAL, off(used)), off(used), off(plain), REAL, "it", tolerance)
    assert found is None if words is None else str(found).startswith(words)


def test_without_a_model_to_compare_with() -> None:
    assert disagreement((), off(0.0), off(1e-6), None, "it", 1e-3) is None
    assert "is off by" in str(disagreement((), off(0.5), REAL, None, "it", 1e-3))


@pytest.mark.parametrize("wrong_with_it", [False, True])
@pytest.mark.parametrize(("suffix", "kind"), [("onnx", OnnxRunner), ("tflite", TfliteRunner)])
def test_the_user_is_told(
    suffix: str, kind: Any, wrong_with_it: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = kind.run_batch, kind.__init__

    def noted(runner: Any, path: Path, *, optimise: bool = True, **options: Any) -> None:
        runner.spoilt = optimise == wrong_with_it
        made(runner, path, optimise=optimise, **options)

    def wrong(runner: Any, feeds: Any) -> Any:
        return {name: array + runner.spoilt for name, array in real(runner, feeds).items()}

    monkeypatch.setattr(kind, "run_batch", wrong)
    monkeypatch.setattr(kind, "__init__", noted)
    x = keras.Input((4,), name="x")
    model, path = keras.Model(x, layers.Dense(3, name="y")(x)), tmp_path / f"m.{suffix}"
    if wrong_with_it:
        with pytest.raises(ExportError, match=r"with .*output 'y' is off by .*, without it by \d\S*e-0\d"):
            ks.export(model, path)
        assert not path.exists()
    else:
        (note,) = ks.export(model, path).notes
        assert note.startswith("without ")
        assert "output 'y' is off by" in note
