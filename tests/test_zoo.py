"""The zoo itself: each model builds, computes something, and Keras can save it where we say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo import ZOO, build, sample_inputs


def run(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    outputs = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(output).astype("float64") for output in outputs]


@pytest.mark.parametrize("name", ZOO)
def test_runs_and_saves(name: str, tmp_path: Path) -> None:
    case = ZOO[name]
    model = build(name)
    inputs = sample_inputs(model)
    outputs = run(model, inputs)
    for output in outputs:
        assert np.isfinite(output).all()
        assert np.abs(output).max() < 100
        assert output.std() > 1e-3
        assert output.shape[0] != 2 or np.abs(output[0] - output[1]).max() > 1e-3, "samples do not differ"
    if "unsaveable" in case.tags:
        return
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(
        path, custom_objects=dict(case.custom_objects), safe_mode="lambda" not in case.tags
    )
    same = all(np.array_equal(a, b) for a, b in zip(outputs, run(loaded, inputs), strict=True))
    assert same == ("saves_differently" not in case.tags)


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if "unsaveable" in case.tags])
def test_unsaveable_is_unsaveable(name: str, tmp_path: Path) -> None:
    model = build(name)

    def save_and_load() -> None:
        path = tmp_path / "model.keras"
        model.save(path)
        keras.saving.load_model(path, custom_objects=dict(ZOO[name].custom_objects))

    with pytest.raises((NotImplementedError, ValueError, UserWarning)):
        save_and_load()
