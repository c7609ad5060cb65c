"""Files that Keras 2 has written: as here, the same file with the options that Keras 3 has dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.keras_io.keras2 import translated
from kerasurgeon.keras_io.loading import load_model

RNG = np.random.default_rng(0)


def as_keras2(model: keras.Model, path: Path, change: Callable[[str, dict[str, Any]], None]) -> Path:
    """Save a model as .h5 and change the config of every layer in the file."""
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            change(layer["class_name"], layer["config"])
            for inner in ("layer", "backward_layer"):
                if inner in layer["config"]:
                    change(layer["config"][inner]["class_name"], layer["config"][inner]["config"])
        file.attrs["model_config"] = json.dumps(config).encode()
    return path


NETWORKS: dict[str, tuple[list[Any], dict[str, dict[str, Any]]]] = {
    "depthwise": ([keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3)], {"DepthwiseConv2D": {"groups": 1}}),
    "transposed": ([keras.Input((8, 8, 3)), layers.Conv2DTranspose(4, 3)], {"Conv2DTranspose": {"groups": 1}}),
    "recurrent": (
        [keras.Input((6, 4)), layers.LSTM(5, return_sequences=True), layers.GRU(3)],
        {"LSTM": {"time_major": False, "implementation": 2}, "GRU": {"time_major": False, "implementation": 1}},
    ),
    "wrapped": (
        [keras.Input((6, 4)), layers.Bidirectional(layers.LSTM(5))],
        {"LSTM": {"time_major": False, "implementation": 2}},
    ),
    "norm": (
        [keras.Input((6, 6, 4)), layers.BatchNormalization()],
        {"BatchNormalization": {"axis": [3], "fused": True, "renorm": False, "virtual_batch_size": None}},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_old_files_are_read(name: str, tmp_path: Path) -> None:
    parts, extra = NETWORKS[name]
    model = keras.Sequential(parts)
    path = as_keras2(model, tmp_path / "old.h5", lambda cls, config: config.update(extra.get(cls, {})))
    loaded = load_model(path)
    x = RNG.normal(size=(2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [item.name for item in tmp_path.iterdir()] == ["old.h5"]


def test_a_value_that_means_something_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6, 4)), layers.LSTM(5, name="reader")])
    path = as_keras2(model, tmp_path / "old.h5", lambda cls, config: config.update({"time_major": cls == "LSTM"}))
    with pytest.raises(ks.ModelFileError, match=r"'reader' \(LSTM\) has an option that Keras 3 has not(.|\n)*time_major"):
        load_model(path)


def test_new_configs_are_left_alone() -> None:
    for model in (
        keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, groups=1), layers.LayerNormalization(axis=[3])]),
        keras.Sequential([keras.Input((4, 2)), layers.TimeDistributed(layers.Dense(2)), layers.GRU(2)]),
    ):
        config = json.loads(model.to_json())
        assert translated(config) == (config, ())
